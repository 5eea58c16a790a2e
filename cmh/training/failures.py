"""Errors of training, in a module without torch, so that any program can import them quickly."""

import math


class TrainingFailure(RuntimeError):
    """Training failed in a way that needs other settings; a repetition with the same ones fails again."""


class NonFiniteLoss(TrainingFailure):
    """A loss term became NaN or infinite.

    Attributes:
        phase: name of the phase.
        step: number of the step within its pass, from 0.
        epoch: number of the epoch, from 1.
        terms: values of all loss terms of the step by name.
    """

    def __init__(self, phase: str, step: int, epoch: int, terms: dict[str, float]) -> None:
        super().__init__(phase, step, epoch, terms)  # pickling an error needs all arguments
        self.phase, self.step, self.epoch, self.terms = phase, step, epoch, terms

    def __str__(self) -> str:
        bad = ", ".join(f"{name} = {value}" for name, value in self.terms.items() if not math.isfinite(value))
        hint = "; the checkpoint of the epoch before is good" if self.epoch > 1 else ""
        return (
            f"{bad} in phase {self.phase!r}, step {self.step} of epoch {self.epoch} "
            f"(all terms: {self.terms}); lower the learning rate{hint}"
        )


class CollapsedCodes(TrainingFailure):
    """All validation items of one modality have the same code."""
