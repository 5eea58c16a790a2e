"""Validate a method after each epoch: check its codes, and measure retrieval by validation queries.

A method that learns from labels is measured by MAP, the queries searching training items.  One that ignores
labels must not be chosen by them: it is measured by how often a query's own pair, or another item of its
group, is among its nearest validation items.  One that learns from both is measured by both.

Shape suffixes: n = items, K = bits, or numbers of an embedding, L = labels.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.data.items import Items
from cmh.data.sides import Side
from cmh.evaluation import metrics, stable_metrics
from cmh.evaluation.instance_recall import KS, group_recall
from cmh.hashing.method import Method
from cmh.training.failures import CollapsedCodes, NonFiniteLoss

Relaxed = NDArray[np.float32]
Labels = NDArray[np.uint8]
Codes = Callable[[Items, Side], Relaxed]

DATABASE = 4096  # at most so many training items, evenly spaced, are the database of MAP


def measure(method: Method, train: Items, validation: Items, codes: Codes, epoch: int) -> dict[str, float]:
    """Return MAP by labels, recall of pairs, or both, by `<measure>_<direction>`.

    Args:
        method: the method in training.
        train: the training items, of which an evenly spaced part is the database of MAP.
        validation: the queries, and the gallery of recall.
        codes: gives the relaxed codes (n, K) of items of one modality.
        epoch: number of the epoch, from 1.

    Raises:
        NonFiniteLoss, CollapsedCodes: the codes of the validation items are unusable.
    """
    image_nK, text_nK = codes(validation, "image"), codes(validation, "text")
    refuse_unsound(method, image_nK, "image", epoch)
    refuse_unsound(method, text_nK, "text", epoch)
    measured: dict[str, float] = {}
    if method.reads_labels == "always" or (method.reads_labels == "where given" and validation.label.any()):
        database = train.every(math.ceil(len(train) / DATABASE))
        labels = validation.label, database.label
        asked: tuple[tuple[str, Relaxed, Side], ...] = (
            ("image_to_text", image_nK, "text"),
            ("text_to_image", text_nK, "image"),
        )
        for direction, query_nK, side in asked:
            found_nK = codes(database, side)
            measured[f"map_{direction}"] = mean_average_precision(method, query_nK, found_nK, *labels)
    if method.reads_labels != "always":
        measured |= paired_recall(method, image_nK, text_nK, validation)
    return measured


def mean_average_precision(
    method: Method, query_nK: Relaxed, found_nK: Relaxed, query_labels_nL: Labels, labels_nL: Labels
) -> float:
    """Return the MAP of queries over the whole ranking of a database.

    The ranking is by Hamming distance, with the expectation over ties; for nested codes the result is the
    mean over their lengths.  For a real-valued method the ranking is by cosine.

    Args:
        method: the method that made the codes.
        query_nK: relaxed codes of the queries, float32.
        found_nK: relaxed codes of the database, float32.
        query_labels_nL: multi-hot labels of the queries, uint8.
        labels_nL: multi-hot labels of the database, uint8.
    """
    labels = query_labels_nL, labels_nL
    if method.real_valued:
        measures = {"map": stable_metrics.average_precision}
        return float(stable_metrics.evaluate_cosine(query_nK, found_nK, *labels, measures)["map"].mean())

    def map_of(bits: int) -> float:
        query, database = (hamming.pack(u_nK[:, :bits] >= 0) for u_nK in (query_nK, found_nK))
        return metrics.evaluate(query, database, *labels, bits).map

    return float(np.mean([map_of(bits) for bits in [*method.prefixes, method.bits]]))


def paired_recall(method: Method, image_nK: Relaxed, text_nK: Relaxed, items: Items) -> dict[str, float]:
    """Return by `recall_<direction>` how often the nearest hold another item of the query's group.

    Of an item that is alone in its group, its own pair is sought.  Each figure is the mean over the first 1,
    5 and 10, with the expectation over ties; for nested codes, also over their lengths.

    Args:
        method: the method that made the codes.
        image_nK: relaxed codes of the items' images, float32.
        text_nK: relaxed codes of their texts, float32.
        items: the items, with their groups.
    """

    def recall(query_nK: Relaxed, gallery_nK: Relaxed, bits: int) -> float:
        query, gallery = (hamming.pack(u_nK[:, :bits] >= 0) for u_nK in (query_nK, gallery_nK))
        return float(group_recall(query, gallery, items.groups, items.images, KS).mean())

    lengths = [*method.prefixes, method.bits]
    return {
        f"recall_{direction}": float(np.mean([recall(*codes, bits) for bits in lengths]))
        for direction, codes in (
            ("image_to_text", (image_nK, text_nK)),
            ("text_to_image", (text_nK, image_nK)),
        )
    }


def refuse_unsound(method: Method, u_nK: Relaxed, side: Side, epoch: int) -> None:
    """Refuse codes of the validation items that are not finite, or all the same.

    Args:
        method: the method that made the codes.
        u_nK: relaxed codes, float32.
        side: their modality.
        epoch: number of the epoch, from 1.

    Raises:
        NonFiniteLoss: a code contains NaN or infinity.
        CollapsedCodes: all codes are the same.
    """
    if not np.isfinite(u_nK).all():
        raise NonFiniteLoss("validation", 0, epoch, {f"{side} codes": float("nan")})
    code_nK = u_nK if method.real_valued else u_nK >= 0
    if len(code_nK) > 1 and (code_nK == code_nK[0]).all():
        raise CollapsedCodes(
            f"all {len(u_nK)} validation items have the same {side} code after epoch {epoch}; if they are "
            "copies of one item (`cmh inspect` tells), give more; else lower the learning rate, take a "
            "larger batch (--training.batch-size), or weight relevant pairs higher if they are rare; `cmh "
            "methods METHOD` lists the settings"
        )
