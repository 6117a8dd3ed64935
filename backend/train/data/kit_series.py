"""Series and radar of the data kit that no protocol tests on: samples of several dates and of both Sentinels.

The cubes stand in no split. Of Sen1Floods11 the Ghana chip without a usable label is nobody's test; the chips that are
scored in some fold stay out. What the kit's description says and the files do not, stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backend.geo.source import describe
from backend.protocol.jobs import InputSpec
from backend.sensors.cubes import variable_of
from backend.sensors.inspect import inspect
from backend.train.data.readers.names import key_of
from backend.train.data.sample import Sample
from backend.train.data.scene import Scene, tiles

TILE_PX, ANTWERP_PX = 64, 66
RADAR = "worldcereal"  # the catalogue's rule for 16-bit amplitudes, which both cubes follow
CUBE_NODATA = 65_535.0  # undeclared
SENTINEL = {"ms": "S2-L2A-B", "sar": "S1-SIGMA0-"}  # begin of the variables' names
# Twelve months of both Sentinels; B08 stands in for B8A, which the cube lacks. Ten dates of radar alone.
MONTHLY = "openeo_cubes/worldcereal_s1s2_monthly_2020-11_2021-10.nc"
ANTWERP = "openeo_cubes/s1_grd_antwerp_2023-04.nc"
GHANA = "sen1floods11/s1/Ghana_83483_S1Hand.tif"


def kit_series(kit: Path) -> Iterator[Sample]:
    """Samples of 64 x 64 pixels; Antwerp's cube is hardly larger and stays whole."""
    monthly, antwerp = kit / MONTHLY, kit / ANTWERP
    both = {"ms": _dates(monthly, "ms"), "sar": _dates(monthly, "sar")}
    yield from _tiles("openeo_monthly", both)
    yield from _tiles("openeo_antwerp", {"sar": _dates(antwerp, "sar")}, ANTWERP_PX)
    yield from _tiles("sen1floods11_ghana", {"sar": [InputSpec("sar", (str(kit / GHANA),))]})


def _dates(cube: Path, kind: str) -> list[InputSpec]:
    """Every date of one Sentinel's variables."""
    variables = tuple(name for name in describe(cube).subdatasets if variable_of(name).startswith(SENTINEL[kind]))
    spec = InputSpec(kind, variables, unit=RADAR if kind == "sar" else None, nodata=CUBE_NODATA)
    return [replace(spec, date=day) for day in inspect(variables, spec).dates]


def _tiles(name: str, images: Mapping[str, Sequence[InputSpec]], size: int = TILE_PX) -> Iterator[Sample]:
    with Scene(images) as scene:
        for window in tiles(scene.grid, size):
            sample = scene.sample(key_of(name, window.row, window.col), window)
            if sample is not None:
                yield sample
