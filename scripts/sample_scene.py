"""Writes a place that does not exist as its sensors would see it, with the truth: for the demo and for tests.

    python scripts/sample_scene.py FOLDER [SEED]        needs numpy and rasterio, as in the light environment

A valley of 6 by 6 km with a lake, forest, fields and a village, in May and in October, when the lake is higher:

    sentinel2_DATE.tif   ten bands at 10 m, surface reflectance x 10 000, 16 bit; in October with a cloud and its shadow
    sentinel1_DATE.tif   VV and VH at 10 m, sigma0 in dB, speckled, on a grid of its own
    aerial_rgbn_DATE.tif red, green, blue, near infrared at 2.5 m, 8 bit, the middle of the place
    clouds_DATE.tif      1 under the cloud and its shadow: a mask for the scene of October
    truth_DATE.tif       the class of every 10 m pixel

The spectra and the backscatter are medians of published data. Crops, grass and bare soil: WorldCereal training block
be_2019_b, Sentinel-2 of 2019-05-11 and 2018-10-13 (2019-05-16 for bare soil), Sentinel-1 of the same months. Water and
forest: Boadella reservoir and the land around it, Sentinel-2 of 2020-06-21 and 2020-09-14 (EOTDL). Village: Sentinel-2
polygons "village" of the rsgislib Amazon example, offset removed. Radar of water and of woodland: medians of the
Sen1Floods11 chips India and Nigeria. The village's radar and all texture are assumptions. Speckle: gamma, 4.4 looks, as
of Sentinel-1 IW GRD.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from affine import Affine

FINE = 2.5  # metres: what all layers are averaged from
SIDE = 2400  # fine pixels, 6 km
COARSE = 4  # fine pixels along a Sentinel pixel
CRS, LEFT, TOP = "EPSG:32631", 484_000.0, 4_690_000.0
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
DATES = ("2019-05-16", "2019-10-13")
LOOKS = 4.4


class Cover(NamedTuple):
    """A class: what it is called and looks like in May and in October.

    Attributes:
        name, color: for legends.
        optical: reflectance of `BANDS` on both dates.
        radar: VV and VH in dB on both dates.
        texture: standard deviation of the logarithm of a factor per fine pixel.
    """

    name: str
    color: str
    optical: tuple[tuple[float, ...], tuple[float, ...]]
    radar: tuple[tuple[float, float], tuple[float, float]]
    texture: float


BARE = (0.1066, 0.1582, 0.2134, 0.2388, 0.2745, 0.3006, 0.3050, 0.3186, 0.3667, 0.3361)
STUBBLE = (0.0708, 0.1095, 0.1450, 0.1698, 0.2036, 0.2243, 0.2220, 0.2401, 0.2785, 0.2492)
VILLAGE = (0.0869, 0.1220, 0.1492, 0.1999, 0.2659, 0.2909, 0.2918, 0.3150, 0.3827, 0.3259)
COVERS = (
    Cover(
        "water", "#1f6fb4",
        ((0.0227, 0.0231, 0.0111, 0.0094, 0.0078, 0.0093, 0.0078, 0.0079, 0.0088, 0.0062),
         (0.0148, 0.0200, 0.0072, 0.0052, 0.0018, 0.0030, 0.0029, 0.0026, 0.0067, 0.0051)),
        ((-18.4, -25.8), (-18.4, -25.8)), 0.03,
    ),
    Cover(
        "forest", "#1b7837",
        ((0.0296, 0.0478, 0.0299, 0.0775, 0.2249, 0.2683, 0.2743, 0.2868, 0.1608, 0.0766),
         (0.0181, 0.0359, 0.0249, 0.0654, 0.1913, 0.2299, 0.2403, 0.2520, 0.1379, 0.0635)),
        ((-10.9, -17.1), (-10.9, -17.1)), 0.20,
    ),
    Cover(
        "grass", "#a6d96a",
        ((0.0546, 0.0830, 0.0461, 0.1304, 0.3852, 0.4951, 0.5615, 0.5372, 0.2027, 0.1010),
         (0.0346, 0.0641, 0.0520, 0.1099, 0.2484, 0.3022, 0.3073, 0.3276, 0.2366, 0.1426)),
        ((-12.1, -17.3), (-11.6, -18.9)), 0.08,
    ),
    Cover(
        "winter wheat", "#fee08b",
        ((0.0435, 0.0505, 0.0306, 0.0703, 0.2944, 0.4516, 0.4706, 0.4783, 0.1319, 0.0571), STUBBLE),
        ((-16.4, -21.9), (-9.8, -19.7)), 0.05,
    ),
    Cover(
        "maize", "#fdae61",
        ((0.0778, 0.0959, 0.1130, 0.1422, 0.2430, 0.2820, 0.2732, 0.3030, 0.2231, 0.1400),
         (0.0394, 0.0814, 0.0517, 0.1287, 0.2897, 0.3348, 0.3548, 0.3525, 0.2352, 0.1400)),
        ((-11.4, -21.3), (-9.1, -17.8)), 0.06,
    ),
    Cover(
        "sugar beet", "#d53e4f",
        ((0.1063, 0.1364, 0.1802, 0.2052, 0.2616, 0.2941, 0.3049, 0.3150, 0.3145, 0.2824),
         (0.0364, 0.0761, 0.0439, 0.1252, 0.3590, 0.4129, 0.4338, 0.4249, 0.2291, 0.1393)),
        ((-12.3, -22.7), (-9.5, -16.9)), 0.05,
    ),
    Cover("bare soil", "#c9a878", (BARE, STUBBLE), ((-11.4, -21.3), (-9.8, -19.7)), 0.05),
    Cover("village", "#7a7a7a", (VILLAGE, VILLAGE), ((-6.0, -12.5), (-6.0, -12.5)), 0.25),
)  # fmt: skip
WATER, FOREST, GRASS, WHEAT, MAIZE, BEET, SOIL, TOWN = range(len(COVERS))


class Place(NamedTuple):
    """The ground, SIDE x SIDE fine pixels.

    Attributes:
        covers: class of each pixel on both dates.
        shade: factor of light, from slopes towards and away from the sun.
        vigour: factor of each field.
        cloud: how opaque the cloud is over each pixel in October, 0 to 1.
        shadow: how dark its shadow is, 0 to 1.
    """

    covers: tuple[np.ndarray, np.ndarray]
    shade: np.ndarray
    vigour: np.ndarray
    cloud: np.ndarray
    shadow: np.ndarray


def noise(random: np.random.Generator, steepness: float, side: int = SIDE) -> np.ndarray:
    """A random surface whose amplitude falls with frequency to the power of `steepness`: mean 0, deviation 1."""
    rows, cols = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(rows, cols)
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * random.random(frequency.shape))
    surface = np.fft.irfft2(phase * frequency**-steepness, (side, side))
    return np.asarray((surface - surface.mean()) / surface.std(), np.float32)


def parcels(random: np.random.Generator, spacing: int) -> np.ndarray:
    """Which parcel each pixel belongs to: the nearest of jittered grid points (SIDE x SIDE int32)."""
    cells = SIDE // spacing + 2
    points = (np.stack(np.mgrid[:cells, :cells]) - 0.5 + random.uniform(-0.4, 0.4, (2, cells, cells))) * spacing
    rows, cols = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    cell = (
        np.minimum(((rows + spacing / 2) // spacing).astype(int), cells - 1),
        np.minimum(((cols + spacing / 2) // spacing).astype(int), cells - 1),
    )
    best, nearest = np.full((SIDE, SIDE), np.inf, np.float32), np.zeros((SIDE, SIDE), np.int32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            i, j = np.clip(cell[0] + down, 0, cells - 1), np.clip(cell[1] + right, 0, cells - 1)
            # Parcels are longer than wide, as fields are.
            distance = (rows - points[0][i, j]) ** 2 + 2.5 * (cols - points[1][i, j]) ** 2
            closer = distance < best
            best[closer], nearest[closer] = distance[closer], (i * cells + j)[closer]
    return nearest


def make_place(seed: int) -> Place:
    """The ground, from a seed."""
    random = np.random.default_rng(seed)
    height = noise(random, 2.2)
    field = parcels(random, 96)
    many = int(field.max()) + 1
    crops = random.choice([GRASS, WHEAT, MAIZE, BEET, SOIL], many, p=[0.3, 0.3, 0.2, 0.1, 0.1])[field]
    vigour = np.exp(random.normal(0, 0.08, many)).astype(np.float32)[field]
    ground = np.where((height > 0.4) & (noise(random, 1.6) > -0.4), FOREST, crops)
    plots = parcels(random, 16)
    built = random.random(int(plots.max()) + 1)[plots] < 0.65
    rows, cols = np.mgrid[:SIDE, :SIDE]
    centre = np.unravel_index(np.argmin(np.abs(height - 0.1)[600:1800, 600:1800]), (1200, 1200))
    near = np.hypot(rows - centre[0] - 600, cols - centre[1] - 600) + 90 * noise(random, 1.8) < 240
    ground = np.where(near & built, TOWN, np.where(near, GRASS, ground))
    levels = np.quantile(height, (0.10, 0.14))
    covers = tuple(np.where(height < level, WATER, ground).astype(np.uint8) for level in levels)
    down, right = np.gradient(60.0 * height, FINE)
    shade = np.clip(1 + 0.8 * (down + right), 0.7, 1.3).astype(np.float32)
    billow = np.clip(noise(random, 1.9) - np.hypot(rows - 500, cols - 1900) / 300 + 1.2, 0, 1).astype(np.float32)
    return Place((covers[0], covers[1]), shade, vigour, billow, np.roll(billow, (160, -160), (0, 1)))


def averaged(fine: np.ndarray, step: int = COARSE) -> np.ndarray:
    """Means of step x step pixels."""
    height, width = fine.shape
    return np.asarray(fine.reshape(height // step, step, width // step, step).mean((1, 3)))


def reflectance(place: Place, date: int, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Reflectance of every band in fine pixels, by name of the band."""
    covers = place.covers[date]
    spread = np.array([cover.texture for cover in COVERS], np.float32)[covers]
    grain = np.exp(spread * random.standard_normal(covers.shape, np.float32))
    factor = np.where(covers == WATER, 1, place.shade * place.vigour) * grain
    for number, name in enumerate(BANDS):
        band = np.array([cover.optical[date][number] for cover in COVERS], np.float32)[covers] * factor
        if date:
            band = band * (1 - 0.6 * place.shadow)
            band = band * (1 - place.cloud) + 0.55 * place.cloud
        yield name, band


