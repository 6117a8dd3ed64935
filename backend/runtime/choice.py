"""How a model is computed: runtime, precision, device, batch; which variants a request leaves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend.manifest.onnx_graph import read_graph
from backend.manifest.package import Package, Variant
from backend.protocol.errors import DeviceError, ParameterError, ResumeError
from backend.protocol.jobs import ComputeSpec
from backend.runtime.assembly import Assembly
from backend.runtime.devices import FULL_INSTALL, best_device, cpu_has_bf16, installed, require_device
from backend.runtime.onnx_session import OnnxSession
from backend.runtime.session import Session
from backend.runtime.staged_session import JOIN, StagedSession
from backend.runtime.torch_session import TorchSession, load_network

# Pixels per call. On the CPU a larger batch is no faster (baseline network, 512 px, two cores: 34, 31, 31, 31 ms per
# window for 1, 2, 4, 8) but each window of a call costs its activations (170 MB); graphics processors need the work.
CPU_PIXELS, CPU_BATCH = 512 * 512, 8
GRAPHICS_PIXELS, GRAPHICS_BATCH = 16 * 512 * 512, 64


@dataclass(frozen=True)
class Choice:
    """How a model is computed; stored with a run so that it resumes the same way.

    Attributes:
        runtime: "onnxruntime" or "torch".
        precision: "fp32", "bf16" or "int8".
        device: "cpu", "cuda:N" or "mps".
        batch: windows per call.
    """

    runtime: str
    precision: str
    device: str
    batch: int

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """The choice that `to_dict` gave.

        Raises:
            ResumeError: the values are not a choice.
        """
        kinds = {"runtime": str, "precision": str, "device": str, "batch": int}
        if set(values) != set(kinds) or not all(isinstance(values[name], kind) for name, kind in kinds.items()):
            raise ResumeError(
                "the stored choice of runtime and precision cannot be read", "", "start again with --overwrite"
            )
        return cls(**values)


def default_batch(base: Package, device: str, precision: str, runtime: str) -> int:
    """Windows per call: as many as pay off on the device."""
    if runtime == "onnxruntime" and precision == "int8":
        return 1
    # A staged encoder takes one date after the other.
    pixels = max((slot.size**2 * (1 if base.staged else slot.dates[1]) for slot in base.inputs), default=1)
    budget, most = (CPU_PIXELS, CPU_BATCH) if device == "cpu" else (GRAPHICS_PIXELS, GRAPHICS_BATCH)
    return max(1, min(most, budget // pixels))


def _variants_text(package: Package) -> str:
    return ", ".join(f"{variant.precision} ({variant.runtime})" for variant in package.variants)


def variant_for(package: Package, runtime: str, precision: str) -> Variant | None:
    """The package's variant; for a head also the fp32 one of the same runtime."""
    wanted = [precision] if package.kind != "head" else [precision, "fp32"]
    for name in wanted:
        for variant in package.variants:
            if variant.runtime == runtime and variant.precision == name:
                return variant
    return None


def usable_variants(package: Package, compute: ComputeSpec) -> list[tuple[Variant, Choice | None, str]]:
    """The variants that the request names, each with how it would be computed, or None and the reason.

    Raises:
        DeviceError: the device that was asked for is not there.
    """
    wanted = compute.device if compute.device == "auto" else require_device(compute.device)
    asked = [
        variant
        for variant in package.variants
        if compute.precision in ("auto", variant.precision) and compute.runtime in ("auto", variant.runtime)
    ]
    found: list[tuple[Variant, Choice | None, str]] = []
    for variant in asked:
        reason = _obstacle(variant, wanted)
        device = _device(variant, wanted)
        batch = compute.batch or default_batch(package, device, variant.precision, variant.runtime)
        choice = None if reason else Choice(variant.runtime, variant.precision, device, batch)
        found.append((variant, choice, reason))
    return found


