"""What the tests of methods without phases share: small pairs with a signal, Wiki, and MAP of both."""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import loadmat

from cmh import methods
from cmh.codes import hamming
from cmh.data.items import Items
from cmh.evaluation import metrics, stable_metrics
from cmh.hashing import encoding
from cmh.hashing.method import Inputs, Method
from cmh.networks.backbones import Frozen
from cmh.training import solver
from infra import fetch
from tests import synthetic

SHARED = Path(os.environ.get("CMH_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
F, D, L = 24, 18, 4


class Maps(NamedTuple):
    """MAP of image → text and text → image."""

    image_to_text: float
    text_to_image: float


def pairs(count: int, seed: int = 0, noise: float = 1.0, *, method: str = "") -> Items:
    """Features and texts that are noisy linear images of one label each; for "itq" in one space."""
    text = None if method == "itq" else D
    return synthetic.linear(count, seed, labels=L, image=F, text=text, noise=noise)


def matrices(items: Items) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """What `Method.solve` takes."""
    return items.image[0][:, :, 0, 0].astype(float), items.text.astype(float), items.label > 0


def build(name: str, items: Items, **config: object) -> Method:
    """A new method for these items."""
    inputs = Inputs(
        image_channels=items.image_channels, text_dim=items.text.shape[1], labels=items.label.shape[1]
    )
    return methods.load(name)(methods.config(name, **config), inputs, Frozen(items.image_channels))


def signal(name: str, **config: object) -> Maps:
    """MAP of 100 new pairs against the 300 that the method learnt from; chance is 0.25."""
    database, query = (pairs(count, seed, method=name) for count, seed in ((300, 1), (100, 2)))
    method = build(name, database, **config)
    solver.fit(method, database, seed=0)
    codes = {side: hamming.pack(encoding.relaxed_codes(method, database, side)) for side in ("image", "text")}
    asked = {side: hamming.pack(encoding.relaxed_codes(method, query, side)) for side in ("image", "text")}
    labels = query.label, database.label
    return Maps(
        metrics.evaluate(asked["image"], codes["text"], *labels, method.bits).map,
        metrics.evaluate(asked["text"], codes["image"], *labels, method.bits).map,
    )


@cache
def wiki() -> tuple[Items, Items]:
    """Training items and queries of Wiki: 128 visual words, 10 topics, 10 classes."""
    fetched = fetch.downloads() / "d504d22542f5-wikiData.mat"  # by `cmh run wiki`
    path = next((p for p in (SHARED / "wiki" / "wikiData.mat", fetched) if p.exists()), None)
    if path is None:
        pytest.skip("no Wiki: `cmh preprocess wiki` fetches it, or CMH_SHARED_DATA has wiki/wikiData.mat")
    held = loadmat(path)
    train, query = (
        Items(
            (held[f"I_{part}"].astype(np.float32)[:, :, None, None],),
            held[f"T_{part}"].astype(np.float32),
            held[f"L_{part}"],
            np.arange(len(held[f"L_{part}"])),
        )
        for part in ("tr", "te")
    )
    return train, query


def wiki_maps(name: str, seed: int = 0, **config: object) -> dict[str, Maps]:
    """MAP on Wiki, ties in database order: the database per modality, and unified where there is that."""
    train, query = wiki()
    method = build(name, train, **config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    unified_NK = solver.fit(method, train, seed)
    image, text = (hamming.pack(encoding.relaxed_codes(method, train, side)) for side in ("image", "text"))
    torch.set_num_threads(threads)
    databases = {"per modality": (text, image)}
    if unified_NK is not None:
        databases["unified"] = (hamming.pack(unified_NK),) * 2
    asked = [hamming.pack(encoding.relaxed_codes(method, query, side)) for side in ("image", "text")]
    return {
        kind: Maps(
            *(_stable(q, codes, query.label, train.label) for q, codes in zip(asked, sides, strict=True))
        )
        for kind, sides in databases.items()
    }


def _stable(query_QP: hamming.Codes, codes_NP: hamming.Codes, *labels: NDArray[np.uint8]) -> float:
    measures = {"map": stable_metrics.average_precision}
    return float(stable_metrics.evaluate(query_QP, codes_NP, *labels, measures)["map"].mean())
