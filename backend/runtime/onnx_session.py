"""A graph in onnxruntime, on the CPU.

Settings and their reasons, measured once on two cores with the baseline network at 512 px, 2 windows per call: all
cores work inside an operator and do not spin between operators, because the threads that read and write need them (31
ms per window either way). The memory arena stays on: memory was flat from the second call on, and without it, or when
it is shrunk after each call, a window takes 51 ms and more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from backend.protocol.errors import DeviceError, PackageError
from backend.runtime.devices import cpu_threads, installed
from backend.runtime.session import activate, cancelled

OUT_OF_MEMORY = ("bad_alloc", "failed to allocate memory", "out of memory")


def _onnxruntime() -> ModuleType:
    if not installed("onnxruntime"):
        raise DeviceError(
            "onnxruntime is not installed in the backend's environment",
            "this model runs in onnxruntime",
            "set up the backend environment again, or choose the runtime torch where it is installed",
        )
    import onnxruntime

    return onnxruntime


class OnnxSession:
    """One ONNX graph on the CPU; see `Session`.

    Args:
        path: the graph; external data is found beside it.
        precision: "fp32", "bf16" or "int8", what the graph was exported as.
        threads: threads inside an operator; 0 for every core that is available.

    Raises:
        DeviceError: onnxruntime is not installed.
        PackageError: the graph cannot be loaded.
    """

    runtime = "onnxruntime"
    device = "cpu"

    def __init__(self, path: Path, precision: str, threads: int = 0) -> None:
        self._onnxruntime = _onnxruntime()
        self.precision = precision
        self._stopped = threading.Event()
        self._options = self._onnxruntime.RunOptions()
        # Dynamic quantisation takes one scale per call: a window's result must not depend on its neighbours.
        self.batch_limit = 1 if precision == "int8" else 0
        self._path, self._threads = path, threads
        self._session: Any = self._load()
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.outputs = tuple(node.name for node in self._session.get_outputs())

    def _load(self) -> Any:
        try:
            return self._onnxruntime.InferenceSession(
                str(self._path), sess_options=self._session_options(), providers=["CPUExecutionProvider"]
            )
        except self._failures() as error:
            what = f"the graph {self._path.name} cannot be loaded"
            raise PackageError(what, str(error), "install the model again") from error

    def _session_options(self) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or cpu_threads()
        options.inter_op_num_threads = 1
        options.execution_mode = self._onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        return options

    def _failures(self) -> tuple[type[Exception], ...]:
        """Every error class that onnxruntime raises, beside ValueError; they share no base class of their own."""
        state = self._onnxruntime.capi.onnxruntime_pybind11_state
        named = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented",
                 "RuntimeException", "EPFail", "NoModel", "ModelLoaded", "EngineError")  # fmt: skip
        return (ValueError, *(getattr(state, name) for name in named))

    def run(
        self, feeds: Mapping[str, Any], wanted: Mapping[str, str] | None = None, on_device: bool = False
    ) -> dict[str, Any]:
        """Computes outputs; see `Session.run`."""
        wanted = wanted if wanted is not None else dict.fromkeys(self.outputs, "identity")
        count = next(iter(feeds.values())).shape[0]
        if self.batch_limit and count > self.batch_limit:
            windows = ({name: array[i : i + 1] for name, array in feeds.items()} for i in range(count))
            parts = [self._call(window, list(wanted)) for window in windows]
            values = [np.concatenate(part) for part in zip(*parts, strict=True)]
        else:
            values = self._call(feeds, list(wanted))
        return {
            name: activate(value, activation) for (name, activation), value in zip(wanted.items(), values, strict=True)
        }

    def _call(self, feeds: Mapping[str, Any], names: list[str]) -> list[np.ndarray]:
        if self._stopped.is_set():
            raise cancelled()
        arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in feeds.items()}
        try:
            values: list[np.ndarray] = self._session.run(names, arrays, self._options)
            return values
        except self._failures() as error:
            problem = str(error)
            if self._stopped.is_set():
                raise cancelled() from error
            if not any(sign in problem.lower() for sign in OUT_OF_MEMORY):
                what = "the model's graph fails on its input"
                raise PackageError(what, problem, "report it to its author") from error
        # Out of memory. Here no traceback holds the session any more, whose arena would keep what the failed call took.
        self._session = None
        self._session = self._load()
        raise MemoryError(problem)

    def interrupt(self) -> None:
        """Makes the present and every later run raise `Cancelled`; from any thread."""
        self._stopped.set()
        self._options.terminate = True

    def close(self) -> None:
        """Releases the graph's memory."""
        self._session = None
