"""EuroSAT as downloaded: `CLASS/CLASS_17.jpg` in red, green and blue, or `CLASS/CLASS_17.tif` in thirteen bands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend.protocol.errors import InputError
from backend.protocol.jobs import InputSpec
from backend.train.data.readers.names import key_of
from backend.train.data.readers.pictures import picture
from backend.train.data.sample import Sample
from backend.train.data.scene import Scene

# Helber et al. 2019: level 1C of 2016 and 2017, so without the offset of later processing; B8A stands last.
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
SENSOR, OFFSET = "sentinel-2-l1c", 0.0


def patches(folder: Path) -> Iterator[Sample]:
    """One sample for every image, with its class as a label.

    Args:
        folder: holds a folder for each class.

    Raises:
        InputError: there is no image.
        SourceError: an image cannot be read.
    """
    found = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in (".jpg", ".tif"))
    if not found:
        raise InputError(f"{folder} holds no EuroSAT images", "", "name the folder that holds the folders of classes")
    for path in found:
        key, labels = key_of("eurosat", path.suffix[1:], path.stem), {"class": path.parent.name}
        if path.suffix.lower() == ".jpg":
            yield picture(key, path, labels)
            continue
        spec = InputSpec("ms", (path.as_posix(),), SENSOR, bands=BANDS, offset=OFFSET)
        with Scene({"ms": [spec]}) as scene:
            sample = scene.sample(key, scene.grid.window, labels)
        if sample is not None:
            yield sample
