"""The errors that say what went wrong in training; light, so that a program can name them without torch."""

import math


class TrainingFailure(RuntimeError):
    """Training went wrong in a way that another setting mends; running it again gives the same."""


class NonFiniteLoss(TrainingFailure):
    """A loss term became NaN or infinite."""

    def __init__(self, phase: str, step: int, epoch: int, terms: dict[str, float]) -> None:
        super().__init__(phase, step, epoch, terms)  # all of them, so that the error can be pickled
        self.phase, self.step, self.epoch, self.terms = phase, step, epoch, terms

    def __str__(self) -> str:
        bad = ", ".join(f"{name} = {value}" for name, value in self.terms.items() if not math.isfinite(value))
        kept = "; the checkpoint of the epoch before is good" if self.epoch > 1 else ""
        return (
            f"{bad} in phase {self.phase!r}, step {self.step} of epoch {self.epoch} "
            f"(all terms: {self.terms}); lower the learning rate{kept}"
        )


class CollapsedCodes(TrainingFailure):
    """All validation items of one modality have the same code."""
