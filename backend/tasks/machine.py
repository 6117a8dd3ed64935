"""What there is to compute with, and holding it while a job runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from backend.protocol.jobs import Job
from backend.protocol.messages import Device, Runtime
from backend.runtime import devices as hardware
from backend.runtime.lock import device_lock
from backend.tasks.context import Context

RUNTIMES = ("onnxruntime", "torch")


def processor() -> Device:
    """The CPU, without asking torch for anything."""
    return Device("cpu", hardware.cpu_title(), hardware.cpu_memory())


def devices() -> tuple[Device, ...]:
    """Every device; imports torch where it is installed, which takes a second or two."""
    return tuple(Device(device.name, device.title, device.memory) for device in hardware.devices())


def runtimes() -> tuple[Runtime, ...]:
    """The installed runtimes; none is imported."""
    return tuple(Runtime(name, _version(name)) for name in RUNTIMES if hardware.installed(name))


def device_of(job: Job) -> str:
    """The device that a job computes on; "" for jobs that need none.

    Raises:
        DeviceError: the device that was asked for is not there.
    """
    compute = getattr(job, "compute", None)
    if compute is None:
        return ""
    return hardware.best_device() if compute.device == "auto" else hardware.require_device(compute.device)


@contextmanager
def reserved(device: str, context: Context) -> Iterator[None]:
    """Hold a device, or nothing when it is ""; see `backend.runtime.lock.device_lock`."""
    if not device:
        yield
        return
    with device_lock(device, context):
        yield


def _version(package: str) -> str:
    """The installed version; "" for builds that are distributed under another name."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
