"""Small results of everything that a REVISION guards: who changes one has to raise the other.

A result is a list of numbers (or of texts); it is computed anew and compared with `science.json`.  Tolerances
leave room for the last bits of another processor, and for nothing more.
"""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from cmh.codes import hamming
from cmh.data import images, labels, records, schema, splits
from cmh.data.splits import published
from cmh.data.texts import bag_of_words, drop_words, sequences, vectorizer
from cmh.evaluation import code_statistics, comparison, counts, diagnostics, ndcg, report
from cmh.evaluation.diagnostics_page import Diagnostics
from cmh.hashing import encoding
from cmh.hashing.bit_order import order_bits
from cmh.networks import backbones, clip, minilm
from cmh.networks import features as extraction
from cmh.networks.minilm import MiniLMText
from cmh.training import trainer
from cmh.training.solver import fit
from tests import tiny
from tests.cmh.methods import shallow
from tests.cmh.networks.test_minilm import tokenizer

BITS = 16
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 20"><rect width="10" height="10" fill="red"/>'
    b'<circle cx="5" cy="15" r="4" fill="#00f" fill-opacity=".5"/></svg>'
)


class Guard(NamedTuple):
    """A revision, where it stands, and what it guards."""

    place: str
    revision: int
    results: Callable[[], dict[str, Any]]


