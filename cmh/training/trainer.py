"""Train any method with phases: epochs, batches, validation, best model, early stop and resumption.

`fit` runs in one process or in every process of a group (`cmh.distributed`), whoever started them.  Its
results depend only on the data, the method and `Config`: every random number is seeded by its position in the
run (seed, epoch, pass, step).  Therefore a run resumed after any epoch ends bit for bit like one without a
break, and W workers compute the same as one, up to rounding.  `cmh.training.schedule` plans each epoch.

Shape suffixes: B = batch, n = items, K = bits.
"""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmh import distributed
from cmh.data.batches import Batch, Slice, batches
from cmh.data.items import Items
from cmh.data.sides import Side
from cmh.hashing import config_checks
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.encoding import device_of, relaxed_codes
from cmh.hashing.method import Method, Phase, check_prefixes
from cmh.networks import batchnorm
from cmh.training import checkpoint, schedule, validation
from cmh.training.checkpoint import State
from cmh.training.loss_terms import LossTerms
from cmh.training.schedule import Step

REVISION = 2  # raise it when a change here alters the result of training; 2: fused optimisers, sums in pieces


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of training that are independent of the method; learning rates belong to the method."""

    epochs: int
    batch_size: int  # of all workers together
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: mixed precision, needs a GPU
    patience: int | None = None  # epochs without a better score before training stops; None: never
    prefixes: dict[int, float] = field(default_factory=dict)  # nested codes: length → weight of its loss

    def check(self, workers: int, gpu: bool) -> None:
        """Refuse settings that cannot work on so many workers, with or without a GPU each.

        Raises:
            ValueError: a setting that is not positive, a batch that workers cannot share evenly, or bfloat16
                without a GPU.
        """
        config_checks.positive(self, "epochs", "batch_size")
        if self.batch_size % workers:
            raise ValueError(
                f"a batch of {self.batch_size} cannot be split evenly over {workers} workers; use "
                f"{workers * max(1, round(self.batch_size / workers))}"
            )
        if self.precision == "bfloat16" and not gpu:
            raise ValueError("precision bfloat16 needs a GPU for each worker; use float32 on a CPU")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The results of one epoch; `validation` holds what `cmh.training.validation` measured."""

    number: int  # from 1
    terms: dict[str, float]  # mean of each loss term over the steps, by `<phase>/<term>`
    learning_rates: dict[str, float]  # by phase
    validation: dict[str, float]  # by `<measure>_<direction>`

    @property
    def score(self) -> float:
        """The mean of `validation`; the best epoch is the first with the highest score."""
        return sum(self.validation.values()) / len(self.validation)


OnEpoch = Callable[[Epoch, State], None]


def fit(
    method: Method,
    train: Items,
    validation: Items,
    config: Config,
    *,
    state: State | None = None,
    on_epoch: OnEpoch | None = None,
    trained: bool = False,
) -> list[Epoch]:
    """Train a method in place, on its own device, and leave it with the weights of its best epoch.

    Args:
        method: a method with phases.
        train: the training items, also the database of validation.
        validation: the queries of validation, by which the best epoch is chosen.
        config: the settings of training.
        state: a state that `on_epoch` received, to resume after its epoch; None starts a new run.
        on_epoch: called on every worker after each epoch, with the epoch and the state.  The state holds the
            tensors that training goes on to change: save or copy them before returning.
        trained: whether the weights are those of a trained model, from which this run starts.  They are
            validated as epoch 0, and kept if no epoch is better.

    Returns:
        All epochs of the run, including those before `state`.

    Raises:
        ValueError: sizes that cannot work, or a state of other settings; before any training.
        NonFiniteLoss: a loss term or a code is NaN or infinite; the states of earlier epochs are good.
        CollapsedCodes: all validation items have the same code; the states of earlier epochs are good.
    """
    if not method.phases:
        raise ValueError(f"{type(method).__name__} has no phases to train in; use cmh.training.solver.fit")
    check_prefixes(type(method), method.bits, config.prefixes)
    config.check(distributed.world_size(), gpu=device_of(method).type == "cuda")
    schedule.check(method, len(train), len(validation), config.batch_size)
    method.prefixes = config.prefixes
    run = _Run(method, train, validation, config)
    if state is not None:
        run.restore(state)
    elif trained:
        run.measure_start()
    try:
        while not run.finished():
            epoch = run.epoch()
            if on_epoch is not None:
                on_epoch(epoch, run.state())
    finally:
        method.requires_grad_(False)
        for parameter in run.trainable:
            parameter.requires_grad_(True)
    method.load_state_dict(run.best)
    return run.history


