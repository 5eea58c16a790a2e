"""Refuse before any work what would end in an error after hours: every such check is here, and once.

`check` needs no data but the catalog entry and the user's table; `check_dataset` looks at a dataset before
features are computed for it.
"""

from functools import cache

import torch
import zarr

from cmh.data import readers, schema
from cmh.hashing.method import check_prefixes
from data_catalog import catalog
from flows import sources
from flows.experiment import Resources
from flows.run import Run
from infra import artifacts, ray_cluster, reachable
from infra.artifacts import Ref
from infra.storage import Store


def check(run: Run, resources: Resources) -> None:
    """Refuse a run that would end in an error once its data is there.

    Raises:
        ValueError: settings that do not go together with the dataset, the machine or each other; a file of
            weights that is not there.
        OSError: nobody answers at an address, or a Ray that cannot be used from here.
    """
    _check_data(run)
    _check_method(run)
    _check_validation(run)
    check_resources(resources)
    if not run.brings_features:
        sources.identity_of_weights(run.experiment.backbone)
        if run.experiment.text.is_network:
            sources.identity_of_weights(run.experiment.text)
    if not run.is_shallow:
        run.trainer_config.check(resources.workers, resources.gpu)
        if resources.ray is not None:
            _join(resources.ray)


def check_settings(run: Run) -> None:
    """Refuse what the experiment and its entry alone tell, on any machine.

    Raises:
        ValueError: the settings do not go together with the dataset or each other.
    """
    _check_data(run)
    _check_method(run)
    _check_validation(run)


def check_dataset(store: Store, dataset: Ref, run: Run) -> None:
    """Refuse a dataset that is too small to train on, before features are computed for it.

    Raises:
        ValueError: it has too few training items, or no validation items.
    """
    experiment = run.experiment
    group = zarr.open_group(artifacts.open_artifact(store, dataset).zarr("dataset.zarr"), mode="r")
    items = schema.array(group, "split/train").shape[0]
    if not run.is_shallow and not schema.array(group, "split/validation").shape[0]:
        raise ValueError(
            f"{dataset.name} has no validation items, by which {experiment.method} chooses its best epoch; "
            "give more items, or a larger share `validation` of its split"
        )
    batch = 1 if run.is_shallow else experiment.training.batch_size
    needed = max(experiment.bits, batch)
    if items < needed:
        raise ValueError(
            f"{dataset.name} has {items} training items, and {experiment.bits} bits in batches of "
            f"{batch} need at least {needed}; give more items, or lower "
            "--bits and --training.batch-size"
        )


def _check_data(run: Run) -> None:
    """Refuse a user's table that cannot be read, and an entry that its reader does not serve."""
    experiment, entry = run.experiment, run.entry
    if experiment.images is not None and experiment.items is not None:
        paths = {"images": experiment.images.expanduser(), "items": experiment.items.expanduser()}
        for _ in readers.load("folder").read(paths, {}):  # no image is opened yet
            pass
    readers.check(entry.reader)
    if run.brings_features:
        if experiment.limit is not None:
            raise ValueError(f"{entry.name} brings features and is taken whole; leave out --limit")
        if experiment.text.is_network:
            raise ValueError(f"{entry.name} brings features of its texts; leave out --text.name")
    elif isinstance(entry.split, catalog.Published):
        raise ValueError(
            f"{entry.name}: the reader {entry.reader!r} knows no publisher's split; give shares of "
            "query, validation and train"
        )


def _check_method(run: Run) -> None:
    """Refuse a method that cannot learn from what this dataset and these networks give."""
    experiment, method, entry = run.experiment, run.method, run.entry
    check_prefixes(method, experiment.bits, experiment.training.weights)
    if experiment.text.is_network and method.sequences:
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
            "a frozen backbone with random weights gives features of nothing; use weights 'default' "
            "or a file, or frozen=false to train it"
        )
    if run.is_shallow and not experiment.backbone.frozen:
        raise ValueError(
            f"{experiment.method} is solved for, on features; leave out --backbone.no-frozen, or take a "
            "method that trains"
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
    reachable.check_reachable("--ray", resources.ray)
    reachable.check_reachable("--dask", resources.dask)


@cache  # a comparison asks for each of its runs
def _join(address: str) -> None:
    """Connect and leave again: a Ray may answer and still take no work from this machine."""
    with ray_cluster.connect(address):
        pass
