"""Save and load the state of a training run, in two files that cannot hold code.

Writes and reads: `state.safetensors` and `state.json` in one folder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class State:
    """The state of a training run, from which it continues with the same results as without a break.

    It holds no random state: the trainer seeds every random number by its position in the run.

    Attributes:
        tensors: `model/…`, `best/…` (the best model so far), `memory/…`, `optimizer/<phase>/<number>/…`.
        facts: values for JSON: the settings, and the results of every epoch.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with `name/`, without that prefix."""
        return {k.removeprefix(f"{name}/"): v for k, v in self.tensors.items() if k.startswith(f"{name}/")}


def save(state: State, folder: Path) -> None:
    """Write `state` into `folder`, which must exist."""
    # Clones, because safetensors rejects tensors that share memory, as tied weights do.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.tensors.items()}
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(state.facts))


def load(folder: Path) -> State:
    """Read the state that `save` wrote into `folder`; its tensors are on the CPU."""
    with safe_open(folder / "state.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return State(tensors, json.loads((folder / "state.json").read_text()))


def prefixed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors with `name/` before their names."""
    return {f"{name}/{key}": value for key, value in tensors.items()}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's moments by `<parameter number>/<name>`."""
    return {
        f"{number}/{name}": value
        for number, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the moments of `optimizer_tensors`; learning rates are not part of them."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split("/")
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the module's parameters and buffers by name."""
    return {name: t.detach().clone() for name, t in module.state_dict().items()}
