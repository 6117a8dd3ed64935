"""A graph in torch, on the CPU or on a graphics processor.

float32 weights always; "bf16" computes under autocast, which keeps sums, norms and softmax in float32. Outputs are
float32. The interrupt is checked before every submodule.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from backend.protocol.errors import DeviceError, PackageError
from backend.runtime.devices import FULL_INSTALL, cpu_threads, installed
from backend.runtime.session import cancelled


def _torch() -> ModuleType:
    if not installed("torch"):
        raise DeviceError(
            "torch is not installed in the backend's environment", "this model runs in torch", FULL_INSTALL
        )
    import torch

    return torch


def load_network(architecture: str, parameters: Mapping[str, Any], weights: Path) -> Any:
    """A registered network with its weights, on the CPU.

    Raises:
        DeviceError: torch is not installed.
        PackageError: unknown architecture, or weights that do not fit it.
    """
    _torch()
    from backend.models.load import load_weights
    from backend.models.registry import build

    return load_weights(build(architecture, parameters, device="meta"), weights)


class TorchSession:
    """One network; see `Session`.

    Args:
        network: a network that names its inputs and outputs, see `backend.models.registry`; moved to the device.
        precision: "fp32" or "bf16".
        device: "cpu", "cuda:N" or "mps".
        threads: threads on the CPU; 0 for every core that is available.

    Raises:
        DeviceError: torch is not installed.
    """

    runtime = "torch"

    def __init__(self, network: Any, precision: str = "fp32", device: str = "cpu", threads: int = 0) -> None:
        self._torch: Any = _torch()
        if device == "cpu":
            self._torch.set_num_threads(threads or cpu_threads())
        self.precision, self.device = precision, device
        self._stopped = threading.Event()
        self.inputs: tuple[str, ...] = tuple(network.input_names)
        self.outputs: tuple[str, ...] = tuple(network.output_names)
        # Convolutions read channels last several times faster in bfloat16 and on graphics processors.
        self._module: Any = network.eval().to(device).to(memory_format=self._torch.channels_last)
        # The network may be shared by several sessions: what is hung on it is taken off again.
        self._hooks = [part.register_forward_pre_hook(self._check) for part in self._module.modules()]

    def _check(self, module: object, arguments: object) -> None:
        if self._stopped.is_set():
            raise cancelled()

    def run(
        self, feeds: Mapping[str, Any], wanted: Mapping[str, str] | None = None, on_device: bool = False
    ) -> dict[str, Any]:
        """Computes outputs; see `Session.run`."""
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise PackageError(f"the model's input {', '.join(missing)} is not given")
        with self._computing():
            values = self._module(*(self._tensor(feeds[name]) for name in self.inputs))
            values = (values,) if isinstance(values, self._torch.Tensor) else values
            named = dict(zip(self.outputs, values, strict=True))
            wanted = wanted if wanted is not None else dict.fromkeys(self.outputs, "identity")
            results = {name: self._activate(named[name].float(), activation) for name, activation in wanted.items()}
            return results if on_device else {name: value.cpu().numpy() for name, value in results.items()}

    @contextmanager
    def _computing(self) -> Iterator[None]:
        if self._stopped.is_set():
            raise cancelled()
        kind = self.device.partition(":")[0]
        autocast = self._torch.autocast(kind, dtype=self._torch.bfloat16, enabled=self.precision == "bf16")
        try:
            with self._torch.inference_mode(), autocast:
                yield
        except self._torch.OutOfMemoryError as error:
            self._torch.cuda.empty_cache()
            raise MemoryError(str(error)) from error
        except RuntimeError as error:
            if "can't allocate memory" in str(error) or "out of memory" in str(error):
                raise MemoryError(str(error)) from error
            what = "the model's network fails on its input"
            raise PackageError(what, str(error), "report it to its author") from error

    def _tensor(self, value: Any) -> Any:
        if isinstance(value, self._torch.Tensor):
            return value
        array = np.ascontiguousarray(value, dtype=np.float32)
        if min(array.strides, default=0) < 0:  # numpy calls a turned axis of length 1 contiguous, torch refuses it
            array = array.copy()
        tensor = self._torch.from_numpy(array).to(self.device)
        return tensor.to(memory_format=self._torch.channels_last) if tensor.ndim == 4 else tensor

    def _activate(self, scores: Any, activation: str) -> Any:
        if activation == "softmax":
            return scores.softmax(dim=1)
        return scores.sigmoid() if activation == "sigmoid" else scores

    def interrupt(self) -> None:
        """Makes the present and every later run raise `Cancelled`; from any thread."""
        self._stopped.set()

    def close(self) -> None:
        """Releases the network's memory."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._module = None
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()
