"""Server, region and keys of S3, as AWS's own tools find them; no server is asked."""

import os
from pathlib import Path

import pytest
from botocore.exceptions import ProfileNotFound

from infra import s3_account
from infra.storage import StorageError
from infra.stores import open_store


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with two profiles, and no variable of AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        "[default]\nregion = eu-west-1\n"
        "[profile lab]\nregion = lab-1\nservices = lab\n"
        "[services lab]\ns3 =\n  endpoint_url = http://127.0.0.1:9\n"
    )
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = mine\naws_secret_access_key = s1\n"
        "[lab]\naws_access_key_id = labs\naws_secret_access_key = s2\naws_session_token = t2\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "endpoint", "region", "key"),
    [
        ({}, None, "eu-west-1", "mine"),
        ({"AWS_PROFILE": "lab"}, "http://127.0.0.1:9", "lab-1", "labs"),
        ({"AWS_ENDPOINT_URL": "http://a"}, "http://a", "eu-west-1", "mine"),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"},
            "http://b",
            "eu-west-1",
            "mine",
        ),
        ({"AWS_PROFILE": "lab", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None, "lab-1", "labs"),
        ({"AWS_DEFAULT_REGION": "b"}, None, "b", "mine"),
        ({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, None, "a", "mine"),
        ({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}, None, "eu-west-1", "k"),
    ],
)
def test_settings_are_found_where_aws_finds_them(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    endpoint: str | None,
    region: str,
    key: str,
) -> None:
    """Variables, then the profile; a variable of S3 before that of all services."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    account = s3_account.find()
    assert (account.endpoint, account.region, account.keys()["access_key"]) == (endpoint, region, key)


def test_a_profile_that_is_missing_is_an_outage_and_no_miss(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mistyped it must not find an empty store."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ProfileNotFound):
        s3_account.find()
    for work in (lambda store: store.exists("a"), lambda store: store.read_many(["a"])):
        with pytest.raises(StorageError, match=r"nobody.*AWS_PROFILE"):
            work(open_store("s3://bucket/x"))