class _Run:
    """A training run in progress."""

    def __init__(self, method: Method, train: Items, validation: Items, config: Config) -> None:
        if distributed.world_size() > 1:
            batchnorm.sync_batchnorm(method)
            distributed.broadcast(method.state_dict().values())
        self.method, self.train, self.validation, self.config = method, train, validation, config
        self.device = device_of(method)
        labels_nL = torch.from_numpy(train.label).float().to(self.device)
        group_n = torch.from_numpy(train.groups).to(self.device)
        self.memory = CodeMemory(labels_nL, method.bits, config.seed, group_n)
        self.trainable = [p for p in method.parameters() if p.requires_grad]
        self.optimizers = {phase.name: _optimizer(phase, self.parameters(phase)) for phase in method.phases}
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}

    def parameters(self, phase: Phase) -> list[nn.Parameter]:
        """Return the parameters that `phase` trains, without those that the caller has frozen."""
        trainable = {id(p) for p in self.trainable}
        modules = [self.method.get_submodule(name) for name in phase.modules]
        return [p for module in modules for p in module.parameters() if id(p) in trainable]

    def measure_start(self) -> None:
        """Validate the weights that the run starts from, as epoch 0, and store them as the best so far."""
        self.history.append(Epoch(number=0, terms={}, learning_rates={}, validation=self._validate(0)))
        self.best = checkpoint.module_tensors(self.method)

    @property
    def _done(self) -> int:
        """The epochs that were trained."""
        return self.history[-1].number if self.history else 0

    def finished(self) -> bool:
        """Return whether all epochs are over, or `patience` epochs have passed since the best one."""
        done = self._done
        if self.config.patience is None or not done:
            return done >= self.config.epochs
        return done >= self.config.epochs or done - best(self.history).number >= self.config.patience

    def epoch(self) -> Epoch:
        """Train for one epoch, validate, and store the model if it is the best so far."""
        number = self._done
        rates = self._set_learning_rates(number)
        self.memory.refresh()
        self.method.train()
        self.method.begin_epoch(number, self.train, self.memory)
        terms: dict[str, float] = {}
        c = self.config
        for steps in schedule.plan(self.method.phases, len(self.train), c.batch_size, c.seed, number):
            terms |= self._pass(steps, number + 1)
        epoch = Epoch(
            number=number + 1,
            terms=terms,
            learning_rates=rates,
            validation=self._validate(number + 1),
        )
        self.history.append(epoch)
        if best(self.history) is epoch:
            self.best = checkpoint.module_tensors(self.method)
        return epoch

    def _set_learning_rates(self, epoch: int) -> dict[str, float]:
        """Set and return the learning rate of each phase for an epoch, counted from 0."""
        progress = epoch / self.config.epochs
        rates = {p.name: p.optimizer.lr * p.optimizer.decay**progress for p in self.method.phases}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rates[name]
        return rates

    def _pass(self, steps: list[Step], epoch: int) -> dict[str, float]:
        """Train for one pass over the training set, and return the mean of each loss term."""
        terms = LossTerms(epoch)
        parts = (Slice(step.rows_B, step.phase.reads) for step in steps)
        current = None
        for step, batch in zip(steps, batches(self.train, parts, self.device), strict=True):
            if step.phase is not current:
                self.method.requires_grad_(False)
                for parameter in self.parameters(step.phase):
                    parameter.requires_grad_(True)
                current = step.phase
            terms.add(step, self._step(step, batch))
        return terms.means()

    def _step(self, step: Step, batch: Batch) -> dict[str, Tensor]:
        """Take one optimiser step, and return the loss terms."""
        optimizer = self.optimizers[step.phase.name]
        torch.manual_seed(step.seed)
        with self._precision():
            terms: dict[str, Tensor] = self.method(step.phase.name, batch, self.memory)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        distributed.mean_gradients(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()
        return terms

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _validate(self, epoch: int) -> dict[str, float]:
        """Return what tells good epochs from bad ones."""
        return validation.measure(self.method, self.train, self.validation, self._codes, epoch)

    def _codes(self, items: Items, side: Side) -> NDArray[np.float32]:
        """Return relaxed codes (n, K) of all items, on every worker; each worker encodes its share."""
        workers = distributed.world_size()
        share = items.every(workers, distributed.rank())
        mine = relaxed_codes(self.method, share, side, self.config.batch_size)
        padded = np.zeros((math.ceil(len(items) / workers), self.method.bits), np.float32)
        padded[: len(mine)] = mine
        return distributed.gather(torch.from_numpy(padded).to(self.device)).cpu().numpy()[: len(items)]

    def state(self) -> State:
        """Return the state after the last epoch; its tensors are not copied."""
        optimizers = {name: checkpoint.optimizer_tensors(o) for name, o in self.optimizers.items()}
        tensors = checkpoint.prefixed("model", self.method.state_dict())
        tensors |= checkpoint.prefixed("best", self.best)
        tensors |= checkpoint.prefixed("memory", self.memory.state_dict())
        for name, moments in optimizers.items():
            tensors |= checkpoint.prefixed(f"optimizer/{name}", moments)
        facts = {"config": asdict(self.config), "history": [asdict(epoch) for epoch in self.history]}
        return State(tensors, facts)

    def restore(self, state: State) -> None:
        """Continue from a state; ValueError where it belongs to other settings."""
        config = asdict(self.config)
        # A state read from disk has passed through JSON, which turns keys into text: compare both as JSON.
        before, now = (json.loads(json.dumps(settings)) for settings in (state.facts["config"], config))
        if before != now:
            raise ValueError(
                f"the state was trained with {state.facts['config']}, this run asks for {config}; "
                "resume with the same settings, or start afresh"
            )
        self.method.load_state_dict(state.part("model"))
        self.memory.load_state_dict(state.part("memory"))
        self.best = state.part("best")
        for name, optimizer in self.optimizers.items():
            checkpoint.load_optimizer(optimizer, state.part(f"optimizer/{name}"))
        self.history = [Epoch(**epoch) for epoch in state.facts["history"]]


def best(history: list[Epoch]) -> Epoch:
    """Return the epoch with the highest score, the first of equals; `history` must not be empty."""
    return max(history, key=lambda epoch: epoch.score)


def _optimizer(phase: Phase, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of a phase for its parameters."""
    o = phase.optimizer
    if o.kind == "adam":
        # fused: one pass over each parameter, its gradient and its moments, not a dozen
        return torch.optim.Adam(parameters, o.lr, betas=o.betas, weight_decay=o.weight_decay, fused=True)
    return torch.optim.SGD(parameters, o.lr, o.momentum, weight_decay=o.weight_decay, fused=True)
