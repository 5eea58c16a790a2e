"""The README.md of a model: what it is, what it was made from, how good it is, and what it is not for."""

from cmh import methods
from cmh.model_facts import Facts
from cmh.training import trainer
from cmh.training.trainer import Epoch
from flows.run import Run


def card(run: Run, facts: Facts, history: list[Epoch]) -> str:
    """Return Markdown; the same for the same training, so without times or places."""
    entry = run.entry
    licences = sorted({source.licence for source in entry.sources.values()})
    how = "fine-tuned with the method" if facts.grid is None else "frozen"
    settings = "\n".join(f"| {name} | {value} |" for name, value in sorted(_settings(run, facts).items()))
    return f"""# {facts.method.upper()} on {entry.title}, {facts.bits} bits

Turns images and texts into binary codes of {facts.bits} bits that are near in Hamming distance where image
and text are about the same. Load it with `cmh.model.load(folder)`.

## Data

{entry.about.strip() or entry.title}

{entry.citation.strip()}

Licences of the sources: {"; ".join(licences)}. The weights were learned from these works; whether their terms
reach the weights is for you to judge.

## Networks

- images: {facts.backbone} ({facts.pretrained} weights, {how}), {facts.image_size} × {facts.image_size} pixels
- texts: {_reads(facts)}
- {facts.labels} labels tell which items are relevant to each other; no label is needed to encode

## Validation

{_validation(history)}

## Settings

| | |
|--|--|
{settings}

## Limits

- {_unseen(facts)}
- Images unlike the training images get codes all the same, and nothing says that they are wrong.
- Relevance means sharing a label of `labels.txt`, and nothing finer.
"""


def _reads(facts: Facts) -> str:
    if facts.text != "words":
        return f"{facts.text_dim} features by the text network {facts.text} (frozen)"
    return (
        f"bag of {facts.text_dim} words" if facts.length is None else f"{facts.length} words in their order"
    )


def _unseen(facts: Facts) -> str:
    if facts.text != "words":
        return "Of a long text, only the first 75 tokens are seen."
    return (
        "Words outside `vocabulary.txt` are not seen; a text without any known word gets the code of the "
        "empty text."
    )


def _validation(history: list[Epoch]) -> str:
    if not history:
        return "Learned from all training items at once; nothing was chosen by validation."
    best = trainer.best(history)
    return f"""Best of {len(history)} epochs: epoch {best.number}. Mean average precision of the validation
items against training items, ties by expectation:

| image → text | text → image |
|--|--|
| {best.map_image_to_text:.4f} | {best.map_text_to_image:.4f} |

The epoch was chosen by these figures, so they flatter; the report on the query split is the one to quote."""


def _settings(run: Run, facts: Facts) -> dict[str, object]:
    training = {} if methods.is_shallow(facts.method) else run.experiment.training.model_dump()
    return {**facts.settings, **training, "seed": run.experiment.seed, "revision": facts.revision}
