"""Say what is seen in a user's own data before anything runs: what is understood, what would be left out.

Everything is asked of the code that a run uses: the forms and readers, the decoder, the rules for texts,
labels and splits, and the checks before work.  Nothing is written.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.data import labels, near_duplicates, quality, readers
from cmh.data.records import Record
from data_catalog.catalog import Entry, Sizes
from flows import image_survey, preflight, rejections, sources, suggestion
from flows.experiment import Experiment
from flows.image_survey import Survey
from flows.run import Run, resolve
from flows.stages import dataset, precomputed, records
from infra import bucket

SHOWN = 5  # of a kind
FEW_GROUPS = 3  # of validation items
_LABELS = 10


@dataclass
class Section:
    """A part of what is said: lines, and rows of a table."""

    title: str
    lines: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Inspection:
    """All that is said.

    Attributes:
        sections: in the order in which a person reads them.
        refusals: why a run would stop; none: it would not, as far as was looked.
        command: what to go on with.
        counted: items, labels, and items of each part of the split.
    """

    sections: list[Section] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    command: str = ""
    counted: dict[str, int] = field(default_factory=dict)

    def add(self, title: str) -> Section:
        """Begin a section."""
        self.sections.append(Section(title))
        return self.sections[-1]

    def attempt(self, action: Callable[[], None]) -> bool:
        """Do what a run does as well, and keep why it would stop; return whether it would go on."""
        try:
            action()
        except (ValueError, OSError) as error:
            self.refusals.append(bucket.as_addresses(str(error)))
            return False
        return True

    def go_on(
        self, fitting: Experiment, given: Experiment, entry: Entry, contents: preflight.Contents
    ) -> None:
        """Name the command that runs, if the checks before work let it."""
        run = resolve(fitting, entry)
        if self.attempt(lambda: preflight.check_settings(run)) and self.attempt(
            lambda: preflight.check_items(contents, run)
        ):
            self.command = suggestion.command(fitting, given)


def inspect(experiment: Experiment, *, every_image: bool = False) -> Inspection:
    """Look at the data of an experiment.

    Args:
        experiment: names the data, and what a run would do with it.
        every_image: whether all images are decoded, however long it takes, and not only a sample.

    Raises:
        ValueError, OSError: the data is of no form that is read, or its table is not understood.
    """
    run = resolve(experiment)
    entry, said = run.entry, Inspection()
    paths = sources.paths(entry)
    form = said.add("Form")
    form.lines.append(f"{entry.title}; read by {entry.reader!r}")
    form.rows = [{"source": name, "path": bucket.as_addresses(str(path))} for name, path in paths.items()]
    understood = readers.columns(entry.reader, paths, entry.options)
    if understood:
        said.add("Columns").rows = [
            {"column": column, "read as": meaning or "not read"} for column, meaning in understood.items()
        ]
    if run.brings_features:
        if contents := _features(said, entry):
            fitting = suggestion.fitting(experiment, len(contents.split["train"]))
            said.go_on(fitting, experiment, entry, contents)
        return said
    every = list(readers.load(entry.reader).read(paths, entry.options))
    _count(said, every, entry)
    suspicious = quality.suspicious_texts([record.text for record in every])
    suspicious += quality.suspicious_labels([record.traits.get("labels", ()) for record in every])
    said.add("Suspicious cells").lines = suspicious or ["none"]
    if not said.attempt(lambda: rejections.check_records(every, entry)):
        return said
    said.add("Remarks").lines = readers.remarks(entry.reader, paths, entry.options)
    images = records.one_per_image(every)
    seen = image_survey.survey(images, entry.images.size, every_image=every_image)
    _images(said, images, entry, seen)
    # of a sample: the share among those that were looked at
    if said.attempt(lambda: rejections.stop_if_damaged(entry, seen.damaged, seen.seen)):
        _go_on(said, experiment, run, every, seen.damaged)
    return said


def describe(entry: Entry) -> Inspection:
    """Look at a dataset of the catalog whose files are here: counts, pairs, labels and the split.

    Raises:
        ValueError, OSError: its files are not as published.
    """
    said = Inspection()
    if readers.brings_features(entry.reader):
        _features(said, entry)
    else:
        every = list(readers.load(entry.reader).read(sources.paths(entry), entry.options))
        _count(said, every, entry)
        said.attempt(lambda: _split(said, dataset.assemble(every, {}, entry), entry))
    if differing := entry.differing_counts(**said.counted):
        said.add("Unlike the catalog").lines.append(f"{differing}; are its files whole?")
    return said


def _features(said: Inspection, entry: Entry) -> preflight.Contents | None:
    """Look at features in place of images and words; return what they come to, None if a run would stop."""
    table, counts = precomputed.read(entry), said.add("Counts")
    counts.lines.append(
        f"{len(table.id)} items; {table.image.shape[1]} numbers of an image, {table.text.shape[1]} of a "
        f"text, {len(table.labels)} labels"
    )
    for name, values in (("image", table.image), ("text", table.text)):
        still = int((values.std(axis=0) == 0).sum())
        different = len({hash(row.tobytes()) for row in values})  # np.unique would sort copies of all
        counts.lines.append(
            f"{name}: from {values.min():.3g} to {values.max():.3g}; {still} of {values.shape[1]} numbers "
            f"are the same in all items; {len(values) - different} rows are like another"
        )
    _frequencies(said, table.labels, table.label)
    made: list[dict[str, Any]] = []
    if not said.attempt(lambda: made.append(precomputed.split_rows(table, entry))):
        return None
    (rows,) = made
    of_each = {name: len(found) for name, found in rows.items()}
    told = ", ".join(f"{count} {name}" for name, count in of_each.items())
    said.add("Split").lines.append(f"{told} (the database is all but the queries)")
    said.counted = {"items": len(table.id), "labels": len(table.labels), **of_each}
    has_text_N = np.ones(len(table.id), bool)
    return preflight.Contents(entry.name, rows, has_text_N, list(table.labels), table.label)


def _count(said: Inspection, every: Sequence[Record], entry: Entry) -> None:
    """Say how many there are, show some pairs, and the labels by frequency."""
    names, label_NL = labels.assign([record.traits for record in every], entry.labels)
    without = int((~label_NL.any(axis=1)).sum())
    stated = Counter(record.split for record in every if record.split)
    counts = said.add("Counts")
    counts.lines.append(
        f"{len(every)} items, {len({r.image_name for r in every})} images, {len({r.group for r in every})} "
        f"groups, {len(names)} labels, {without} items without a label"
    )
    if stated:
        told = ", ".join(f"{count} {name}" for name, count in stated.items())
        counts.lines.append(f"the data states a split: {told}")
    sample = sorted(random.Random(0).sample(range(len(every)), min(SHOWN, len(every))))
    said.add("Pairs, drawn at random").rows = [
        {
            "id": every[row].id,
            "text": shorten(every[row].text, 80, placeholder=" ..."),
            "labels": shorten(" | ".join(np.array(names)[label_NL[row] > 0]), 60, placeholder=" ..."),
        }
        for row in sample
    ]
    if names:
        _frequencies(said, names, label_NL)


def _frequencies(said: Inspection, names: Sequence[str], label_NL: NDArray[np.uint8]) -> None:
    count_L = label_NL.sum(axis=0, dtype=np.int64)
    commonest = np.argsort(-count_L, kind="stable")[:_LABELS]
    said.add(f"Labels, the commonest {len(commonest)} of {len(names)}").rows = [
        {"label": names[c], "items": int(count_L[c]), "share": f"{count_L[c] / len(label_NL):.1%}"}
        for c in commonest
    ]


def _images(said: Inspection, images: Sequence[Record], entry: Entry, seen: Survey) -> None:
    """Say what was seen of the images."""
    looked = said.add("Images")
    drawn = (
        "all" if seen.seen == len(images) else f"{seen.seen} of {len(images)}, drawn at random; --all: all"
    )
    looked.lines.append(f"looked at {drawn}; {len(seen.damaged)} cannot be used")
    looked.lines += seen.lines(entry.images.size)
    if seen.damaged:
        said.add("Would be left out").rows = [
            {"image": name, "reason": bucket.as_addresses(reason)}
            for name, reason in list(seen.damaged.items())[:SHOWN]
        ]
    group = {record.image_name: record.group for record in images}
    apart = [(one, other) for one, other in seen.alike() if group[one] != group[other]]
    found = said.add("Near-duplicates")
    found.lines.append(
        f"{len(apart)} pairs of images look alike (perceptual hash within {near_duplicates.DISTANCE} of 64 "
        "bits) and are in different groups, so that a split may separate them"
        if apart
        else "no two of these images look alike and are in different groups"
    )
    found.rows = [{"image": one, "looks like": other} for one, other in apart[:SHOWN]]


def _go_on(
    said: Inspection, experiment: Experiment, run: Run, every: Sequence[Record], damaged: dict[str, str]
) -> None:
    """Draw the split, check it as a run does, and name the command that runs."""
    entry = run.entry
    made: list[dataset.Assembled] = []
    if not said.attempt(lambda: made.append(dataset.assemble(every, damaged, entry))):
        return
    (items,) = made
    _split(said, items, entry)
    fitting = suggestion.fitting(experiment, len(items.split["train"]))
    counts = items.words.transform(items.said)
    contents = preflight.Contents(
        entry.name, items.split, np.asarray(counts.getnnz(axis=1)) > 0, items.names, items.label_NL
    )
    said.go_on(fitting, experiment, entry, contents)


def _split(said: Inspection, items: dataset.Assembled, entry: Entry) -> None:
    """Say how the split comes out, and what it lets through."""
    split = said.add("Split")
    how = "as the data states it" if any(r.split for r in items.items) else f"drawn: {_settings(entry)}"
    told = ", ".join(f"{len(rows)} {name}" for name, rows in items.split.items())
    split.lines.append(f"{how}; {told} (the database is all but the queries)")
    groups = [record.group for record in items.items]
    found = quality.of_items(items.said, groups, items.label_NL, items.split)
    split.lines += found.lines() + quality.of_validation(groups, items.split)
    chosen_by = {items.items[row].group for row in items.split["validation"]}
    if 0 < len(chosen_by) < FEW_GROUPS:
        split.lines.append(
            f"the validation items, by which the best epoch is chosen, are of {len(chosen_by)} group(s), "
            "such as copies of one image, and may tell nothing; give more images, or your own column `group` "
            "or `split`"
        )
    said.counted = {"items": len(items.items), "labels": len(items.names), **found.items}


def _settings(entry: Entry) -> str:
    settings = entry.split.model_dump(exclude_none=True)
    how = "item by item" if isinstance(entry.split, Sizes) else "by groups"
    return ", ".join([how, *(f"{name} {value}" for name, value in settings.items())])