def write(path: Path, bands: np.ndarray, corner: tuple[float, float], pixel: float, **about: object) -> None:
    """Write a tiled GeoTIFF (C x H x W) with band names, tags and, where given, colours and nodata."""
    names, colors, tags = about.get("names", ()), about.get("colors"), about.get("tags", {})
    transform = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    options = {
        "driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype,
        "crs": CRS, "transform": transform, "tiled": True, "compress": "deflate", "nodata": about.get("nodata"),
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as target:
        target.write(bands)
        target.update_tags(**tags)
        for number, name in enumerate(names, 1):
            target.set_band_description(number, name)
        if colors:
            target.write_colormap(1, colors)


def write_scene(folder: Path, seed: int = 0) -> None:
    """Write every layer of the place into a folder that exists."""
    place, random = make_place(seed), np.random.default_rng(seed + 1)
    middle = slice(SIDE // 2 - 500, SIDE // 2 + 500)
    aerial = []
    for number, date in enumerate(DATES):
        coarse = []
        for name, band in reflectance(place, number, random):
            mean = averaged(band)
            # Bands of 20 m, on the 10 m grid as products for analysis have them.
            if name not in ("B02", "B03", "B04", "B08"):
                mean = averaged(mean, 2).repeat(2, 0).repeat(2, 1)
            coarse.append(mean + random.normal(0, 0.001, mean.shape))
            if number == 0 and name in ("B02", "B03", "B04", "B08"):
                aerial.append(band[middle, middle])
        optical = np.clip(np.round(np.stack(coarse) * 10_000), 1, 10_000).astype(np.uint16)
        tags = {"sensor": "Sentinel-2 MSI L2A", "acquisition_date": f"{date}T10:50:00Z", "simulated": "yes"}
        write(folder / f"sentinel2_{date}.tif", optical, (LEFT, TOP), 10.0, names=BANDS, tags=tags, nodata=0)
        radar = np.stack([_backscatter(place, number, channel, random) for channel in range(2)])
        tags = {"sensor": "Sentinel-1 C-SAR GRD", "acquisition_date": f"{date}T17:30:00Z", "units": "sigma0 dB"}
        write(
            folder / f"sentinel1_{date}.tif", radar[:, 3:, 5:], (LEFT + 5 * 10 + 3.7, TOP - 3 * 10 - 6.1), 10.0,
            names=("VV", "VH"), tags={**tags, "simulated": "yes"},
        )  # fmt: skip
        classes = place.covers[number][COARSE // 2 :: COARSE, COARSE // 2 :: COARSE]
        colors = {value: _rgb(cover.color) for value, cover in enumerate(COVERS)}
        legend = {"classes": "; ".join(f"{value}: {cover.name}" for value, cover in enumerate(COVERS))}
        write(folder / f"truth_{date}.tif", classes[None], (LEFT, TOP), 10.0, colors=colors, tags=legend, nodata=255)
    blue, green, red, infrared = aerial
    picture = np.clip(np.stack([600 * red, 600 * green, 600 * blue, 300 * infrared]), 1, 255)
    edge = middle.start * FINE
    write(
        folder / f"aerial_rgbn_{DATES[0]}.tif", picture.astype(np.uint8), (LEFT + edge, TOP - edge), FINE,
        names=("red", "green", "blue", "nir"),
        tags={"sensor": "aerial RGBN", "acquisition_date": DATES[0], "simulated": "yes"},
    )  # fmt: skip
    hidden = (averaged(np.maximum(place.cloud, place.shadow)) > 0.03).astype(np.uint8)
    write(folder / f"clouds_{DATES[1]}.tif", hidden[None], (LEFT, TOP), 10.0)


def _backscatter(place: Place, date: int, channel: int, random: np.random.Generator) -> np.ndarray:
    """Speckled sigma0 in dB at 10 m."""
    powers = np.array([10 ** (cover.radar[date][channel] / 10) for cover in COVERS], np.float32)
    mean = averaged(powers[place.covers[date]])
    return np.asarray(10 * np.log10(mean * random.gamma(LOOKS, 1 / LOOKS, mean.shape)), np.float32)


def _rgb(color: str) -> tuple[int, int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16), 255


def main(arguments: list[str]) -> int:
    """Write the scene; returns an exit code."""
    if len(arguments) not in (1, 2) or not all(text.isdigit() for text in arguments[1:]):
        sys.stderr.write("usage: sample_scene.py FOLDER [SEED]\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    write_scene(folder, int(arguments[1]) if len(arguments) == 2 else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
