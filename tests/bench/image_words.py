"""How many of ten words for a drawing are its own: from the nearest texts, and from the words' own codes.

    make demo && python -m tests.bench.image_words

The drawings are those by which the newest codes' model was validated, the texts those that it learnt from.
"""

import argparse

import numpy as np
import zarr

from cmh.codes.captions import Captions
from cmh.codes.search import Index
from cmh.data import schema, texts
from flows.search import open_run, read_codes
from infra import artifacts
from infra.stores import open_store

WORDS = 10


def main() -> None:
    """Print both shares."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    store = open_store()
    codes, packed, items = read_codes(store, None)
    dataset = artifacts.open_artifact(store, codes.read_json("codes.json")["dataset"])
    rows = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    train, validation = (schema.array(rows, f"split/{name}")[:] for name in ("train", "validation"))
    engine = open_run(store, codes.ref.address)
    said = items["text"].to_pylist()
    captions = Captions(
        Index(schema.array(packed, "text")[:][train], engine.model.bits), [said[row] for row in train]
    )
    vocabulary = np.array(engine.model.vocabulary)
    word_DK = _normed(engine.model.relax_vocabulary())
    shares: dict[str, list[float]] = {"nearest texts": [], "codes of words": []}
    owned = []
    for row in validation.tolist():
        own = set(texts.words(said[row]))
        owned.append(len(own))
        relaxed_1K = engine.model.relax_images([engine.image(row)])
        best = vocabulary[np.argsort(-(word_DK @ _normed(relaxed_1K)[0]))[:WORDS]]
        voted = [word for word, _ in captions.words(engine.model.pack(relaxed_1K), WORDS)]
        shares["codes of words"].append(len(own & set(best.tolist())) / WORDS)
        shares["nearest texts"].append(len(own & set(voted)) / WORDS)
    print(f"{codes.ref.address}, {len(validation)} drawings of {np.mean(owned):.1f} words")
    print(f"share of {WORDS} words that are the drawing's own:")
    for how, values in shares.items():
        print(f"{how:15} {np.mean(values):.3f} ± {np.std(values) / len(values) ** 0.5:.3f}")


def _normed(u_NK: np.ndarray) -> np.ndarray:
    return u_NK / np.linalg.norm(u_NK, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