def candidates(assembly: Assembly, compute: ComputeSpec) -> list[Choice]:
    """Every way to compute that the request, the packages and this machine allow; graphics processors before the CPU.

    Raises:
        DeviceError: the device or the runtime is not there.
        ParameterError: no variant of the package is as asked for.
    """
    asked = [
        item
        for item in usable_variants(assembly.base, compute)
        if all(variant_for(head, item[0].runtime, item[0].precision) for head in assembly.heads)
    ]
    if not asked:
        raise ParameterError(
            f"{assembly.base.reference} has no variant for runtime {compute.runtime} and precision {compute.precision}",
            f"it offers {_variants_text(assembly.base)}",
            "use auto for both",
        )
    found = [choice for _, choice, _ in asked if choice is not None]
    if not found:
        reasons = "; ".join(dict.fromkeys(reason for _, _, reason in asked))
        raise DeviceError(
            f"{assembly.base.reference} cannot be computed here", reasons, f"it offers {_variants_text(assembly.base)}"
        )
    return [choice for choice in found if choice.device != "cpu"] or found


def _device(variant: Variant, wanted: str) -> str:
    if variant.runtime == "onnxruntime" or not installed("torch"):
        return "cpu"
    return best_device() if wanted == "auto" else wanted


def _obstacle(variant: Variant, wanted: str) -> str:
    """Why this machine cannot compute the variant as wanted; "" where it can."""
    if not installed(variant.runtime):
        advice = FULL_INSTALL if variant.runtime == "torch" else "set up the backend environment again"
        return f"{variant.precision} needs {variant.runtime}, which is not installed: {advice}"
    if variant.runtime == "onnxruntime" and wanted not in ("auto", "cpu"):
        return f"{variant.precision} in onnxruntime runs on the CPU, not on {wanted}: choose the device cpu"
    if variant.precision == "bf16" and _device(variant, wanted) == "cpu" and not cpu_has_bf16():
        return "this processor does not compute in bf16 itself, it would be slower than fp32: choose the precision auto"
    return ""


def stored_bytes(package: Package, choice: Choice, slots: Collection[str] | None = None) -> int:
    """Bytes on disk of what `open_session` and a run read of a package, other variants left out.

    Args:
        slots: the inputs that are given, for a staged encoder in onnxruntime; None for all.
    """
    variant = variant_for(package, choice.runtime, choice.precision)
    if variant is None:
        return 0
    stages = {file for slot, file in variant.stages.items() if slots is None or slot in slots}
    paths = [package.path(name) for name in {variant.file, *stages}]
    if variant.runtime != "onnxruntime":
        return sum(path.stat().st_size for path in paths)
    # Graphs share weights that lie beside them: each piece counts once.
    outside = {piece for path in paths for piece in read_graph(path).external}
    return sum(path.stat().st_size for path in paths) + sum(piece.length for piece in outside)


def open_session(package: Package, choice: Choice) -> Session:
    """The package's graph, ready to run as chosen.

    Raises:
        DeviceError: the runtime is not installed.
        ParameterError: the package has no such variant.
        PackageError: the graph or the weights cannot be loaded.
    """
    variant = variant_for(package, choice.runtime, choice.precision)
    if variant is None:
        raise ParameterError(
            f"{package.reference} has no variant {choice.precision} for {choice.runtime}",
            f"it offers {_variants_text(package)}",
        )
    if package.staged:
        how = (choice.runtime, variant.precision, choice.device)
        return StagedSession(package, _stage_opener(package, variant, choice), how, choice.batch)
    path = package.path(variant.file)
    if variant.runtime == "onnxruntime":
        return OnnxSession(path, variant.precision)
    return TorchSession(
        load_network(variant.architecture or "", variant.parameters, path), variant.precision, choice.device
    )


def _stage_opener(package: Package, variant: Variant, choice: Choice) -> Callable[[str], Session]:
    """Opens the stages of a package; those of torch share one network."""
    if variant.runtime == "onnxruntime":
        graphs = {**variant.stages, JOIN: variant.file}
        return lambda stage: OnnxSession(package.path(graphs[stage]), variant.precision)
    network = load_network(variant.architecture or "", variant.parameters, package.path(variant.file))

    def open_stage(stage: str) -> Session:
        from backend.models.stages import Stage

        return TorchSession(Stage(network, stage), variant.precision, choice.device)

    return open_stage
