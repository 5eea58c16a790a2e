"""Refuse before any work what would end in an error after hours: every such check is here, and once.

`check` needs no data but the catalog entry and the user's table; `check_dataset` looks at a dataset before
features are computed for it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from cmh import model as models
from cmh.data import labels, readers, schema
from cmh.hashing import model_facts
from cmh.hashing.method import check_prefixes
from cmh.networks.text_encoders import WORDS
from data_catalog import catalog
from flows import engines, rejections, sources, start_models
from flows.resources import HERE, Resources
from flows.run import Run
from infra import artifacts, reachable, stores
from infra.artifacts import Reading, Ref
from infra.storage import Store


def check(run: Run, resources: Resources) -> None:
    """Refuse a run that would end in an error once its data is there.

    Raises:
        ValueError: settings that do not go together with the dataset, the machine or each other; a file of
            weights that is not there.
        OSError: nobody answers at an address, or a Ray that cannot be used from here.
    """
    check_settings(run)
    check_resources(resources)
    if not run.brings_features:
        sources.identity_of_weights(run.experiment.backbone)
        if run.text.is_network:
            sources.identity_of_text_weights(run.text)
    if not run.is_shallow:
        run.trainer_config.check(resources.workers, resources.gpu)
        _check_ray(resources)
        if resources.ray not in (None, HERE):
            _join(resources.ray)


def check_settings(run: Run) -> None:
    """Refuse what the experiment and its entry alone tell, on any machine.

    Raises:
        ValueError: the settings do not go together with the dataset or each other.
    """
    _check_data(run)
    _check_method(run)
    _check_start(run)
    _check_validation(run)


def check_dataset(store: Store, dataset: Ref, run: Run) -> None:
    """Refuse a dataset that is too small to train on, before features are computed for it.

    Raises:
        ValueError: it has too few training items, or no validation items.
    """
    reading = artifacts.open_artifact(store, dataset)
    group = zarr.open_group(reading.zarr("dataset.zarr"), mode="r")
    check_items(
        Contents(
            dataset.name,
            {name: schema.array(group, f"split/{name}")[:] for name in schema.SPLITS},
            _has_words(group),
            reading.read_bytes("labels.txt").decode().splitlines(),
            schema.array(group, "label")[:],
        ),
        run,
    )
    if run.is_online and run.start is not None:
        _check_chunk(store, reading, run)


def _check_chunk(store: Store, dataset: Reading, run: Run) -> None:
    """Refuse items that cannot be added to what a model has learnt."""
    assert run.start is not None
    folder = run.start.folder(store)
    _, vocabulary, _ = model_facts.read(folder)
    reads_words = run.start.facts.text == WORDS or run.start.facts.words
    if reads_words and tuple(dataset.read_bytes("vocabulary.txt").decode().splitlines()) != vocabulary:
        raise ValueError(
            f"{dataset.ref.name} has other words than {run.experiment.start_from}, so the numbers of its "
            "texts mean something else; train both with features of a text network, such as --text.name "
            "minilm_l6_v2"
        )
    learnt = set(start_models.learnt_items(folder, run.experiment.bits)["id"].to_pylist())
    items = dataset.read_table("items.parquet")
    by_split: dict[str, list[bool]] = {}
    for name, split in zip(items["id"].to_pylist(), items["split"].to_pylist(), strict=True):
        by_split.setdefault(split, []).append(name in learnt)
    if asked := sum(by_split.get("query", [])):
        raise ValueError(
            f"{asked} queries of {dataset.ref.name} are items that {run.experiment.start_from} has learnt "
            "from: the split was drawn again as the data grew. Give your table a column `split` (train, "
            "query), which holds as you add rows"
        )
    if (new := by_split.get("train", []).count(False)) < 2:
        raise ValueError(
            f"{dataset.ref.name} has {new} training items that {run.experiment.start_from} has not learnt "
            "from; add two at least"
        )


@dataclass(frozen=True)
class Contents:
    """What of a dataset decides whether a method can learn from it."""

    name: str
    split: dict[str, NDArray[np.int64]]  # rows by name of the split
    known_N: NDArray[np.bool_]  # whether a text has a word of the training texts
    labels: list[str]
    label_NL: NDArray[np.uint8]  # multi-hot


def check_items(contents: Contents, run: Run) -> None:
    """Refuse what `check_dataset` refuses, of items at hand.

    Raises:
        ValueError: it has too few training items, or no validation items.
    """
    experiment, splits, name = run.experiment, contents.split, contents.name
    if not run.brings_features and not run.text.is_network:
        rejections.check_texts(name, contents.known_N, splits)
    if run.method.reads_labels == "always":
        labels.check_enough(contents.labels)
        label_NL = contents.label_NL
        splits = {part: rows[label_NL[rows].any(axis=1)] for part, rows in splits.items()}
        rejections.check_labels(name, contents.labels, label_NL, splits)
    if not run.is_shallow and not len(splits["validation"]):
        raise ValueError(
            f"{name} has no validation items, by which {experiment.method} chooses its best epoch; "
            "give more items, or a larger share `validation` of its split"
        )
    _check_number(name, len(splits["train"]), run)


def _check_number(name: str, items: int, run: Run, about: str = "") -> None:
    """Refuse fewer training items than a batch and a code need."""
    bits, batch = run.experiment.bits, run.experiment.training.batch_size
    batches, options, needed = f" in batches of {batch}", "--bits and --training.batch-size", max(bits, batch)
    if run.is_shallow:  # learns from all items at once
        batches, options, needed = "", "--bits", bits
    if items < needed:
        raise ValueError(
            f"{name} has {about}{items} training items, and {bits} bits{batches} need at least {needed}; "
            f"give more items, or lower {options}"
        )


def _has_words(dataset: zarr.Group) -> NDArray[np.bool_]:
    """Return for each text whether it has a word of the vocabulary, read a few at a time, bool (N,)."""
    text = schema.array(dataset, "text")
    step = text.chunks[0]
    has = [text[start : start + step].max(axis=1, initial=0) > 0 for start in range(0, text.shape[0], step)]
    return np.concatenate([np.empty(0, np.bool_), *has])


def _check_data(run: Run) -> None:
    """Refuse a user's table that cannot be read, and an entry that its reader does not serve."""
    experiment, entry = run.experiment, run.entry
    readers.check(entry.reader)
    if run.brings_features:
        if experiment.limit is not None:
            raise ValueError(f"{entry.name} brings features and is taken whole; leave out --limit")
        if run.text.is_network:
            raise ValueError(f"{entry.name} brings features of its texts; leave out --text.name")
    elif isinstance(entry.split, catalog.Published):
        raise ValueError(
            f"{entry.name}: the reader {entry.reader!r} knows no publisher's split; give shares of "
            "query, validation and train"
        )
    local = {name: source.path for name, source in entry.sources.items() if isinstance(source, catalog.Local)}
    if entry.reader == "folder" and local.keys() == entry.sources.keys():
        read = readers.load(entry.reader).read(local, entry.options)  # decodes no image
        traits = [record.traits for record in read]
        _check_number(entry.name, len(traits), run, "at most ")
        if run.method.reads_labels == "always":
            labels.check_enough(labels.assign(traits, entry.labels)[0])


