"""Speed and memory of the encoders, in images and pixels per second, against a plain ViT-B in float32 torch.

Each measurement is a process of its own, so that its peak memory is its own; the processes of a round run one after the
other, and a case's speed is the best of all rounds. Weights are random, which no speed depends on. The difference of a
way of computing is that to torch in float32 on the same input: root mean square over that of the output.

    scripts/bench encoders [--cases smarties-vit-b,…] [--ways torch-fp32,…] [--rounds 2] [--seconds 2] [--batch 1]
        [--graphs FOLDER] [--auto]

Cases beside the encoders: "vit-b", the unit; "…-dense", without experts but with the same computation per token. Ways:
torch-fp32, torch-bf16, torch-compiled, onnxruntime-fp32, onnxruntime-int8; on a graphics processor torch-bf16 and
torch-compiled-bf16 alone, with the share of the chip's matrix peak. "auto" at the end: what the engine chooses for
SMARTIES ViT-B and how much faster that is (--auto, takes some minutes).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
UNIT = "vit-b"
# case -> member of the encoders, input, channels, pixels per side of the image that is computed
CASES: dict[str, tuple[str, str, int, int]] = {
    UNIT: ("", "", 3, 224),
    "smarties-vit-b": ("smarties-vit-b", "s2", 12, 224),
    **{
        f"skysense-v2-{member}-{slot}-{size}": (f"skysense-v2-{member}", slot, channels, size)
        for member in ("tiny", "small", "base")
        for slot, channels, size in (("hr", 3, 512), ("ms", 10, 64), ("ms", 10, 128))
    },
    "skysense-v2-small-ms-128-dense": ("skysense-v2-small", "ms", 10, 128),
    "skysense-v2-base-ms-128-dense": ("skysense-v2-base", "ms", 10, 128),
}
CPU_WAYS = ("torch-fp32", "torch-bf16", "torch-compiled", "onnxruntime-fp32", "onnxruntime-int8")
CUDA_WAYS = ("torch-bf16", "torch-compiled-bf16")
# Dense bfloat16 matrix peak in FLOP/s (the makers' data sheets).
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}


def network(case: str) -> Any:
    """The case's network, B x C x H x W -> its last map or tokens."""
    import torch
    from torch import nn

    from backend.models import encoders
    from backend.models.layers.transformer import TransformerBlock

    torch.manual_seed(0)
    member, slot, _, size = CASES[case]

    class Plain(nn.Module):
        """ViT-B/16 (Dosovitskiy et al. 2021) without class token and head."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 768, 16, 16)
            self.table = nn.Parameter(torch.randn(1, (size // 16) ** 2, 768) * 0.02)
            self.blocks = nn.Sequential(*(TransformerBlock(768, 12) for _ in range(12)))
            self.norm = nn.LayerNorm(768)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(image).flatten(2).transpose(1, 2) + self.table
            return self.norm(self.blocks(tokens))

    class Last(nn.Module):
        """An encoder's last map of one input."""

        def __init__(self) -> None:
            super().__init__()
            changes = {"experts": 0} if case.endswith("-dense") else {}
            self.encoder: Any = encoders.build(member, seed=0, **changes)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if slot in ("hr", "ms", "sar"):
                return self.encoder.features(image, slot)[-1]
            return self.encoder(image, self.encoder.bands(_keys())).dense

    return (Last() if member else Plain()).eval()


def _keys() -> tuple[str, ...]:
    from backend.models.encoders.smarties_spectrum import band_sets

    return band_sets()["S2"]


def image(case: str, batch: int) -> np.ndarray:
    """Repeatable noise, B x C x H x W float32."""
    _, _, channels, size = CASES[case]
    return np.random.default_rng(0).normal(0, 1, (batch, channels, size, size)).astype(np.float32)


def export(case: str, folder: Path) -> None:
    """The case's graphs for onnxruntime, in a process of its own."""
    import torch

    from backend.train.export_stages import quantised

    plain = folder / f"{case}-fp32.onnx"
    torch.onnx.export(
        network(case), (torch.from_numpy(image(case, 2)),), str(plain), dynamo=True, input_names=["image"],
        output_names=["result"], dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False,
    )  # fmt: skip
    import onnx

    onnx.save(quantised(plain), folder / f"{case}-int8.onnx")


