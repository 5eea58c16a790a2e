"""Average the loss terms of one pass over the data, and stop training where one is not finite."""

import math

import torch
from torch import Tensor

from cmh import distributed
from cmh.training.failures import NonFiniteLoss
from cmh.training.schedule import Step

LOOK_AFTER = 100  # steps between two checks of the loss terms; each check waits for the device


class LossTerms:
    """The loss terms of one pass over the data.

    `add` and `means` raise NonFiniteLoss where a term is NaN or infinite.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._waiting: list[tuple[Step, dict[str, Tensor]]] = []
        self._seen: dict[str, list[float]] = {}

    def add(self, step: Step, terms: dict[str, Tensor]) -> None:
        """Add the terms of a step, scalars by name; every `LOOK_AFTER` steps, check that all are finite.

        Raises:
            NonFiniteLoss: a term of the steps since the last check is not finite.
        """
        self._waiting.append((step, {name: term.detach().float() for name, term in terms.items()}))
        if len(self._waiting) == LOOK_AFTER:
            self._look()

    def means(self) -> dict[str, float]:
        """Return the mean of every term over the steps and workers, by `<phase>/<term>`.

        Raises:
            NonFiniteLoss: a term of the steps since the last check is not finite.
        """
        self._look()
        return {name: math.fsum(values) / len(values) for name, values in self._seen.items()}

    def _look(self) -> None:
        """Check the terms of the waiting steps, averaged over the workers so that all workers act alike."""
        if not self._waiting:
            return
        flat = torch.stack([term for _, terms in self._waiting for term in terms.values()])
        values = iter(distributed.mean(flat).tolist())
        for step, terms in self._waiting:
            step_terms = {name: next(values) for name in terms}
            if not all(map(math.isfinite, step_terms.values())):
                raise NonFiniteLoss(step.phase.name, step.number, self._epoch, step_terms)
            for name, value in step_terms.items():
                self._seen.setdefault(f"{step.phase.name}/{name}", []).append(value)
        self._waiting.clear()
