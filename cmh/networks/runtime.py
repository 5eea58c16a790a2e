"""Networks on ONNX Runtime: on CPUs faster than torch, with the same numbers up to float rounding.

    session = runtime.session(network, {"image": example}, threads=2)
    (embedding_BF,) = session(image=image_BHWC)

torch exports a network into memory, in a fraction of a second; nothing is read from a file that somebody else
could have written.  The exporter is the one that traces: the newer one takes 10 times as long, needs two
more packages and cannot export half of the text towers (torch 2.14: `searchsorted`).

Importing this module, and running a graph that exists, takes no torch.

Shape suffixes: B = batch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

import onnxruntime
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 20  # of ONNX; the exporter's newest
_ERRORS_ONLY = 3  # of the runtime's levels of logging


class Session:
    """A network on ONNX Runtime, on the CPU.

    Attributes:
        threads: number of CPU threads that it computes on.
        outputs: names of the outputs.
        width: the last axis of the first output.
    """

    def __init__(self, graph: bytes, threads: int) -> None:
        """Prepare a network.

        Args:
            graph: an ONNX file's contents, as `export` returns them.
            threads: number of CPU threads; they sleep between batches instead of spinning.

        Raises:
            ValueError: it is no network that the runtime can run.
        """
        self.threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has a class of its own for each of its states
            raise ValueError(f"ONNX Runtime cannot load the network: {str(error)[:300]}") from error
        self._reads = {node.name for node in self._session.get_inputs()}
        outputs = self._session.get_outputs()
        self.outputs = [node.name for node in outputs]
        self.width: int = outputs[0].shape[-1]

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the network's outputs for a batch; inputs that it does not depend on are left out."""
        outputs: list[NDArray[Any]] = self._session.run(
            None, {name: array for name, array in inputs.items() if name in self._reads}
        )
        return outputs


def export(
    network: nn.Module,
    example: Mapping[str, Tensor],
    *,
    outputs: Sequence[str] = (),
    dynamic: Mapping[str, int] | None = None,
) -> bytes:
    """Return a network in evaluation mode as the contents of an ONNX file.

    Args:
        network: a module on the CPU whose forward takes the tensors of `example` in their order.
        example: input name → a tensor of the right dtype and shape, with two items at least.
        outputs: names of the outputs; those left out get names of the exporter's.
        dynamic: input name → number of its leading axes that may have another length at each call; 1, the
            batch, where it is not named.

    Raises:
        ValueError: the network has an operation that ONNX has not.
    """
    import torch

    axes = {
        name: {axis: f"{name}_{axis}" if axis else "batch" for axis in range((dynamic or {}).get(name, 1))}
        for name in example
    }
    modes = [(module, module.training) for module in network.modules()]
    fast, file = torch.backends.mha.get_fastpath_enabled(), io.BytesIO()
    torch.backends.mha.set_fastpath_enabled(False)  # an operation of torch's own
    with warnings.catch_warnings(), torch.no_grad():
        # That this exporter is the older one, and that sizes are traced as constants: only the axes named
        # above may change, and tests compare every network and method with torch at another batch size.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(), tuple(example.values()), cast(Any, file),  # its types know paths only
                input_names=list(example), output_names=list(outputs),
                dynamic_axes=axes,
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(f"{type(network).__name__} cannot be exported: {str(error)[:300]}") from error
        finally:
            for module, training in modes:
                module.training = training
            torch.backends.mha.set_fastpath_enabled(fast)
    return file.getvalue()


def session(
    network: nn.Module,
    example: Mapping[str, Tensor],
    *,
    threads: int,
    dynamic: Mapping[str, int] | None = None,
) -> Session:
    """Return a torch network on ONNX Runtime; the arguments are those of `export` and `Session`."""
    return Session(export(network, example, dynamic=dynamic), threads)


def versions() -> dict[str, str]:
    """Return the versions of what writes and runs graphs, on which their last bits may depend."""
    return {name: metadata.version(name) for name in ("onnxruntime", "torch")}
