"""Average the loss terms of one pass over the data, and stop where one is not finite."""

import math

import torch
from torch import Tensor

from cmh import distributed
from cmh.training.failures import NonFiniteLoss
from cmh.training.schedule import Step

LOOK_AFTER = 100  # steps between two looks at the loss terms: each look waits for the device


class LossTerms:
    """Loss terms of one pass over the data: their means, and NonFiniteLoss where one is not finite."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._waiting: list[tuple[Step, dict[str, Tensor]]] = []
        self._seen: dict[str, list[float]] = {}

    def add(self, step: Step, terms: dict[str, Tensor]) -> None:
        self._waiting.append((step, {name: term.detach().float() for name, term in terms.items()}))
        if len(self._waiting) == LOOK_AFTER:
            self._look()

    def means(self) -> dict[str, float]:
        """Return mean over the steps and workers of every term, by `<phase>/<term>`."""
        self._look()
        return {name: math.fsum(values) / len(values) for name, values in self._seen.items()}

    def _look(self) -> None:
        """Fetch the waiting terms, averaged over the workers, so that all workers see and do the same."""
        if not self._waiting:
            return
        flat = torch.stack([term for _, terms in self._waiting for term in terms.values()])
        values = iter(distributed.mean(flat).tolist())
        for step, terms in self._waiting:
            found = {name: next(values) for name in terms}
            if not all(map(math.isfinite, found.values())):
                raise NonFiniteLoss(step.phase.name, step.number, self._epoch, found)
            for name, value in found.items():
                self._seen.setdefault(f"{step.phase.name}/{name}", []).append(value)
        self._waiting.clear()
