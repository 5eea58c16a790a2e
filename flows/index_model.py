"""The model of a new collection: one of the store, one in a folder, or one without training.

The last is learnt from a sample of the images that are added (`cmh.untrained`); the image network reads these
twice.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cmh import model as models
from cmh import untrained
from cmh.collection_files import manifest
from cmh.data import shard_images
from cmh.networks import backbones
from cmh.networks.features import Extractor
from flows import prefect_ui, sources
from flows.experiment import BackboneSettings, TextSettings
from flows.resources import Resources
from infra import artifacts
from infra.artifacts import newest
from infra.storage import Store

SAMPLE = 2048  # images that codes are learnt from, at most
BATCH = 64
BITS = 64  # of codes that are learnt here


def address(model: str | None) -> str | None:
    """Return what a collection notes as its model: an address, a name of a pair, or a whole path."""
    return str(Path(model).resolve()) if model and _folder(model) else model


@contextmanager
def provide(
    store: Store,
    model: str | None,
    paths: Sequence[Path],
    *,
    captions: Sequence[str],
    weights: Path | None,
    bits: int | None,
    resources: Resources,
) -> Iterator[tuple[Path, str]]:
    """Provide the folder of a model that gives codes of images and words, and its address.

    Args:
        store: where models are.
        model: an address in the store; the folder of a model or of a collection; or a name of
            `cmh.untrained.PAIRS`; None: the newest of the store.
        paths: the images that are added; none, of texts.
        captions: of some of the images, for a model that is learnt here; maybe none.
        weights: file of the networks' weights, of a model that is learnt here; None: the publisher's.
        bits: of a model that is learnt here.
        resources: threads.

    Raises:
        ValueError: if there is none, it is real-valued or reads given features, or cannot be learnt.
    """
    if model in untrained.PAIRS:
        assert model is not None
        with tempfile.TemporaryDirectory() as folder:
            learnt = Path(folder) / "model"  # with the modes of any folder, which a collection copies
            _learn(model, paths, captions, learnt, weights, BITS if bits is None else bits, resources)
            yield learnt, model
        return
    if weights is not None or bits is not None:
        raise ValueError(
            f"--weights and --bits are for a model that is learnt here ({', '.join(untrained.PAIRS)}); "
            f"{model or 'the newest model of the store'} has its own"
        )
    place = _folder(model) if model else None
    if place is None:
        trained = artifacts.open_artifact(store, model or _newest(store))
        found = trained.ref.address
        if trained.ref.kind != "model":
            raise ValueError(f"{found} is a {trained.ref.kind}, not a model; see `cmh ls model`")
        place, model = trained.local(), found
    loaded = models.load(place)
    if loaded.method.real_valued or loaded.facts.given is not None:
        raise ValueError(
            f"{model} gives no codes of images and words: it is "
            + ("real-valued" if loaded.method.real_valued else "over features that its dataset brought")
            + "; give another with --model (`cmh ls model`)"
        )
    yield place, address(model) or ""


def _newest(store: Store) -> str:
    try:
        return newest(store, "model")
    except ValueError as error:
        raise ValueError(
            f"{error}; without training: --model {' or '.join(untrained.PAIRS)}, or a collection's folder"
        ) from error


def _folder(model: str) -> Path | None:
    """Return the folder of a model, if it is one or that of a collection."""
    place = Path(model)
    place = place / "model" if manifest.is_collection(place) else place
    return place if (place / "config.json").is_file() else None


def _learn(
    name: str,
    paths: Sequence[Path],
    captions: Sequence[str],
    to: Path,
    weights: Path | None,
    bits: int,
    resources: Resources,
) -> None:
    """Learn a model from some of the images, spread evenly, and save it."""
    untrained.check(name, bits)
    if not paths:
        raise ValueError(
            f"codes with {name} are learnt from images; index a folder of images first, then the texts with "
            "--model and the folder of that collection"
        )
    chosen = [paths[row] for row in np.unique(np.linspace(0, len(paths) - 1, SAMPLE).astype(int))]
    untrained.check_images(len(chosen), bits)
    size = untrained.PAIRS[name]
    torch.set_num_threads(resources.threads)
    where = "default" if weights is None else str(weights)
    image_settings = BackboneSettings(name=name, weights=where, image_size=size)
    text = sources.text_encoder(TextSettings(name=name, weights=where))
    backbone = backbones.load(name, sources.network_weights(image_settings)).eval()
    extractor = Extractor(backbone, image_size=size, batch=BATCH, threads=resources.threads)
    with prefect_ui.progress("learning codes from images", len(chosen)) as advance:
        found = []
        for start in range(0, len(chosen), BATCH):
            found.append(_embed(extractor, chosen[start : start + BATCH], backbone.channels))
            advance(min(BATCH, len(chosen) - start))
    learnt = untrained.learn(name, backbone, text, np.concatenate(found), bits, texts=captions[:SAMPLE])
    to.mkdir()
    models.save(learnt, to)


def _embed(extractor: Extractor, paths: Sequence[Path], channels: tuple[int, ...]) -> NDArray[np.float32]:
    """Return averages of the last stage, float32 (N, F), of the images that can be read."""
    read = []
    for path in paths:
        try:
            read.append(shard_images.read_image(path, extractor.image_size, in_order=True))
        except (OSError, ValueError):
            continue  # it is rejected, with its name, when it is encoded
    if not read:
        return np.empty((0, channels[-1]), np.float32)
    return np.asarray(extractor(np.stack(read))[f"pooled/stage{len(channels)}"], np.float32)
