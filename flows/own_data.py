"""Tell data of the user's own from datasets of the catalog."""

from pathlib import Path

from data_catalog import catalog
from infra import bucket

METHOD = "joint"
"""The default method on such data: it needs no labels, and any words find."""


def is_own(dataset: str) -> bool:
    """Return whether a dataset is a file, a folder or an s3 address, and no entry of a catalog."""
    path = Path(dataset).expanduser()
    entry = dataset in catalog.available() or path.suffix in (".yaml", ".yml")
    return not entry and (bucket.address(dataset) is not None or path.exists())
