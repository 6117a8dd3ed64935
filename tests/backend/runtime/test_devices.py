"""What the machine offers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.protocol.errors import DeviceError
from backend.runtime.devices import cpu_memory, cpu_threads, devices, require_device


def test_the_cpu_comes_first() -> None:
    first = devices()[0]
    assert (first.name, first.threads, first.memory) == ("cpu", cpu_threads(), cpu_memory())
    assert first.threads >= 1
    assert first.memory > 100_000_000
    assert "fp32" in first.precisions
    json.dumps(first.to_dict())


def test_names_of_devices() -> None:
    assert require_device("cpu") == "cpu"
    for name in ("", "gpu", "cuda:x", "cuda:-1"):
        with pytest.raises(DeviceError, match="unknown"):
            require_device(name)


def test_nothing_heavy_is_imported_with_the_module(root: Path) -> None:
    code = "import sys, backend.runtime.model; sys.exit(bool({'torch', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=60).returncode == 0
