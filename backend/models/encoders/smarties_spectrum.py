"""The spectral ranges of SMARTIES: which projection layer, or which blend of layers, a band goes through.

A band becomes a `Blend`: pairs of layer and weight. A range with a layer of its own is one pair with weight 1, an
interpolated range has two. Sections refer to the model's specification (smarties.md); wavelengths are nanometres.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.protocol.errors import ParameterError

FOLDER = Path(__file__).parent / "data"
LAYERS = 17  # trained projections of the released models (section 2)
INDICES = 19  # projection indices in use: the layers, then the two interpolated ranges (section 2)
MODES = ("released", "linear")
WAVELENGTH = re.compile(r"(\d+(?:\.\d+)?)nm")  # of a band that no range describes

Blend = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class SpectralRange:
    """One row of the table of section 2.

    Attributes:
        key: the range's name in the released configuration.
        band: the band as a practitioner says it.
        index: projection index; -1 where there is no layer.
        low_nm, high_nm: the interval.
        sensors: listed sensors; without effect on the computation.
        sources: layers that an interpolated range is made of; empty where it has a layer of its own.
    """

    key: str
    band: str
    index: int
    low_nm: float
    high_nm: float
    sensors: tuple[str, ...]
    sources: tuple[int, ...]

    @property
    def centre_nm(self) -> float:
        """Middle of the interval."""
        return (self.low_nm + self.high_nm) / 2


def read_data(name: str) -> Any:
    """Content of a data file of this folder."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def ranges() -> dict[str, SpectralRange]:
    """All 20 ranges by key, in the order of their index, the one without a layer last."""
    rows = read_data("smarties_ranges")
    return {row["key"]: SpectralRange(**{**row, **{k: tuple(row[k]) for k in ("sensors", "sources")}}) for row in rows}


@cache
def band_sets() -> dict[str, tuple[str, ...]]:
    """Range keys in channel order by sensor type: S2 (L2A), S2-L1C (13 bands, one without a layer), S1 and RGB."""
    return {name: tuple(keys) for name, keys in read_data("smarties_band_sets").items()}


def ranges_of(text: str) -> tuple[str, ...]:
    """The range keys of a band set by its name, or of keys joined by "/"; a wavelength such as "610nm" is one as well.

    Raises:
        ParameterError: a key is unknown, or a wavelength lies outside what was trained.
    """
    keys = band_sets().get(text) or tuple(text.split("/"))
    for key in keys:
        centre = wavelength_of(key)
        range_of(key) if centre is None else interpolate(centre)
    return keys


def wavelength_of(key: str) -> float | None:
    """The wavelength in nm of a key such as "610nm"; None for the name of a range."""
    found = WAVELENGTH.fullmatch(key)
    return float(found[1]) if found else None


@cache
def centres() -> tuple[float, ...]:
    """Central wavelength of every trained layer, by layer."""
    trained = {row.index: row.centre_nm for row in ranges().values() if 0 <= row.index < LAYERS}
    return tuple(trained[layer] for layer in range(LAYERS))


def range_of(key: str) -> SpectralRange:
    """The range called `key`.

    Raises:
        ParameterError: there is none.
    """
    found = ranges().get(key)
    if found is None:
        raise ParameterError(f"there is no spectral range {key!r}", f"SMARTIES has {', '.join(ranges())}")
    return found


