"""What a SkySense V2 package says of itself: inputs, normalisation, grids (skysense-v2.md, 1, 3 and 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.manifest.package import Feature, InputSlot, Package, Step, Tiling, Variant
from backend.runtime.packing import bands
from backend.runtime.packing.tolerances import EXACT

# Width of stage 1 and of the fusion by member (skysense-v2.md, 6).
WIDTHS = {"tiny": (32, 128), "small": (64, 256), "base": (96, 512), "full": (352, 1024), "full-dense": (352, 1024)}
# 512 px of high resolution over the same ground as 64 px of Sentinel: with 8 pixels for one both last maps have the
# same 16 x 16 positions (skysense-v2.md, 7). Alone, either has its own pixel size.
SIZES = {"hr": 512, "ms": 64, "sar": 64}
POSITIONS = {"hr": (128, 64, 32, 16), "ms": (16, 16, 16, 16), "sar": (16, 16, 16, 16)}
MOST_DATES = {"ms": 10, "sar": 5}  # as many as pre-training draws (skysense-v2.md, 1)
GSD_M = {"hr": (0.05, 2.5), "ms": (5.0, 40.0), "sar": (5.0, 40.0)}
OVERLAP = 64  # pixels of each side of a window that are trusted least: an eighth, two positions
# Constants of the family (skysense-v2.md, 1). High resolution as 0 to 255; near infrared as red.
PICTURE_MEAN, PICTURE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REFLECTANCE_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
DIGITAL_MEAN = (
    884.29673756, 1144.16202635, 1297.47289228, 1624.90992062, 2194.6423161, 2422.21248945, 2517.76053101,
    2581.64687018, 2368.51236873, 1805.06846033,
)  # fmt: skip
DIGITAL_STD = (
    1155.15170768, 1183.6292542, 1368.11351514, 1370.265037, 1355.55390699, 1416.51487101, 1474.78900051,
    1439.3086061, 1455.52084939, 1343.48379601,
)  # fmt: skip
DIGITAL_NUMBERS = 10_000.0  # per unit of reflectance
DECIBEL_MEAN, DECIBEL_STD = (-12.54847273, -20.19237134), (5.25697717, 5.91150917)


def describe(member: str, name: str, version: str, title: str, hr_channels: int = 3, **texts: Any) -> Package:
    """The description of an encoder package; variants of torch only, tolerances of reduced ones yet open.

    Args:
        member: "tiny", "small", "base", "full" or "full-dense".
        name, version, title: of the package.
        hr_channels: 3, or 4 with near infrared.
        **texts: further fields of `Package`, such as training, licence, description.
    """
    width, fused = WIDTHS[member]
    features = [
        Feature(f"{slot}_{stage + 1}", width * 2**stage, positions, slot)
        for slot, sides in POSITIONS.items()
        for stage, positions in enumerate(sides)
    ]
    parameters = {"member": member, "hr_channels": hr_channels}
    return Package(
        Path(),
        name,
        version,
        title,
        "encoder",
        "embed",
        Tiling(SIZES["hr"], SIZES["hr"] // POSITIONS["hr"][-1], OVERLAP),
        (
            Variant("torch", "fp32", "weights.safetensors", EXACT, "skysense-v2", parameters),
            Variant("torch", "bf16", "weights.safetensors", 0.0, "skysense-v2", parameters),
        ),
        inputs=(_hr(hr_channels), _ms(), _sar()),
        features=(*features, Feature("fused", fused, POSITIONS["hr"][-1]), Feature("image", fused, 0)),
        joins=tuple(f"{slot}_4" for slot in SIZES),
        architecture=f"SkySense V2, {member} (windowed and global transformer with experts, temporal fusion)",
        **texts,
    )


def _hr(channels: int) -> InputSlot:
    needs = bands.colours("red", "green", "blue", "nir")[:channels]
    mean, std = (values + values[:1] * (channels - 3) for values in (PICTURE_MEAN, PICTURE_STD))
    steps = (Step("scale", factor=(1 / 255,), offset=(0.0,)), Step("standardise", mean=mean, std=std))
    return InputSlot(
        "hr", "hr", (), needs, "dn", SIZES["hr"], steps, required=False, pixels_per_token=32.0, gsd_m=GSD_M["hr"],
        days_input="hr_days", valid_input="hr_valid",
    )  # fmt: skip


def _ms() -> InputSlot:
    mean, std = (tuple(v / DIGITAL_NUMBERS for v in values) for values in (DIGITAL_MEAN, DIGITAL_STD))
    return _series("ms", bands.sentinel_2(*REFLECTANCE_BANDS), "reflectance", Step("standardise", mean=mean, std=std))


def _sar() -> InputSlot:
    return _series("sar", bands.sentinel_1(), "db", Step("standardise", mean=DECIBEL_MEAN, std=DECIBEL_STD))


def _series(slot: str, needs: tuple[bands.BandNeed, ...], unit: str, step: Step) -> InputSlot:
    return InputSlot(
        slot, slot, (), needs, unit, SIZES[slot], (step,), dates=(1, MOST_DATES[slot]), temporal=True, required=False,
        pixels_per_token=4.0, gsd_m=GSD_M[slot], days_input=f"{slot}_days", valid_input=f"{slot}_valid",
    )  # fmt: skip
