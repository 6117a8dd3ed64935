"""What a SMARTIES package says of itself: inputs, normalisation, enlargement (smarties.md, 2, 3 and 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.manifest.package import Feature, InputSlot, Package, Step, Tiling, Variant
from backend.runtime.packing import bands

# Width and the four blocks whose maps are given (smarties.md, 1 and 8.5).
MEMBERS = {"tiny": (128, (0, 1, 2, 3)), "vit-b": (768, (3, 5, 7, 11)), "vit-l": (1024, (7, 11, 15, 23))}
IMAGE_SIZE, PATCH = 224, 16
POSITIONS = IMAGE_SIZE // PATCH
# The setting of the dense use: pixels of the source, along one side, that one token covers. In pre-training a Sentinel
# patch of 64 to 120 px was enlarged to 224, which makes 4.6 to 8.6; 8 is the coarsest whole number among them, hence
# the most ground per computation. Pictures were fed pixel for pixel.
PIXELS_PER_TOKEN = {"s2": 8, "s1": 8, "rgb": 16}
GSD_M = {"s2": (5.0, 40.0), "s1": (5.0, 40.0), "rgb": (0.05, 10.0)}
MOST_DATES = 12
OVERLAP = 32  # pixels of each side of a 224 px window that are trusted least: two positions
DIGITAL_NUMBERS = 10_000.0  # per unit of reflectance
# Slot -> modality, band set, table of statistics, unit, factor from the table's numbers to the unit.
SLOTS = {
    "s2": ("ms", "S2", "SENTINEL2-L2A", "reflectance", 1 / DIGITAL_NUMBERS),
    "s1": ("sar", "S1", "SENTINEL1-GRD", "db", 1.0),
    "rgb": ("hr", "RGB", "RGB", "dn", 1.0),
}


def describe(member: str, name: str, version: str, title: str, **texts: Any) -> Package:
    """The description of an encoder package; variants of torch only, which every export starts from.

    Args:
        member: "tiny", "vit-b" or "vit-l".
        name, version, title: of the package.
        **texts: further fields of `Package`, such as training, licence, description.
    """
    width, blocks = MEMBERS[member]
    features = [
        feature
        for slot in SLOTS
        for feature in (
            *(Feature(f"{slot}_{number + 1}", width, POSITIONS, slot) for number in range(4)),
            Feature(f"{slot}_class", width, 0, slot),
        )
    ]
    parameters: dict[str, Any] = {
        "member": member,
        "slots": tuple(SLOTS),
        "band_sets": tuple(kind for _, kind, *_ in SLOTS.values()),
        "image_size": IMAGE_SIZE,
        "blocks": blocks,
    }
    return Package(
        Path(),
        name,
        version,
        title,
        "encoder",
        "embed",
        Tiling(IMAGE_SIZE, PATCH, OVERLAP),
        (
            Variant("torch", "fp32", "weights.safetensors", 1e-3, "smarties", parameters),
            Variant("torch", "bf16", "weights.safetensors", 1.0, "smarties", parameters),
        ),
        inputs=tuple(_slot(slot) for slot in SLOTS),
        features=(*features, Feature("fused", width, POSITIONS), Feature("image", width, 0)),
        joins=tuple(f"{slot}_4" for slot in SLOTS),
        architecture=f"SMARTIES, {member} (spectrum-aware vision transformer)",
        **texts,
    )


def _slot(slot: str) -> InputSlot:
    modality, _, table, unit, factor = SLOTS[slot]
    needs = {"s2": bands.sentinel_2, "s1": bands.sentinel_1, "rgb": lambda: bands.colours("red", "green", "blue")}[
        slot
    ]()
    return InputSlot(
        slot, modality, (), needs, unit, POSITIONS * PIXELS_PER_TOKEN[slot], normalisation(table, factor),
        dates=(1, MOST_DATES), temporal=True, required=False, pixels_per_token=float(PIXELS_PER_TOKEN[slot]),
        gsd_m=GSD_M[slot], valid_input=f"{slot}_valid", bands_input=f"{slot}_bands",
    )  # fmt: skip


def normalisation(table: str, factor: float) -> tuple[Step, ...]:
    """Percentiles, clip, mean and standard deviation of a table of statistics (smarties.md, 3).

    Args:
        table: its name.
        factor: from the table's numbers to the unit of the input.
    """
    from backend.models.encoders.smarties_preprocess import statistics_of

    rows = [row for row in statistics_of(table) if row.used]
    return (
        Step("rescale", minimum=tuple(r.p1 * factor for r in rows), maximum=tuple(r.p99 * factor for r in rows)),
        Step("clip", minimum=(0.0,), maximum=(1.0,)),
        Step("standardise", mean=tuple(r.mean for r in rows), std=tuple(r.std for r in rows)),
    )