def selected(keys: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Positions and keys of the bands that have a projection; the others must be left out of the image."""
    kept = [(position, key) for position, key in enumerate(keys) if range_of(key).index >= 0]
    return tuple(position for position, _ in kept), tuple(key for _, key in kept)


def interpolation_weights(centre_nm: float, sources: Sequence[int], mode: str = "released") -> tuple[float, ...]:
    """Weight per source layer (section 9).

    With the distances d_i of the centres, "released" takes d_i / sum(d), as the released code does: the farther layer
    weighs more. "linear" takes 1 - d_i / sum(d), which is linear interpolation between two layers.

    Raises:
        ParameterError: the mode is unknown.
        ValueError: there are not exactly two sources, or both have this very centre.
    """
    if mode not in MODES:
        raise ParameterError(f"there is no interpolation {mode!r}", f"there is {' and '.join(MODES)}")
    distances = [abs(centre_nm - centres()[layer]) for layer in sources]
    if len(distances) != 2 or sum(distances) == 0:
        raise ValueError(f"layers {tuple(sources)} leave nothing to interpolate at {centre_nm} nm")
    shares = [distance / sum(distances) for distance in distances]
    return tuple(shares if mode == "released" else [1 - share for share in shares])


def interpolate(centre_nm: float, mode: str = "released") -> Blend:
    """The blend of a band that no range describes, from the trained centres below and above it (section 9).

    At a trained centre it is that layer alone, in either mode; of layers with one centre the first is taken.

    Raises:
        ParameterError: the wavelength lies outside what was trained, or the mode is unknown.
    """
    known = centres()
    lowest, highest = min(known), max(known)
    if not lowest <= centre_nm <= highest:
        raise ParameterError(
            f"a band at {centre_nm:g} nm cannot be interpolated",
            f"SMARTIES was trained from {lowest:g} to {highest:g} nm and does not extrapolate",
            "leave the band out or learn a projection for it",
        )
    if centre_nm in known:
        return ((known.index(centre_nm), 1.0),)
    below = max(centre for centre in known if centre < centre_nm)
    above = min(centre for centre in known if centre > centre_nm)
    sources = (known.index(below), known.index(above))
    return tuple(zip(sources, interpolation_weights(centre_nm, sources, mode), strict=True))


def blend(key: str, mode: str = "released") -> Blend:
    """The layers behind a range, or a wavelength such as "610nm", and their weights.

    Raises:
        ParameterError: the range or the mode is unknown, or the range has no projection.
    """
    centre = wavelength_of(key)
    if centre is not None:
        return interpolate(centre, mode)
    row = range_of(key)
    if row.index < 0:
        raise ParameterError(
            f"the band {row.band} ({key}) cannot enter SMARTIES", "no projection was trained for it", "leave it out"
        )
    if not row.sources:
        return ((row.index, 1.0),)
    return tuple(zip(row.sources, interpolation_weights(row.centre_nm, row.sources, mode), strict=True))


def keys_of(indices: Sequence[int]) -> tuple[str, ...]:
    """Range keys of projection indices; -1 is the key of the range without a layer, which `blend` refuses.

    Raises:
        ParameterError: there is no such index.
    """
    by_index = {row.index: key for key, row in ranges().items()}
    unknown = sorted({int(index) for index in indices} - set(by_index))
    if unknown:
        raise ParameterError(
            f"there is no projection {', '.join(map(str, unknown))}", f"SMARTIES has 0 to {INDICES - 1}"
        )
    return tuple(by_index[int(index)] for index in indices)


def index_blends(mode: str = "released") -> tuple[Blend, ...]:
    """The blend of every projection index, by index."""
    return tuple(blend(key, mode) for key in keys_of(range(INDICES)))


def mixing_matrix(blends: Sequence[Blend], layers: int = LAYERS) -> Tensor:
    """Bands x layers, float32: the weight of each layer in each band; rows sum to 1."""
    matrix = torch.zeros(len(blends), layers, device="cpu")
    for row, pairs in enumerate(blends):
        for layer, weight in pairs:
            matrix[row, layer] += weight
    return matrix


@cache
def mapping() -> dict[str, dict[str, dict[str, Any]]]:
    """Suggested range per band of other sensors (section 9): by sensor, then by the sensor's band name."""
    table: dict[str, dict[str, dict[str, Any]]] = read_data("smarties_mapping")
    return table


def mapped_blend(sensor: str, band: str, mode: str = "released") -> Blend | None:
    """The blend suggested for a band of another sensor; None for a band to be left out (section 9).

    Raises:
        ParameterError: the table does not have the sensor or the band, or the mode is unknown.
    """
    if sensor not in mapping():
        raise ParameterError(f"no mapping to SMARTIES is known for {sensor}", f"there is {', '.join(mapping())}")
    row = mapping()[sensor].get(band)
    if row is None:
        known = ", ".join(mapping()[sensor])
        raise ParameterError(f"no mapping to SMARTIES is known for band {band} of {sensor}", f"there is {known}")
    if row["range"] is None:
        return None
    if "centre_nm" not in row:
        return blend(row["range"], mode)
    sources = range_of(row["range"]).sources
    return tuple(zip(sources, interpolation_weights(row["centre_nm"], sources, mode), strict=True))