def pairs() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Relaxed codes (60, 16) of both sides, with a signal in the last eight bits, and their labels."""
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=60)
    centres = rng.choice([-1.0, 1.0], (4, 8))
    real = {
        side: np.hstack([rng.standard_normal((60, 8)), centres[classes] + 0.3 * rng.standard_normal((60, 8))])
        for side in ("image", "text")
    }
    label = np.eye(5, dtype=np.uint8)[classes]
    label[::3, 4] = 1
    return real, label


def report_tables() -> report.Tables:
    """The tables of twenty queries against forty items, with an order of bits."""
    real, label = pairs()
    codes = {side: hamming.pack(u > 0) for side, u in real.items()}
    sides = [
        counts.CodedItems({side: packed[rows] for side, packed in codes.items()}, label[rows])
        for rows in (slice(20), slice(20, None))
    ]
    rankings = report.rankings(report.DIRECTIONS, (8, BITS), orders := {"most": np.r_[8:16, 0:8]})
    counted = counts.count_rankings(sides[0], sides[1:], rankings, orders, ndcg.grades(label[:20]))
    return report.measure_codes(counted, sides[0], 2)


def diagnostic_tables() -> Diagnostics:
    """Diagnostics of the same queries and items, the first thirty of these being trained on."""
    real, label = pairs()
    codes = {side: hamming.pack(u > 0) for side, u in real.items()}
    queries, trained, others = (
        counts.CodedItems({side: packed[rows] for side, packed in codes.items()}, label[rows])
        for rows in (slice(20), slice(20, 50), slice(50, None))
    )
    return Diagnostics(
        *code_statistics.measure({side: packed[20:] for side, packed in codes.items()}, (8, BITS)),
        diagnostics.by_part(queries, {"trained": [trained], "never_trained": [others]}, BITS),
        diagnostics.by_label(report_tables().queries, BITS, label[:20], ["a", "b", "c", "d", "e"]),
    )


def embedding_tables() -> report.Tables:
    """The same of real-valued embeddings."""
    real, label = pairs()
    embedding = {side: u.astype(np.float32) for side, u in real.items()}
    return report.measure_embeddings(embedding, label, np.arange(20), np.arange(20, 60))


def _figures() -> dict[str, Any]:
    found: dict[str, Any] = {}
    measured = {"codes": report_tables(), "embeddings": embedding_tables()}
    for name, (metrics, curves, queries, _) in measured.items():
        for row in metrics.to_pylist():
            key = f"{name}: {row['metric']}, {row['direction']}, {row['bits']}, {row['ranking']}"
            found[key] = [row["value"], row["low"], row["high"]]
        for curve in ("pr", "precision_at"):
            rows = [r for r in curves.to_pylist() if r["curve"] == curve]
            found[f"{name}: {curve}"] = [[r["x"], r["y"]] for r in rows]
        found[f"{name}: queries"] = [list(row.values()) for row in queries.to_pylist()[::7]]
    for name, table in diagnostic_tables()._asdict().items():
        found[f"diagnostics: {name}"] = [list(row.values()) for row in table.to_pylist()]
    return found


def _comparison() -> dict[str, Any]:
    from tests.golden import pages

    _, summed, tested = pages.comparison_tables()
    return {
        name: [list(row.values()) for row in table.to_pylist()]
        for name, table in {"summary": summed, "pairs": tested}.items()
    }


def image(kind: str, mode: str = "RGB") -> bytes:
    """A file of 40 × 30 pixels: a smooth field with a shape on it, half transparent where the mode can be."""
    y, x = np.mgrid[:30, :40]
    pixels = np.stack([6 * x, 8 * y, 3 * (x + y)], -1).astype(np.uint8)
    drawn = Image.fromarray(pixels).convert(mode)
    if mode == "RGBA":
        drawn.putalpha(128)
    ImageDraw.Draw(drawn).ellipse((5, 5, 20, 25), fill="red")
    file = io.BytesIO()
    drawn.save(file, kind)
    return file.getvalue()


def _images() -> dict[str, Any]:
    files = {
        "png": (image("PNG"), "image/png"),
        "transparent": (image("PNG", "RGBA"), "image/png"),
        "drawing": (SVG, "image/svg+xml"),
    }
    decoded = {name: images.decode_image(*file, 16) for name, file in files.items()}
    return {name: block.reshape(16, -1).mean(1).tolist() for name, block in decoded.items()}


def _dataset() -> dict[str, Any]:
    said = ["A red, red apple!", "Pear ÉTÉ 5", "the green pear", "blue sky over the green sea", "x"]
    words = vectorizer(min_df=1, max_features=6)
    vocabulary = words.fit(said).get_feature_names_out().tolist()
    rules = {"fruit": {"tags": ["fruit"]}, "food": {"groups": ["food"], "tags": ["meal"]}}
    traits = [{"groups": ["food"], "tags": ["fruit"]}, {"groups": ["food"]}, {"tags": ["fruit"]}]
    own = [{"labels": ["b", "a"]}, {"labels": ["c"]}]
    groups = [f"group {number % 9}" for number in range(30)]
    split = splits.grouped(groups, query=0.2, validation=0.1, train=0.7, seed=4)
    return {
        "vocabulary": vocabulary,
        "bags": bag_of_words(said, vocabulary).tolist(),
        "sequences": sequences(said, vocabulary, 4).tolist(),
        "dropped": [drop_words(text, 0.4, seed=1, key=str(n)) for n, text in enumerate(said)],
        "labels by rules": [*labels.assign(traits, rules)[0], labels.assign(traits, rules)[1].tolist()],
        "own labels": [*labels.assign(own, {})[0], labels.assign(own, {})[1].tolist()],
        "split": {name: rows.tolist() for name, rows in split.items()},
    }


def _precomputed() -> dict[str, Any]:
    rows = published(np.arange(20) % 3 == 0, validation=0.3, seed=2)
    return {name: found.tolist() for name, found in rows.items()}


def _features() -> dict[str, Any]:
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    block = np.random.default_rng(0).integers(256, size=(3, 40, 40, 3), dtype=np.uint8)
    for name in ("efficientnet_lite0", "resnet18", "cnn_f"):
        backbone = backbones.load(name, "none").eval()
        extractor = extraction.Extractor(backbone, image_size=64, grid=2, batch=4)
        for key, values in extractor(block).items():
            found[f"{name}: {key}"] = values.astype(np.float64).reshape(3, -1)[:, :4].tolist()
    return found


def _texts() -> dict[str, Any]:
    torch.manual_seed(0)
    network = clip.ClipText().eval()
    read = ["A red apple", "dolphin " * 100, ""]
    return {"features": network.on_runtime(threads=1)(read)[:, :6].tolist()}


def _sentences() -> dict[str, Any]:
    torch.manual_seed(0)
    network = MiniLMText(2, tokenizer()).eval()
    return {"features": network.on_runtime(threads=1)(["a red apple", "dog " * 200, ""])[:, :6].tolist()}


def _encoding() -> dict[str, Any]:
    method = tiny.method()
    items = tiny.items(12)
    u_NK = encoding.relaxed_codes(method, items, "image", 5)
    weights = torch.tensor([[0.3, -0.9, 0.1, 0.1], [0.1, 0.2, 0.0, 0.0]])
    ways = ("most", "least", "absolute", "random")
    return {
        "relaxed": u_NK.tolist(),
        "packed": hamming.pack_relaxed(u_NK, encoding.bit_order(method)).tolist(),
        "orders": {how: order_bits(weights, how) for how in ways},
    }


def _training() -> dict[str, Any]:
    history = trainer.fit(
        tiny.method(), tiny.items(80), tiny.items(40, 1), trainer.Config(epochs=3, batch_size=16)
    )
    return {
        f"epoch {epoch.number}": [*epoch.terms.values(), *epoch.learning_rates.values(), epoch.score]
        for epoch in history
    }


def _solving() -> dict[str, Any]:
    database = shallow.pairs(120, seed=1)
    unified_NK = fit(shallow.build("dch", database, bits=BITS), database, 0)
    assert unified_NK is not None
    return {"share of +1 by bit": (unified_NK > 0).mean(0).tolist()}


GUARDS = {
    "report": Guard("cmh.evaluation.report.REVISION", report.REVISION, _figures),
    "comparison": Guard("cmh.evaluation.comparison.REVISION", comparison.REVISION, _comparison),
    "images": Guard("cmh.data.images.REVISION", images.REVISION, _images),
    "dataset": Guard("cmh.data.schema.DATASET_REVISION", schema.DATASET_REVISION, _dataset),
    "precomputed features": Guard("cmh.data.records.REVISION", records.REVISION, _precomputed),
    "features": Guard("cmh.networks.features.REVISION", extraction.REVISION, _features),
    "sentences": Guard("cmh.networks.minilm.REVISION", minilm.REVISION, _sentences),
    "texts": Guard("cmh.networks.clip.TEXT_REVISION", clip.TEXT_REVISION, _texts),
    "codes": Guard("cmh.hashing.encoding.REVISION", encoding.REVISION, _encoding),
    "training": Guard("cmh.training.trainer.REVISION", trainer.REVISION, _training),
    "a shallow method": Guard("the REVISION of each method", 1, _solving),
}