def computing(case: str, way: str, folder: Path, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function of one way, from an image to the result."""
    if way.startswith("onnxruntime"):
        from backend.runtime.onnx_session import OnnxSession

        session = OnnxSession(folder / f"{case}-{way.partition('-')[2]}.onnx", way.partition("-")[2])
        return lambda values: session.run({"image": values})["result"]
    import torch

    from backend.runtime.devices import cpu_threads

    torch.set_num_threads(cpu_threads())
    module = network(case).to(device)
    module = torch.compile(module) if "compiled" in way else module
    low = torch.autocast(device.partition(":")[0], torch.bfloat16, enabled="bf16" in way)

    def run(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), low:
            return module(torch.from_numpy(values).to(device)).float().cpu().numpy()

    return run


def measure(case: str, way: str, folder: Path, device: str, batch: int, seconds: float) -> dict[str, Any]:
    """One measurement, in the present process."""
    run, values = computing(case, way, folder, device), image(case, batch)
    result = run(values)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < seconds:
        begun = time.perf_counter()
        run(values)
        taken.append(time.perf_counter() - begun)
    if way == "torch-fp32" or (device != "cpu" and way == "torch-bf16"):
        np.save(folder / f"{case}.npy", result)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"seconds": min(taken) / batch, "peak_bytes": peak}
    reference = folder / f"{case}.npy"
    if reference.exists():
        exact = np.load(reference)
        found["relative_difference"] = float(np.sqrt(((result - exact) ** 2).mean() / (exact**2).mean()))
    if device != "cpu":
        found |= _on_graphics_processor(case, device, min(taken) / batch)
    return found


def _on_graphics_processor(case: str, device: str, seconds: float) -> dict[str, Any]:
    """Memory, and the share of the chip's matrix peak."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(case)(torch.from_numpy(image(case, 1)))
    name = torch.cuda.get_device_name(device)
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    share = counter.get_total_flops() / seconds / peak if peak else None
    return {"peak_bytes": torch.cuda.max_memory_allocated(device), "chip": name, "share_of_peak": share}


def in_process(arguments: Sequence[str]) -> dict[str, Any]:
    """What a child of this program prints; its error in words where it fails."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, cwd=ROOT, env=_environment()
    )
    with contextlib.suppress(ValueError, IndexError):
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    return {"problem": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def auto(folder: Path) -> dict[str, Any]:
    """What the engine chooses for SMARTIES ViT-B, against torch in float32: the whole stage, enlargement included."""
    from backend.protocol.jobs import ComputeSpec
    from backend.runtime.model import Wish, measure, open_model
    from backend.train.recipes.encoder_package import EncoderPackage, run

    told = run(EncoderPackage("smarties-vit-b", str(folder)))
    from backend.manifest.load import load

    package, wish = load(told["package"]), Wish(frozenset({"s2"}), ("s2_4",))
    seconds = {}
    for _ in range(2):
        for name, compute in (("torch-fp32", ComputeSpec(runtime="torch", precision="fp32")), ("auto", ComputeSpec())):
            with open_model([package], compute, wish=wish) as model:
                seconds[name] = min(seconds.get(name, float("inf")), measure(model, 3.0))
                choice = model.choice.to_dict()
    return {
        "chosen": choice,
        "seconds_per_window": seconds,
        "times_torch_fp32": seconds["torch-fp32"] / seconds["auto"],
        "difference": told["difference to torch"],
    }


def main() -> None:
    options = _options()
    if options.child:
        case, way, folder, device = options.child
        with contextlib.redirect_stdout(sys.stderr):
            if way == "export":
                export(case, Path(folder))
            found = {} if way == "export" else measure(case, way, Path(folder), device, options.batch, options.seconds)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    import torch

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    ways = options.ways.split(",") if options.ways else list(CPU_WAYS if device == "cpu" else CUDA_WAYS)
    cases = options.cases.split(",") if options.cases else list(CASES)
    from backend.runtime.devices import cpu_has_bf16, cpu_threads, cpu_title

    report: dict[str, Any] = {
        "benchmark": "encoders", "device": device, "processor": cpu_title(), "threads": cpu_threads(),
        "bf16_in_the_processor": cpu_has_bf16(), "batch": options.batch, "cases": {},
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        scratch = options.graphs or stack.enter_context(tempfile.TemporaryDirectory())
        Path(scratch).mkdir(parents=True, exist_ok=True)
        child = partial(_child, scratch=scratch, device=device, options=options)
        if any(way.startswith("onnxruntime") for way in ways):
            for case in cases:
                there = (Path(scratch) / f"{case}-int8.onnx").exists()
                report["cases"].setdefault(case, {})["export"] = (not there and child(case, "export")) or "done"
        for _ in range(options.rounds):
            for case in cases:
                for way in ways:
                    _keep_best(report["cases"].setdefault(case, {}), way, child(case, way))
        _finish(report, cases)
        if options.auto:
            report["auto"] = auto(Path(scratch))
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def _child(case: str, way: str, scratch: str, device: str, options: argparse.Namespace) -> dict[str, Any]:
    numbers = ["--batch", str(options.batch), "--seconds", str(options.seconds)]
    found = in_process(["--child", case, way, scratch, device, *numbers])
    sys.stderr.write(f"{case} {way}: {found}\n")
    return found


def _keep_best(found: dict[str, Any], way: str, new: dict[str, Any]) -> None:
    if way not in found or new.get("seconds", float("inf")) < found[way].get("seconds", float("inf")):
        found[way] = new


def _finish(report: dict[str, Any], cases: Sequence[str]) -> None:
    """Rates, ratios to the unit, and what experts cost."""
    unit = report["cases"].get(UNIT, {}).get("torch-fp32", {}).get("seconds")
    for case in cases:
        size = CASES[case][3]
        for result in report["cases"][case].values():
            if isinstance(result, dict) and "seconds" in result:
                result["images_per_s"] = 1 / result["seconds"]
                result["pixels_per_s"] = size * size / result["seconds"]
                if unit:
                    result["times_vit_b_torch_fp32"] = unit / result["seconds"]
    report["experts_cost"] = {
        case: {
            way: report["cases"][case.removesuffix("-dense")][way]["seconds"] / result["seconds"]
            for way, result in report["cases"][case].items()
            if isinstance(result, dict) and "seconds" in result
            and "seconds" in report["cases"].get(case.removesuffix("-dense"), {}).get(way, {})
        }
        for case in cases
        if case.endswith("-dense")
    }  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help="some of the cases, joined by commas")
    parser.add_argument("--ways", default="", help="some of the ways, joined by commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="least time of a measurement")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--graphs", default="", help="folder that keeps the exported graphs, which take minutes")
    parser.add_argument("--auto", action="store_true", help="what the engine chooses for SMARTIES ViT-B")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
