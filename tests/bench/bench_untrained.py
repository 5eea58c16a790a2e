"""Measure codes that are learnt without texts, with a pair of networks that were aligned on other data.

    CMH_HOME=... python -m tests.bench.bench_untrained texts/folder-minilm_l6_v2/… features/folder-…/… \\
        minilm/model.safetensors

CLIP's weights are not at hand everywhere.  The stand-in: averages of EfficientNet and MiniLM's embeddings,
each mapped linearly into a space of 256 numbers by canonical correlation analysis of Flickr8k's training
pairs, as unit vectors; then also with a constant of its own added to each side, so that the means of the unit
vectors are as long as CLIP's about are and point in different directions.  On the query photos, which the
maps never saw, ITQ learns codes from the images alone (`cmh.untrained`), and texts are centred by several
means.

R@10: a caption's own photo is among the ten nearest of all query photos; of codes, and of relaxed codes.

Shape suffixes: N = training pairs, Q = query pairs, F = features, S = numbers of the shared space, K = bits.
"""

from pathlib import Path

import cyclopts
import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from cmh import untrained
from cmh.codes import hamming
from cmh.data import schema
from cmh.hashing.method import Inputs
from cmh.methods.itq import ITQ, Config
from cmh.networks import minilm, text_encoders
from cmh.networks.backbones import Frozen
from infra import artifacts, stores

SHARED, RIDGE, BITS = 256, 1e-2, 64
Matrix = NDArray[np.float64]


def main(texts_address: str, features_address: str, weights: str) -> None:
    """Print one table."""
    store = stores.open_store()
    reading = artifacts.open_artifact(store, texts_address)
    dataset = zarr.open_group(reading.zarr("dataset.zarr"), mode="r")
    features = artifacts.open_artifact(store, features_address).zarr("features.zarr")
    pooled = zarr.open_group(features, mode="r")
    image_row = schema.array(dataset, "image_row")[:]
    stages = [schema.array(pooled, f"pooled/stage{number}")[:] for number in range(1, 5)]
    image = np.concatenate(stages, axis=1)[image_row].astype(np.float64)
    encoder = text_encoders.load("minilm_l6_v2", Path(weights))
    # The dataset has these times √F, and perhaps words beside them; see `text_encoders.with_words`.
    text = _unit(schema.array(dataset, "text")[:, : minilm.FEATURES].astype(np.float64))
    train, query = (schema.array(dataset, f"split/{name}")[:] for name in ("train", "query"))
    deviation = image[train].std(axis=0) + 1e-6
    image = np.log1p(image.clip(0) / deviation)
    image_FS, text_FS = _canonical(image[train], text[train])
    neutral = encoder.features(untrained.NEUTRAL).astype(np.float64)
    apart = np.linalg.qr(np.random.default_rng(0).standard_normal((SHARED, 2)))[0].T
    print("| length of the means | texts centred by the mean of | codes | relaxed codes |")
    print("| --- | --- | --- | --- |")
    for shift in (0.0, 1.5):
        image_QS, text_QS, neutral_MS = (
            _unit(_unit(x @ map_FS) + shift * direction)
            for x, map_FS, direction in (
                (image[query], image_FS, apart[0]),
                (text[query], text_FS, apart[1]),
                (neutral, text_FS, apart[1]),
            )
        )
        lengths = " and ".join(f"{np.linalg.norm(x.mean(axis=0)):.2f}" for x in (image_QS, text_QS))
        means = {
            f"{len(neutral)} neutral sentences": neutral_MS,
            "32 of the captions": text_QS[:32],
            "the captions": text_QS,
            "the images": image_QS,
            "nothing": np.zeros((1, SHARED)),
        }
        for name, centre in means.items():
            image_QK, text_QK = _learn(image_QS, text_QS, centre)
            distance = hamming.distances(hamming.pack(text_QK >= 0), hamming.pack(image_QK >= 0))
            relaxed = _recall(_unit(text_QK) @ _unit(image_QK).T)
            print(f"| {lengths} | {name} | {_recall(-distance.astype(np.float64)):.3f} | {relaxed:.3f} |")
        print(f"| {lengths} | real-valued, all numbers | | {_recall(text_QS @ image_QS.T):.3f} |")


def _learn(image_QS: Matrix, text_QS: Matrix, centre: Matrix) -> tuple[Matrix, Matrix]:
    """Return relaxed codes of images and texts by ITQ of the images alone."""
    inputs = Inputs(image_channels=(SHARED,), text_dim=SHARED, labels=0)
    method = ITQ(Config(bits=BITS), inputs, Frozen((SHARED,)))
    method.solve_from_images(image_QS, centre, 0)
    image_K = method.image(method._scaled(_tensor(image_QS))).numpy()
    return image_K, method.text(method._scaled(_tensor(text_QS))).numpy()


def _tensor(x: Matrix) -> torch.Tensor:

    return torch.from_numpy(x)


def _canonical(image_NF: Matrix, text_NF: Matrix) -> tuple[Matrix, Matrix]:
    """Return the maps of both sides to their SHARED most correlated directions, scaled by the correlation."""
    sides = [x - x.mean(axis=0) for x in (image_NF, text_NF)]
    whiten = []
    for x in sides:
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        whiten.append(vectors / np.sqrt(values.clip(0) + RIDGE * values.max()))
    u, s, vt = np.linalg.svd(
        whiten[0].T @ (sides[0].T @ sides[1] / len(image_NF)) @ whiten[1], full_matrices=False
    )
    return whiten[0] @ u[:, :SHARED] * s[:SHARED], whiten[1] @ vt[:SHARED].T * s[:SHARED]


def _unit(x: Matrix) -> Matrix:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _recall(score_QQ: Matrix) -> float:
    """Return the share of rows whose own column is among the ten best; ties count by their chance."""
    own_Q = np.diag(score_QQ)[:, None]
    better, tied = (score_QQ > own_Q).sum(1), (score_QQ == own_Q).sum(1)
    return float(((10 - better) / tied).clip(0, 1).mean())


if __name__ == "__main__":
    cyclopts.run(main)
