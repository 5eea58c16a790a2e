"""Which S3 server, region and account: found in one place for every client, as AWS's own tools find them.

That is AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION, and the keys there;
else what the profile AWS_PROFILE of `~/.aws` says, or the role of this machine.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.configprovider import ConfiguredEndpointProvider  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Account:
    """A server and who asks it."""

    endpoint: str | None  # None: AWS's own
    region: str | None
    certificates: str | None  # file of the authorities that are trusted, None: the usual
    session: Any  # which renews the credentials of roles

    def keys(self) -> dict[str, str | None]:
        """Return what a client is to sign with now; nothing where none is found: it looks for itself."""
        found = self.session.get_credentials()
        if found is None:
            return {}
        frozen = found.get_frozen_credentials()
        return {
            "access_key": frozen.access_key, "secret_key": frozen.secret_key, "session_token": frozen.token
        }  # fmt: skip


def find() -> Account:
    """Return what the environment and the files of AWS say.

    Raises:
        botocore.exceptions.BotoCoreError: they cannot be read, or there is no such profile.
    """
    return _find(
        tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    )


@cache
def _find(_: tuple[tuple[str, str], ...]) -> Account:
    session = Session()
    configured = None
    if not session.get_config_variable("ignore_configured_endpoint_urls"):
        configured = ConfiguredEndpointProvider(
            full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
        ).provide()
    return Account(
        endpoint=configured,
        region=os.environ.get("AWS_REGION") or session.get_config_variable("region"),
        certificates=session.get_config_variable("ca_bundle"),
        session=session,
    )
