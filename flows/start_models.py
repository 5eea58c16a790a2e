"""A trained model whose weights a training run starts from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cmh.hashing import model_facts
from cmh.hashing.model_facts import Facts
from infra import artifacts, stores, tags
from infra.manifest import ADDRESS
from infra.storage import Store

LEARNT = "learnt.parquet"  # beside a model that learns online: the items that it has learnt from
ITEMS = pa.schema([("id", pa.string()), ("code", pa.binary())])  # packed codes, which no later run changes


@dataclass(frozen=True)
class StartModel:
    """Where a model is, and what tells its contents apart."""

    place: str  # address in the store, or whole path of a folder
    is_folder: bool
    content: str
    facts: Facts

    def folder(self, store: Store) -> Path:
        """Return a folder with its files, on this machine."""
        return Path(self.place) if self.is_folder else artifacts.open_artifact(store, self.place).local()


def find(name: str) -> StartModel:
    """Return the model of an address, a tag or a folder.

    Raises:
        ValueError: it is no model.
        OSError: there is none.
    """
    folder = Path(name)
    if (folder / "config.json").is_file():
        facts, _, _ = model_facts.read(folder)
        return StartModel(str(folder.resolve()), True, _digest(folder), facts)
    if "@" not in name and ADDRESS.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no model to start from: give an address, as `cmh ls model` prints it, a tag, or a "
            "folder that holds a model, with its config.json"
        )
    store = stores.open_store()
    found = artifacts.open_artifact(store, tags.resolve(store, name))
    if found.ref.kind != "model":
        raise ValueError(
            f"{name} is an artifact of kind {found.ref.kind}, not a model to start from; see `cmh ls model`"
        )
    facts, _, _ = model_facts.read(found.local())
    return StartModel(found.ref.address, False, found.ref.content, facts)


def no_items() -> pa.Table:
    """Return the items of a model that has not learnt yet."""
    return ITEMS.empty_table()


def learnt_items(folder: Path, bits: int) -> pa.Table:
    """Return ids and codes of the items that a model which learns online has learnt from, as `ITEMS`.

    Raises:
        ValueError: the folder does not hold them, or they are damaged.
    """
    path = folder / LEARNT
    if not path.is_file():
        raise ValueError(
            f"{folder} has no {LEARNT}, which says what the model has learnt from; take the whole artifact, "
            "as `cmh pull` brings it, and not the model of a collection"
        )
    try:
        items = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch the model again") from None
    lengths = pc.unique(pc.binary_length(items["code"])).to_pylist() if items.schema == ITEMS else []
    if items.schema != ITEMS or items["id"].null_count or lengths not in ([], [-(-bits // 8)]):
        raise ValueError(
            f"{path} holds other things than ids and codes of {bits} bits; fetch the model again"
        )
    return items


def _digest(folder: Path) -> str:
    """Return the SHA-256 over what `cmh.model.save` wrote."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
