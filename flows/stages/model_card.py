"""The README.md of a model: what it is, what it was made from, how good it is, and what it is not for."""

from cmh import methods
from cmh.hashing.model_facts import Facts
from cmh.networks import text_encoders
from cmh.training import trainer
from cmh.training.trainer import Epoch
from flows.run import Run

_TERMS = """The weights were learned from these works; whether their terms
reach the weights is for you to judge."""


def card(run: Run, facts: Facts, history: list[Epoch]) -> str:
    """Return Markdown; the same for the same training, so without times or places."""
    entry = run.entry
    licences = sorted({source.licence for source in entry.sources.values()})
    how = "fine-tuned with the method" if facts.grid is None else "frozen"
    start, noise = _start(run), _noise(run)
    settings = "\n".join(f"| {name} | {value} |" for name, value in sorted(_settings(run, facts).items()))
    return f"""# {facts.method.upper()} on {entry.title}, {facts.bits} bits

Turns images and texts into binary codes of {facts.bits} bits that are near in Hamming distance where image
and text are about the same. Load it with `cmh.model.load(folder)`.

## Data

{entry.about.strip() or entry.title}

{entry.citation.strip()}

{start}{noise}Licences of the sources: {"; ".join(licences)}. {_TERMS}

## Networks

- images: {facts.backbone} ({facts.pretrained} weights, {how}), {facts.image_size} × {facts.image_size} pixels
- texts: {_reads(facts)}
- {_labels(facts)}

## Validation

{_validation(history)}

## Settings

| | |
|--|--|
{settings}

## Limits

- {_unseen(facts)}
- Images unlike the training images get codes all the same, and nothing says that they are wrong.
- {_relevance(facts)}
"""


def _start(run: Run) -> str:
    """Say that the weights come from another model, as a paragraph; nothing where they do not."""
    if run.start is None:
        return ""
    return (
        f"Started from another {run.experiment.method.upper()} model, content `{run.start.content[:12]}`: "
        "what that one learned from, and its terms, belong to this one, too.\n\n"
    )


def _noise(run: Run) -> str:
    """Say how many labels were wrong on purpose, as a paragraph; nothing where none were."""
    noise = run.entry.label_noise
    if noise is None:
        return ""
    return (
        f"**Trained on wrong labels on purpose**: {100 * noise.rate:g} % of the training items have one "
        f"label exchanged ({noise.kind}, seed {noise.seed}). This is for measuring methods, not for use.\n\n"
    )


def _reads(facts: Facts) -> str:
    if facts.text != "words":
        beside = " and words of `vocabulary.txt`" if facts.words else ""
        return f"{facts.text_dim} features by the text network {facts.text} (frozen){beside}"
    return (
        f"bag of {facts.text_dim} words" if facts.length is None else f"{facts.length} words in their order"
    )


def _labels(facts: Facts) -> str:
    reads = methods.load(facts.method).reads_labels
    if reads == "never" or not facts.labels:
        return "no labels: learned from pairs alone"
    beside = ", beside pairs and groups" if reads == "where given" else ""
    what = "labels tell which items are relevant to each other"
    return f"{facts.labels} {what}{beside}; no label is needed to encode"


def _relevance(facts: Facts) -> str:
    if methods.load(facts.method).reads_labels == "always":
        return "Relevance means sharing a label of `labels.txt`, and nothing finer."
    return "What is near was near in the training pairs: their words, their pictures, and their mistakes."


def _unseen(facts: Facts) -> str:
    if facts.text != "words":
        tokens = text_encoders.spec(facts.text).tokens
        return f"Of a long text, only the first {tokens} tokens are seen."
    return (
        "Words outside `vocabulary.txt` are not seen; a text without any known word gets the code of the "
        "empty text."
    )


def _validation(history: list[Epoch]) -> str:
    if not history:
        return "Learned from all training items at once; nothing was chosen by validation."
    best, epochs = trainer.best(history), history[-1].number
    which = f"epoch {best.number}" if best.number else "none: the weights of the model that it started from"
    return f"""Best of {epochs} epochs: {which}. {_measured(best)}

| | image → text | text → image |
|--|--|--|
{_table(best)}

The epoch was chosen by these figures, so they flatter; the report on the query split is the one to quote."""


_MEASURES = {
    "map": (
        "MAP",
        "Mean average precision of the validation items against training items, ties by expectation",
    ),
    "recall": (
        "recall",
        "Share of validation items whose nearest 1, 5 or 10 validation items of the other modality hold "
        "their own pair or one of its group, averaged over the three",
    ),
}


def _measured(best: Epoch) -> str:
    return (
        "; ".join(what for name, (_, what) in _MEASURES.items() if f"{name}_image_to_text" in best.validation)
        + ":"
    )


def _table(best: Epoch) -> str:
    found = best.validation
    return "\n".join(
        f"| {short} | {found[f'{name}_image_to_text']:.4f} | {found[f'{name}_text_to_image']:.4f} |"
        for name, (short, _) in _MEASURES.items()
        if f"{name}_image_to_text" in found
    )


def _settings(run: Run, facts: Facts) -> dict[str, object]:
    training = {} if methods.is_shallow(facts.method) else run.experiment.training.model_dump()
    return {**facts.settings, **training, "seed": run.experiment.seed, "revision": facts.revision}
