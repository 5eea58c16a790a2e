"""Suggest how to go on with data that was looked at: an experiment that fits, and the command to run it."""

import shlex
from typing import Any

import numpy as np

from flows.experiment import Experiment
from infra import bucket


def fitting(experiment: Experiment, train: int) -> Experiment:
    """Return the experiment with what has to be otherwise for so few items."""
    changes: dict[str, Any] = {}
    fits = max(8, 2 ** int(np.log2(max(train, 8))))
    if train < max(experiment.bits, experiment.training.batch_size):
        bits = min(experiment.bits, fits)
        batch = min(experiment.training.batch_size, fits)
        changes |= {
            "bits": bits,
            "training": experiment.training.model_copy(update={"batch_size": batch}),
            "evaluation": experiment.evaluation.model_copy(update={"bits": (bits,)}),
        }
    return Experiment(
        **{**{name: getattr(experiment, name) for name in experiment.model_fields_set}, **changes}
    )


def command(fitting: Experiment, given: Experiment) -> str:
    """Return the command line that runs the experiment."""
    words = ["cmh", "run"]
    if given.images is not None and given.items is not None:
        words += ["--images", bucket.as_written(given.images)]
        words += ["--items", bucket.as_written(given.items)]
    else:
        words.append(bucket.as_written(given.dataset))
    if given.columns:
        words += ["--columns", given.columns]
    if given.protocol:
        words += ["--protocol", given.protocol]
    if fitting.bits != Experiment().bits:
        words += ["--bits", str(fitting.bits), "--evaluation.bits", str(fitting.bits)]
    if fitting.training.batch_size != Experiment().training.batch_size:
        words += ["--training.batch-size", str(fitting.training.batch_size)]
    return shlex.join(words)