def _check_method(run: Run) -> None:
    """Refuse a method that cannot learn from what this dataset and these networks give."""
    experiment, method, entry = run.experiment, run.method, run.entry
    check_prefixes(method, experiment.bits, experiment.training.weights)
    if run.text.is_network and method.sequences:
        raise ValueError(f"{experiment.method} reads words in their order; leave out --text.name")
    if run.brings_features:
        if method.sequences:
            raise ValueError(
                f"{experiment.method} reads words in their order, and {entry.name} brings text features, no "
                "words; take another dataset, or a method that reads bags of words"
            )
        if method.reads_maps(run.config):
            raise ValueError(
                f"{experiment.method} looks at places of an image, and {entry.name} brings image features, "
                "no images; take another dataset or method, or leave that out "
                f"(`cmh methods {experiment.method}`)"
            )
        return
    if experiment.backbone.frozen and experiment.backbone.weights == "none":
        raise ValueError(
            "a frozen backbone with random weights gives features that say nothing; give --backbone.weights "
            "default or a file, or --backbone.no-frozen to train it"
        )
    if run.is_shallow and not experiment.backbone.frozen:
        raise ValueError(
            f"{experiment.method} learns from finished features, all at once; leave out "
            "--backbone.no-frozen, or take a method that trains in epochs"
        )


def _check_start(run: Run) -> None:
    """Refuse to start from a model whose method or networks are others."""
    if run.start is None:
        return
    if run.is_shallow and not run.is_online:
        raise ValueError(
            f"{run.experiment.method} learns from all items at once, and from no start; leave out "
            "--start-from, or take a method that trains in epochs, or lemon, which learns chunk by chunk"
        )
    models.load(run.start.folder(stores.open_store()))  # says what is wrong with it
    facts, backbone = run.start.facts, run.experiment.backbone
    given = {
        "method": (facts.method, run.experiment.method),
        "bits": (facts.bits, run.experiment.bits),
        "backbone": (facts.backbone, "none" if run.brings_features else backbone.name),
        "frozen backbone": (facts.grid is not None, run.brings_features or backbone.frozen),
        "image size": (facts.image_size, backbone.image_size),
        "text network": (facts.text, run.text.name or WORDS),
        "words beside it": (facts.words, run.text.words),
    }
    other = [f"{what} {there}, not {here}" for what, (there, here) in given.items() if there != here]
    if other:
        raise ValueError(
            f"{run.experiment.start_from} has {'; '.join(other)}; ask for the same, or start from another "
            "model"
        )


def _check_validation(run: Run) -> None:
    """Refuse a split without validation items for a method that chooses its best epoch by them."""
    entry = run.entry
    if not run.is_shallow and not entry.split.validation:
        raise ValueError(
            f"{entry.name} has no validation items, by which {run.experiment.method} chooses its best epoch; "
            "copy its catalog entry to your own file, add `validation: 0.1` to its split, and name that "
            "file"
        )


def check_resources(resources: Resources) -> None:
    """Refuse a GPU or a cluster that is not there.

    Raises:
        ValueError, ConnectionError: no GPU, or nobody at an address.
    """
    if resources.gpu and resources.ray is None and not torch.cuda.is_available():
        raise ValueError(
            "a GPU was asked for and this machine has none that torch can use (`cmh doctor` says why); "
            "leave out --gpu, or give a cluster that has some with --ray"
        )
    if resources.dask is not None:
        engines.check_installed("distributed", f"--dask {resources.dask}")
    reachable.check_reachable("--ray", resources.ray)
    reachable.check_reachable("--dask", resources.dask)


def _check_ray(resources: Resources) -> None:
    """Refuse a training on Ray where Ray is not installed."""
    if resources.trains_in_a_process:
        return
    asked = {
        f"--ray {resources.ray}": resources.ray is not None,
        f"--workers {resources.workers}": resources.workers > 1,
        "--gpu": resources.gpu,
    }
    engines.check_installed("ray", next(option for option, given in asked.items() if given))


@cache  # a comparison asks for each of its runs
def _join(address: str) -> None:
    """Connect and leave again: a Ray may answer and still take no work from this machine."""
    from infra import ray_cluster

    with ray_cluster.connect(address):
        pass
