"""Map classes over samples: polygons by their cells' centres, lines and points by what they touch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform_geom

from backend.protocol.errors import ParameterError, SourceError
from backend.train.data.map_classes import MapClasses
from backend.train.data.sample import Place, Sample

PLACE = Place("EPSG:32631", (600_000.0, 4_999_840.0, 600_160.0, 5_000_000.0))  # 160 m: cells of 10 m


def vectors(path: Path, crs: str = "EPSG:32631", wanted: str = "EPSG:32631") -> Path:
    """A wood in the west, a road along the north, a tower in the south-east, and a lake far away."""
    shapes = [
        shapely.box(600_000, 4_999_840, 600_040, 5_000_000),
        shapely.LineString([(600_000, 4_999_994), (600_160, 4_999_994)]),
        shapely.Point(600_155, 4_999_845),
        shapely.box(700_000, 5_000_000, 700_100, 5_000_100),
        shapely.box(600_100, 4_999_900, 600_120, 4_999_920),
    ]
    if crs != wanted:
        moved = [transform_geom(crs, wanted, shapely.geometry.mapping(shape)) for shape in shapes]
        shapes = [shapely.geometry.shape(shape) for shape in moved]
    names = np.array(["wood", "road", "tower", "lake", None], dtype=object)
    pyogrio.raw.write(
        str(path), shapely.to_wkb(np.array(shapes)), [names], ["class"], driver="GPKG", geometry_type="Unknown",
        crs=CRS.from_user_input(wanted).to_string(),
    )  # fmt: skip
    return path


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326"])
def test_classes_lie_where_the_map_says_whatever_its_crs(tmp_path: Path, crs: str) -> None:
    classes = MapClasses(vectors(tmp_path / "map.gpkg", wanted=crs), "class", cells=16)
    assert classes.names == ("lake", "road", "tower", "wood")
    found = dict(zip(classes.names, classes.over(PLACE), strict=True))
    expected = {name: np.zeros((16, 16), bool) for name in classes.names}
    expected["wood"][:, :4] = True
    expected["road"][0] = True
    expected["tower"][15, 15] = True
    for name in classes.names:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_samples_get_the_classes_of_their_own_ground(tmp_path: Path) -> None:
    classes = MapClasses(vectors(tmp_path / "map.gpkg"), "class", cells=8)
    far = Place("EPSG:32631", (700_000.0, 5_000_000.0, 700_100.0, 5_000_100.0))
    samples = [Sample("a", PLACE, {}), Sample("b", far, {}), Sample("c", Place("", (0, 0, 9, 9)), {})]
    near, lake, nowhere = classes.added(samples)
    assert near.class_names == classes.names and near.classes is not None and near.classes.any(axis=(1, 2)).sum() == 3
    assert lake.classes is not None and lake.classes.all(axis=(1, 2)).tolist() == [True, False, False, False]
    assert nowhere.classes is None


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    path = vectors(tmp_path / "map.gpkg")
    with pytest.raises(ParameterError, match="no attribute"):
        MapClasses(path, "kind")
    with pytest.raises(SourceError, match="cannot be read"):
        MapClasses(tmp_path / "nothing.gpkg", "class")
