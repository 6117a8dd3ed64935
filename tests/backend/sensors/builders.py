"""Miniature rasters and products in the operators' own layouts."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

from backend.protocol.jobs import InputSpec

METADATA_L2A = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info><Product_Info>
  <PRODUCT_START_TIME>{date}T10:50:31.024Z</PRODUCT_START_TIME>
  <PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
  <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
 </Product_Info>
 <Product_Image_Characteristics>
  <Special_Values>
   <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
  </Special_Values>
  <Special_Values>
   <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
  </Special_Values>
  <QUANTIFICATION_VALUES_LIST>
   <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
  </QUANTIFICATION_VALUES_LIST>
  {offsets}
 </Product_Image_Characteristics></n1:General_Info>
</n1:Level-2A_User_Product>
"""


@dataclass(frozen=True)
class Want:
    """A band that a model asks for."""

    name: str
    center_nm: float | None = None
    width_nm: float | None = None
    polarisation: str | None = None


S2_RGBN = (Want("B04", 665, 31), Want("B03", 560, 36), Want("B02", 492, 66), Want("B08", 833, 106))
RGB = (Want("red", 650, 100), Want("green", 550, 100), Want("blue", 470, 100))
S1 = (Want("VV", polarisation="VV"), Want("VH", polarisation="VH"))


def spec(path: Path | str, **options: Any) -> InputSpec:
    """An input of one path."""
    return InputSpec(modality=options.pop("modality", "ms"), paths=(str(path),), **options)


def raster(
    path: Path,
    bands: int | Sequence[str],
    dtype: str = "uint16",
    tags: Mapping[str, str] | None = None,
    size: int = 8,
    pixel: float = 10.0,
    origin: tuple[float, float] = (600_000.0, 5_000_000.0),
    driver: str = "GTiff",
    **options: Any,
) -> Path:
    """A small raster in UTM 31N; `bands` is a number, or the band descriptions."""
    names = [""] * bands if isinstance(bands, int) else list(bands)
    extra = {key: options.pop(key) for key in ("scales", "offsets", "colorinterp") if key in options}
    profile = {
        "driver": driver, "width": size, "height": size, "count": len(names), "dtype": dtype,
        "crs": "EPSG:32631", "transform": from_origin(*origin, pixel, pixel), **options,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(
            np.arange(len(names) * size * size, dtype="float64").reshape(len(names), size, size).astype(dtype)
        )
        if any(names):
            dataset.descriptions = names
        if tags:
            dataset.update_tags(**tags)
        for key, value in extra.items():
            setattr(dataset, key, value)
    return path


def safe(folder: Path, baseline: str = "04.00", date: str = "2022-08-12", offset: int | None = -1000) -> Path:
    """A Sentinel-2 L2A product of two bands at 10 m, one at 20 m; B02 lies at 20 m too, as in real products."""
    day = date.replace("-", "")
    name = f"S2A_MSIL2A_{day}T105031_N{baseline.replace('.', '')}_R051_T31UFS_{day}T170000"
    root = folder / f"{name}.SAFE"
    images = root / "GRANULE" / f"L2A_T31UFS_A037_{day}T105030" / "IMG_DATA"
    for band, metres in (("B02", 10), ("B08", 10), ("B02", 20), ("B05", 20)):
        jpeg2000(images / f"R{metres}m" / f"T31UFS_{day}T105031_{band}_{metres}m.jp2", metres)
    listed = "".join(f'<BOA_ADD_OFFSET band_id="{number}">{offset}</BOA_ADD_OFFSET>' for number in range(13))
    offsets = "" if offset is None else f"<BOA_ADD_OFFSET_VALUES_LIST>{listed}</BOA_ADD_OFFSET_VALUES_LIST>"
    text = METADATA_L2A.format(name=name, date=date, baseline=baseline, offsets=offsets)
    (root / "MTD_MSIL2A.xml").write_text(text, encoding="utf-8")
    return root


def safe_level_1(folder: Path) -> Path:
    """A Sentinel-2 L1C product, whose images carry no resolution in their names; band 8 has an offset of its own."""
    name = "S2B_MSIL1C_20230812T105031_N0509_R051_T31UFS_20230812T170000"
    root = folder / f"{name}.SAFE"
    images = root / "GRANULE" / "L1C_T31UFS_A037_20230812T105030" / "IMG_DATA"
    for band, metres in (("B02", 10), ("B08", 10), ("B8A", 20), ("B10", 60)):
        jpeg2000(images / f"T31UFS_20230812T105031_{band}.jp2", metres)
    offsets = "".join(
        f'<RADIO_ADD_OFFSET band_id="{n}">{-2000 if n == 8 else -1000}</RADIO_ADD_OFFSET>' for n in range(13)
    )
    text = METADATA_L2A.format(name=name, date="2023-08-12", baseline="05.09", offsets=offsets)
    text = text.replace("BOA_QUANTIFICATION", "QUANTIFICATION").replace("Level-2A", "Level-1C")
    (root / "MTD_MSIL1C.xml").write_text(text, encoding="utf-8")
    return root


def jpeg2000(path: Path, metres: int) -> Path:
    """A lossless JPEG 2000 image of a 640 m square."""
    options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    return raster(path, 1, size=640 // metres, pixel=metres, **options)


def zipped(folder: Path) -> Path:
    """The folder as a zip beside it, the way products are downloaded."""
    target = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent).as_posix())
    return target


def landsat(folder: Path, level: str = "L2SP", metadata: bool = True) -> Path:
    """A Landsat 8 Collection 2 product folder with a quality band that is none to compute with."""
    name = f"LC08_{level}_038034_20150818_20200908_02_T1"
    root = folder / name
    prefix = "SR_" if level.startswith("L2") else ""
    for band in (2, 3, 4, 5):
        raster(root / f"{name}_{prefix}B{band}.TIF", 1, pixel=30.0, nodata=0)
    raster(root / f"{name}_QA_PIXEL.TIF", 1, pixel=30.0)
    if metadata:
        mult, add = ("2.75e-05", "-0.2") if level.startswith("L2") else ("2.0000E-05", "-0.100000")
        numbers = "".join(
            f"    REFLECTANCE_MULT_BAND_{n} = {mult}\n    REFLECTANCE_ADD_BAND_{n} = {add}\n" for n in (2, 3, 4, 5)
        )
        (root / f"{name}_MTL.txt").write_text(
            f'GROUP = LANDSAT_METADATA_FILE\n    LANDSAT_PRODUCT_ID = "{name}"\n    PROCESSING_LEVEL = "{level}"\n'
            '    SPACECRAFT_ID = "LANDSAT_8"\n    DATE_ACQUIRED = 2015-08-18\n    SUN_ELEVATION = 30.0\n'
            f"{numbers}END\n",
            encoding="ascii",
        )
    return root


def envi(path: Path, wavelengths: Sequence[float], unit: str = "Nanometers") -> Path:
    """A hyperspectral cube with its wavelengths in the ENVI header."""
    raster(path, len(wavelengths), driver="ENVI")
    header = path.with_suffix(".hdr")
    text = header.read_text()
    kept = text[: text.index("band names")]
    listed = ", ".join(f"{value:g}" for value in wavelengths)
    header.write_text(
        f"{kept}wavelength units = {unit}\nwavelength = {{{listed}}}\nreflectance scale factor = 10000\n"
        "acquisition time = 2021-06-01T10:00:00Z\n"
    )
    return path
