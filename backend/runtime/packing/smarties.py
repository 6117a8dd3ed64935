"""What a SMARTIES package says of itself: inputs, normalisation, enlargement (smarties.md, 2, 3 and 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
MODALITIES = {"s2": "ms", "s1": "sar", "rgb": "hr"}
BAND_SETS = {"s2": "S2", "s1": "S1", "rgb": "RGB"}  # by slot (smarties.md, 2)


@dataclass(frozen=True)
class Feeding:
    """How images are fed to a slot.

    Attributes:
        table: statistics that they are normalised with.
        unit: of the values that are normalised.
        pixels_per_token: pixels of the source, along one side, that one token covers.
    """

    table: str
    unit: str
    pixels_per_token: int


PRETRAINING = {
    "s2": Feeding("SENTINEL2-L2A", "reflectance", PIXELS_PER_TOKEN["s2"]),
    "s1": Feeding("SENTINEL1-GRD", "db", PIXELS_PER_TOKEN["s1"]),
    "rgb": Feeding("RGB", "dn", PIXELS_PER_TOKEN["rgb"]),
}


def describe(
    member: str, name: str, version: str, title: str, slots: Mapping[str, Feeding] = PRETRAINING, **texts: Any
) -> Package:
    """The description of an encoder package; variants of torch only, which every export starts from.

    Args:
        member: "tiny", "vit-b" or "vit-l".
        name, version, title: of the package.
        slots: which inputs there are, and how each is fed.
        **texts: further fields of `Package`, such as training, licence, description.
    """
    width, blocks = MEMBERS[member]
    features = [
        feature
        for slot in slots
        for feature in (
            *(Feature(f"{slot}_{number + 1}", width, POSITIONS, slot) for number in range(4)),
            Feature(f"{slot}_class", width, 0, slot),
        )
    ]
    parameters: dict[str, Any] = {
        "member": member,
        "slots": tuple(slots),
        "band_sets": tuple(BAND_SETS[slot] for slot in slots),
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
        inputs=tuple(series_slot(slot, feeding) for slot, feeding in slots.items()),
        features=(*features, Feature("fused", width, POSITIONS), Feature("image", width, 0)),
        joins=tuple(f"{slot}_4" for slot in slots),
        architecture=f"SMARTIES, {member} (spectrum-aware vision transformer)",
        **texts,
    )


def series_slot(name: str, feeding: Feeding) -> InputSlot:
    """An input of the staged encoder: series, with bands or whole dates missing."""
    return replace(
        image_slot(name, feeding, POSITIONS * feeding.pixels_per_token), dates=(1, MOST_DATES), temporal=True,
        required=False, valid_input=f"{name}_valid", bands_input=f"{name}_bands",
    )  # fmt: skip


def image_slot(name: str, feeding: Feeding, size: int) -> InputSlot:
    """An input of one date with all its bands.

    Args:
        name: "s2", "s1" or "rgb".
        feeding: how it is fed.
        size: pixels per side.
    """
    needs = {"s2": bands.sentinel_2, "s1": bands.sentinel_1, "rgb": lambda: bands.colours("red", "green", "blue")}
    return InputSlot(
        name, MODALITIES[name], (), needs[name](), feeding.unit, size,
        normalisation(feeding.table, BAND_SETS[name], 1 / DIGITAL_NUMBERS if feeding.unit == "reflectance" else 1.0),
        pixels_per_token=float(feeding.pixels_per_token), gsd_m=GSD_M[name],
    )  # fmt: skip


def normalisation(table: str, kind: str, factor: float) -> tuple[Step, ...]:
    """Percentiles, clip, mean and standard deviation of a table of statistics (smarties.md, 3).

    Args:
        table: its name.
        kind: the band set, whose order the values get; a table may have another one.
        factor: from the table's numbers to the unit of the input.
    """
    from backend.models.encoders.smarties_preprocess import statistics_of
    from backend.models.encoders.smarties_spectrum import band_sets

    known = {row.key: row for row in statistics_of(table)}
    rows = [known[key] for key in band_sets()[kind]]
    return (
        Step("rescale", minimum=tuple(r.p1 * factor for r in rows), maximum=tuple(r.p99 * factor for r in rows)),
        Step("clip", minimum=(0.0,), maximum=(1.0,)),
        Step("standardise", mean=tuple(r.mean for r in rows), std=tuple(r.std for r in rows)),
    )
