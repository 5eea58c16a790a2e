"""Read weight files and load them into networks; write them.

The files come from other publishers, so reading one never runs code from it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pth or .pt file by name, on the CPU.

    Raises:
        ValueError: the file is missing or has another ending.
    """
    if not path.is_file():
        raise ValueError(f'weights file {path} is missing; give an existing file, "default" or "none"')
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix in (".pth", ".pt"):
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    raise ValueError(f"weights file {path} has the ending {path.suffix!r}; allowed: .pth, .pt, .safetensors")


def write(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write copies of the tensors as safetensors, which rejects tensors that share memory."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)


def fill(network: nn.Module, state: dict[str, Tensor], what: str, *, beside: tuple[str, ...]) -> None:
    """Load `state` into `network`.

    Args:
        network: the network, changed in place.
        state: tensors by name, with the names of the publisher or those of `Backbone`.
        what: description of the weights for the error message.
        beside: prefixes of the names that belong to other networks, and are skipped.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    ours = {re.sub(r"(^|\.)_", r"\1", key).removeprefix("network."): v for key, v in state.items()}
    expected = network.state_dict()
    missing = sorted(k for k in expected if k not in ours and not k.endswith("num_batches_tracked"))
    unknown = sorted(k for k in ours if k not in expected and not k.startswith(beside))
    odd = sorted(k for k in expected if k in ours and ours[k].shape != expected[k].shape)
    for problem, keys in (("lack", missing), ("hold unknown", unknown), ("have another shape of", odd)):
        if keys:
            raise ValueError(
                f"the {what} {problem} {keys[0]} (and {len(keys) - 1} more); are they of another network?"
            )
    network.load_state_dict({k: v for k, v in ours.items() if k in expected}, strict=False)
