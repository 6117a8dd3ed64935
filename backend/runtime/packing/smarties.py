"""What a SMARTIES package says of itself: inputs, normalisation, enlargement (smarties.md, 2, 3 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.manifest.package import Feature, InputSlot, Package, Step, Tiling, Variant
from backend.runtime.packing import bands
from backend.runtime.packing.tolerances import EXACT

# Kinds of `backend.models.encoders.smarties_resize`: as evaluated by the authors, and what every runtime does fast.
EXACT_RESIZE, FAST = "cubic-antialiased", "bilinear-fast"
# Width and the four blocks whose maps are given (smarties.md, 1 and 8.5).
MEMBERS = {"tiny": (128, (0, 1, 2, 3)), "vit-b": (768, (3, 5, 7, 11)), "vit-l": (1024, (7, 11, 15, 23))}
IMAGE_SIZE, PATCH = 224, 16
POSITIONS = IMAGE_SIZE // PATCH
MOST_DATES = 12
OVERLAP = 32  # pixels of each side of a 224 px window that are trusted least: two positions
DIGITAL_NUMBERS = 10_000.0  # per unit of reflectance


@dataclass(frozen=True)
class Slot:
    """What an input is for.

    Attributes:
        modality: "hr", "ms" or "sar".
        needs: its bands.
        ranges: the spectral range that each band is taken for (smarties.md, 2 and 9).
        gsd_m: pixel sizes that it takes.
        sensors: of the catalogue; empty where those of the statistics count.
    """

    modality: str
    needs: tuple[bands.BandNeed, ...]
    ranges: tuple[str, ...]
    gsd_m: tuple[float, float]
    sensors: tuple[str, ...] = ()


# Landsat 8 and 9 through the table of section 9; thermal bands have no statistics, the cirrus band has no range.
LANDSAT = {
    "coastal": "aerosol", "blue": "blue_2", "green": "green_2", "red": "red_2", "nir08": "near_infrared_3",
    "swir16": "short_wave_infrared_3", "swir22": "short_wave_infrared_4",
}  # fmt: skip
# Their statistics: those of the Sentinel-2 band that is nearest, at the same level of processing.
NEAREST = {"blue_2": "blue_1"}


@cache
def slots() -> dict[str, Slot]:
    """Every input that a package may have, by name."""
    from backend.models.encoders.smarties_spectrum import band_sets

    sets, sentinel = band_sets(), (5.0, 40.0)
    optical = Slot("ms", bands.sentinel_2(), tuple(sets["S2"]), sentinel)
    return {
        "s2": optical,
        "s2_l1c": optical,
        "landsat": Slot("ms", bands.landsat_8(*LANDSAT), tuple(LANDSAT.values()), (15.0, 60.0), LANDSAT_SENSORS),
        "s1": Slot("sar", bands.sentinel_1(), tuple(sets["S1"]), sentinel),
        "rgb": Slot("hr", bands.colours("red", "green", "blue"), tuple(sets["RGB"]), (0.05, 10.0)),
    }


# What was made with a table's level of processing; another level has other numbers for the same ground.
SENSORS = {
    "SENTINEL2-L2A": ("sentinel-2-l2a", "hls-s30", "multispectral"),
    "BigEarthNet-S2": ("sentinel-2-l2a", "hls-s30", "multispectral"),
    "SENTINEL2-L1C": ("sentinel-2-l1c",),
    "EuroSAT": ("sentinel-2-l1c",),
}
LANDSAT_SENSORS = ("landsat-8-l2", "hls-l30")


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


# The setting of the dense use: pixels of the source, along one side, that one token covers. In pre-training a Sentinel
# patch of 64 to 120 px was enlarged to 224, which makes 4.6 to 8.6; 8 is the coarsest whole number among them, hence
# the most ground per computation. Landsat's 4 keep the ground of a token near that. Pictures were fed pixel for pixel.
PRETRAINING = {
    "s2": Feeding("SENTINEL2-L2A", "reflectance", 8),
    "s1": Feeding("SENTINEL1-GRD", "db", 8),
    "rgb": Feeding("RGB", "dn", 16),
}
EVERY_SENSOR = {
    "s2": PRETRAINING["s2"],
    "s2_l1c": Feeding("SENTINEL2-L1C", "reflectance", 8),
    "landsat": Feeding("SENTINEL2-L2A", "reflectance", 4),
    "s1": PRETRAINING["s1"],
    "rgb": PRETRAINING["rgb"],
}
# A sensor that no pre-training saw: as Sentinel-2's reflectance, pixel for pixel.
UNSEEN = Feeding("SENTINEL2-L2A", "reflectance", PATCH)


def describe(
    member: str,
    name: str,
    version: str,
    title: str,
    feedings: Mapping[str, Feeding] = EVERY_SENSOR,
    resize: str = FAST,
    unseen: Mapping[str, Slot] = MappingProxyType({}),
    **texts: Any,
) -> Package:
    """The description of an encoder package; variants of torch only, which every export starts from.

    Args:
        member: "tiny", "vit-b" or "vit-l".
        name, version, title: of the package.
        feedings: how each input is fed, by slot.
        resize: how images are enlarged, `FAST` or `EXACT_RESIZE`.
        unseen: what is said of those inputs that are none of `slots`; their ranges may be wavelengths.
        **texts: further fields of `Package`, such as training, licence, description.
    """
    width, blocks = MEMBERS[member]
    known = {**slots(), **unseen}
    features = [
        feature
        for slot in feedings
        for feature in (
            *(Feature(f"{slot}_{number + 1}", width, POSITIONS, slot) for number in range(4)),
            Feature(f"{slot}_class", width, 0, slot),
        )
    ]
    parameters: dict[str, Any] = {
        "member": member,
        "slots": tuple(feedings),
        "band_sets": tuple("/".join(known[slot].ranges) for slot in feedings),
        "image_size": IMAGE_SIZE,
        "blocks": blocks,
        "resize": resize,
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
            Variant("torch", "fp32", "weights.safetensors", EXACT, "smarties", parameters),
            Variant("torch", "bf16", "weights.safetensors", 0.0, "smarties", parameters),
        ),
        inputs=tuple(series_slot(name, known[name], feeding, resize) for name, feeding in feedings.items()),
        features=(*features, Feature("fused", width, POSITIONS), Feature("image", width, 0)),
        joins=tuple(f"{slot}_4" for slot in feedings),
        architecture=f"SMARTIES, {member} (spectrum-aware vision transformer)",
        **texts,
    )


def series_slot(name: str, slot: Slot, feeding: Feeding, resize: str) -> InputSlot:
    """An input of the staged encoder: series, with bands or whole dates missing."""
    return replace(
        image_slot(name, slot, feeding, POSITIONS * feeding.pixels_per_token, resize), dates=(1, MOST_DATES),
        temporal=True, required=False, valid_input=f"{name}_valid", bands_input=f"{name}_bands",
    )  # fmt: skip


def image_slot(name: str, slot: Slot, feeding: Feeding, size: int, resize: str) -> InputSlot:
    """An input of one date with all its bands.

    Args:
        name: of the input.
        slot: what it shows, such as one of `slots`.
        feeding: how it is fed.
        size: pixels per side.
        resize: how it is enlarged to what the encoder sees, a kind of `backend.models.encoders.smarties_resize`.
    """
    sensors = slot.sensors or SENSORS.get(feeding.table, ())
    factor = 1 / DIGITAL_NUMBERS if feeding.unit == "reflectance" else 1.0
    return InputSlot(
        name, slot.modality, sensors, slot.needs, feeding.unit, size, normalisation(feeding.table, slot.ranges, factor),
        resize="cubic" if resize == EXACT_RESIZE else "bilinear", pixels_per_token=float(feeding.pixels_per_token),
        gsd_m=slot.gsd_m,
    )  # fmt: skip


def normalisation(table: str, ranges: Sequence[str], factor: float) -> tuple[Step, ...]:
    """Percentiles, clip, mean and standard deviation of a table of statistics (smarties.md, 3).

    Args:
        table: its name.
        ranges: spectral ranges, whose order the values get; a table may have another one.
        factor: from the table's numbers to the unit of the input.
    """
    from backend.models.encoders.smarties_preprocess import statistics_of

    known = {row.key: row for row in statistics_of(table)}
    rows = [known[_nearest(key, known)] for key in ranges]
    return (
        Step("rescale", minimum=tuple(r.p1 * factor for r in rows), maximum=tuple(r.p99 * factor for r in rows)),
        Step("clip", minimum=(0.0,), maximum=(1.0,)),
        Step("standardise", mean=tuple(r.mean for r in rows), std=tuple(r.std for r in rows)),
    )


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    """The key whose statistics a range gets; a wavelength those of the nearest range."""
    from backend.models.encoders.smarties_spectrum import range_of, wavelength_of

    centre = wavelength_of(key)
    if centre is None:
        return NEAREST.get(key, key)
    used = [name for name, row in known.items() if row.used]
    return min(used, key=lambda name: abs(range_of(name).centre_nm - centre))
