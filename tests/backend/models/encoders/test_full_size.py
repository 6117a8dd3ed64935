"""The published sizes compute, forwards and backwards, in the memory of one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.models import encoders
from backend.models.load import save_weights

ROOT = Path(__file__).resolve().parents[4]
LIMIT_BYTES = 16 * 10**9
# A process of its own: its peak memory is the measure. Inputs are small, since it is the weights that weigh.
PROGRAM = """
import json, resource, sys
import torch
from backend.models import encoders
name, slot, channels, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.manual_seed(0)
encoder = encoders.build(name, seed=0).train()
image = torch.randn(1, channels, size, size)
if name.startswith("smarties"):
    from backend.models.encoders.smarties_spectrum import band_sets
    result = encoder(image, encoder.bands(band_sets()[slot])).dense
else:
    result = encoder.fuse([encoder.series(image[None], slot)], [torch.tensor([[100]])])
loss = result.square().mean()
loss.backward()
used = [p for p in encoder.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
print(json.dumps({
    "parameters": sum(p.numel() for p in encoder.parameters()),
    "with_gradient": sum(p.numel() for p in used),
    "loss": loss.item(),
    "finite": all(bool(torch.isfinite(p.grad).all()) for p in used),
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "slot", "channels", "size", "least_trained"),
    [
        # windowed blocks start as the identity and pass no gradient to their branches, so not every weight has one
        ("skysense-v2-full-dense", "ms", 10, 32, 900_000_000),
        ("smarties-vit-b", "S2", 12, 224, 85_000_000),
        ("smarties-vit-l", "S1", 2, 224, 302_000_000),
    ],
)
def test_published_sizes_train_below_16_gb(
    name: str, slot: str, channels: int, size: int, least_trained: int, record_property: Callable[[str, object], None]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, slot, str(channels), str(size)],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    record_property(name, found)
    assert found["finite"] and found["loss"] > 0
    assert found["with_gradient"] >= least_trained, found
    assert found["peak_bytes"] < LIMIT_BYTES, found


# Peak memory of loading, beside that of the libraries.
LOADING = """
import json, resource, sys
from pathlib import Path
import torch
from backend.models import encoders
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
encoders.build("smarties-tiny", device="meta")
before = peak()
encoder = encoders.load("smarties-vit-b", sys.argv[1])
assert not any(p.is_meta for p in encoder.parameters())
print(json.dumps({"more": peak() - before, "file": Path(sys.argv[1]).stat().st_size}))
"""


@pytest.mark.slow
def test_weights_are_in_memory_once_while_they_load(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    weights = tmp_path / "weights.safetensors"
    save_weights(encoders.build("smarties-vit-b", seed=0), weights)
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(weights)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    record_property("loading", found)
    assert found["more"] < 1.3 * found["file"], found
