"""Open the store that a URL names: a local folder or an S3 bucket; where this machine keeps its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # Zarr takes most of a second to import, which searches of a collection go without
    from infra.storage import Store


def home() -> Path:
    """Return the project's own folder on this machine: CMH_HOME, or .cmh below the working directory."""
    return Path(os.environ.get("CMH_HOME") or ".cmh").absolute()


def graphs() -> Path:
    """Return the folder in `home()` that keeps models as ONNX, which may be deleted at any time."""
    return home() / "graphs"


def default_url() -> str:
    """Return where artifacts are kept: CMH_STORE, or the folder `store` in `home()`."""
    return os.environ.get("CMH_STORE") or str(home() / "store")


def open_store(url: str | None = None) -> Store:
    """Return the store at `url`: a folder, `file:///folder` or `s3://bucket/prefix`; else at `default_url()`.

    Nothing is read or written yet.  `infra.s3_account` finds the server of S3 and the account.
    """
    url = url or default_url()
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError(
            "a store's URL must not hold credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    if parts.scheme == "s3":
        from infra.s3 import S3Store  # botocore takes most of a second to import

        return S3Store(url)
    if parts.scheme not in ("", "file"):
        raise ValueError(
            f"store {url!r} is of an unknown kind; give a folder, file:///… or s3://bucket/prefix"
        )
    from infra.folder import FolderStore

    return FolderStore(parts.path if parts.scheme else url)
