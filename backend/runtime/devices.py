"""What this machine offers: cores, memory, graphics processors, runtimes.

torch is imported only where it is installed and only when its devices are asked for.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backend.protocol.errors import DeviceError

FULL_INSTALL = "install the full backend environment, which brings torch, or choose the device cpu"


@dataclass(frozen=True)
class DeviceInfo:
    """A device that can compute.

    Attributes:
        name: "cpu", "cuda:N" or "mps".
        title: the maker's name of it.
        memory: bytes it has; for the CPU what this process may use at most.
        threads: cores available to this process; 0 for graphics processors.
        runtimes: runtimes that can use it.
        precisions: precisions it computes natively.
    """

    name: str
    title: str
    memory: int
    threads: int
    runtimes: tuple[str, ...]
    precisions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The device as it crosses the protocol."""
        return asdict(self)


@cache
def installed(module: str) -> bool:
    """Whether a module can be imported; it is not imported."""
    return find_spec(module) is not None


def runtime_version(runtime: str) -> str:
    """The installed version; "" where it is absent or distributed under another name, such as onnxruntime-gpu."""
    try:
        return version(runtime)
    except PackageNotFoundError:
        return ""


def cpu_threads() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cpu_title() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    table = Path("/proc/cpuinfo")
    for line in table.read_text(encoding="utf-8").splitlines() if table.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows interface."""

    _fields_ = (
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        *((f"bytes_{index}", ctypes.c_ulonglong) for index in range(7)),  # the first one is the machine's memory
    )


def cpu_memory() -> int:
    """Bytes of memory this process may use: the machine's, or its control group's limit where that is lower."""
    if sys.platform == "win32":
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.bytes_0)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.is_file():
            text = limit.read_text().strip()
            if text.isdigit():
                total = min(total, int(text))
    return total


@cache
def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself; needs torch. Elsewhere bfloat16 is emulated and slow."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))


def _cpu() -> DeviceInfo:
    runtimes = tuple(name for name in ("onnxruntime", "torch") if installed(name))
    precisions = ["fp32", "int8"] if "onnxruntime" in runtimes else ["fp32"]
    if "torch" in runtimes and cpu_has_bf16():
        precisions.append("bf16")
    return DeviceInfo("cpu", cpu_title(), cpu_memory(), cpu_threads(), runtimes, tuple(precisions))


def _graphics() -> list[DeviceInfo]:
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        precisions = ("fp32", "bf16") if properties.major >= 8 else ("fp32",)
        found.append(DeviceInfo(f"cuda:{index}", properties.name, properties.total_memory, 0, ("torch",), precisions))
    if torch.backends.mps.is_available():
        memory = int(torch.mps.recommended_max_memory())
        found.append(DeviceInfo("mps", "Apple graphics processor", memory, 0, ("torch",), ("fp32", "bf16")))
    return found


def devices() -> list[DeviceInfo]:
    """Every device of this machine, the CPU first."""
    return [_cpu(), *(_graphics() if installed("torch") else ())]


def require_device(name: str) -> str:
    """The device's full name ("cuda" is "cuda:0").

    Raises:
        DeviceError: this machine or this environment does not have it; the message lists what is there.
    """
    name = "cuda:0" if name == "cuda" else name
    if name == "cpu":
        return name
    if not (name == "mps" or (name.startswith("cuda:") and name[5:].isdigit())):
        raise DeviceError(f"the device {name!r} is unknown", "", "use auto, cpu, cuda:N or mps")
    if not installed("torch"):
        raise DeviceError(f"the device {name} cannot be used", "graphics processors need torch", FULL_INSTALL)
    known = [device.name for device in devices()]
    if name not in known:
        offered = f"this machine offers {', '.join(known)}"
        raise DeviceError(f"the device {name} is not there", offered, "choose one of these")
    return name


def best_device() -> str:
    """The first graphics processor where torch finds one, else the CPU."""
    graphics = _graphics() if installed("torch") else []
    return graphics[0].name if graphics else "cpu"
