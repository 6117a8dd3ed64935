"""Sentinel-2 products in ESA's SAFE format: a folder, or its zip as downloaded.

Source: ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), user product metadata and image naming.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from backend.geo.source import describe
from backend.protocol.errors import SourceError
from backend.sensors.dates import dates_in
from backend.sensors.markup import Element, elements
from backend.sensors.parts import Coefficients, Part, Parts, Product, problems_of

# Band numbers (`band_id`) of the product metadata, in their order.
BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_IMAGE = re.compile(r"GRANULE/([^/]+)/IMG_DATA/(?:R\d\dm/)?[^/]*_(B\d\d|B8A)(?:_(\d\d)m)?\.(?:jp2|tif)$")
_METADATA = re.compile(r"^(?:MTD_MSI(L1C|L2A)|S2[ABC]_\w+_MTD_SAF(L1C|L2A)_\w+)\.xml$")
# Name of a band's image outside its product, as people load it alone.
_IMAGE_NAME = re.compile(r"T\d\d[A-Z]{3}_\d{8}T\d{6}_(?:B\d\d|B8A)(?:_\d\dm)?$")
_DEEPEST = (
    5  # folders between the product's and a band's image: GRANULE, the granule, IMG_DATA, R10m, and the product itself
)
_PROBLEM_FIX = "download the product again"


def is_safe(path: str) -> bool:
    """True for a Sentinel-2 SAFE folder, its zip, or the product metadata file inside."""
    local = Path(path)
    if _METADATA.match(local.name) and local.is_file():
        return True
    if local.is_dir():
        return any(_METADATA.match(child.name) for child in local.iterdir())
    if local.suffix.lower() == ".zip" and local.is_file() and zipfile.is_zipfile(local):
        with zipfile.ZipFile(local) as archive:
            return any(_METADATA.match(name.rsplit("/", 1)[-1]) for name in archive.namelist() if name.count("/") <= 1)
    return False


def take_apart(path: str) -> Parts:
    """Bands, offsets, baseline and date of a SAFE product; every band at its finest resolution.

    Raises:
        SourceError: files of the product are missing or damaged.
    """
    root, prefix, files = _listing(Path(path))
    metadata = [name for name in files if _METADATA.match(name)]
    if not metadata:
        raise SourceError(f'"{path}" is no complete SAFE product', "its product metadata file is missing", _PROBLEM_FIX)
    product = _product(root, metadata[0], files[metadata[0]])
    images = _finest(files)
    if not images:
        raise SourceError(f'"{path}" is no complete SAFE product', "it holds no image of a band", _PROBLEM_FIX)
    parts, datasets = [], []
    for band in BAND_IDS:
        if band not in images:
            continue
        paths = tuple(prefix + name for name in images[band])
        header = describe(paths[0])
        datasets.append(header)
        parts.append(Part(paths, 1, band, header.bands[0]))
    problems = problems_of(datasets)
    return Parts("SAFE", tuple(parts), tuple(datasets), (product.name,), product=product, problems=problems)


def product_around(image: Path) -> Product | None:
    """Metadata of the SAFE folder that a band's image lies in; None when it lies in none."""
    if not _IMAGE_NAME.match(image.stem):
        return None
    for folder in list(image.absolute().parents)[:_DEEPEST]:
        metadata = sorted(child for child in folder.iterdir() if _METADATA.match(child.name))
        if metadata:
            return _product(folder.name, metadata[0].name, metadata[0].read_bytes())
    return None


def _listing(path: Path) -> tuple[str, str, dict[str, bytes | None]]:
    """Product name, GDAL prefix, and the product's files by name inside it (with the content of its metadata files)."""
    if path.is_dir() or path.suffix.lower() != ".zip":
        folder = path if path.is_dir() else path.parent
        names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
        content = {name: (folder / name).read_bytes() if _METADATA.match(name) else None for name in names}
        return folder.resolve().name, f"{folder.as_posix()}/", content
    with zipfile.ZipFile(path) as archive:
        inside = [name for name in sorted(archive.namelist()) if not name.endswith("/")]
        top = next(name for name in inside if _METADATA.match(name.rsplit("/", 1)[-1])).rpartition("/")[0]
        start = f"{top}/" if top else ""
        names = [name[len(start) :] for name in inside if name.startswith(start)]
        content = {name: archive.read(start + name) if _METADATA.match(name) else None for name in names}
    return top or path.stem, f"/vsizip/{path.resolve().as_posix()}/{start}", content


def _finest(files: Iterable[str]) -> dict[str, list[str]]:
    """For every band the image of its finest resolution in each granule."""
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for name in files:
        match = _IMAGE.search(name)
        if match:
            granule, band, metres = match[1], match[2], int(match[3] or 0)
            best[band, granule] = min(best.get((band, granule), (metres, name)), (metres, name))
    found: dict[str, list[str]] = {}
    for (band, _), (_, name) in sorted(best.items()):
        found.setdefault(band, []).append(name)
    return found


def _product(root: str, file: str, document: bytes | None) -> Product:
    """What the product metadata file says."""
    items = elements(document or b"", file)
    match = _METADATA.match(file)
    level = ((match[1] or match[2]) if match else "").lower()
    quantification = _quantification(items, file)
    offsets = {
        element.attributes.get("band_id", ""): float(element.text)
        for element in items
        if element.name in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
    }
    coefficients = {
        band: Coefficients(1.0 / quantification, offsets.get(str(number), 0.0), "reflectance")
        for number, band in enumerate(BAND_IDS)
    }
    start = dates_in(_first(items, "PRODUCT_START_TIME")) or dates_in(root)
    return Product(
        name=re.sub(r"\.SAFE$", "", _first(items, "PRODUCT_URI") or root),
        sensor=f"sentinel-2-{level}",
        date=start[0] if start else None,
        baseline=_first(items, "PROCESSING_BASELINE") or None,
        coefficients=coefficients,
        nodata=_special(items, "NODATA"),
    )


def _quantification(items: list[Element], file: str) -> float:
    for name in ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"):
        text = _first(items, name)
        if text:
            return float(text)
    raise SourceError(f'the metadata file "{file}" is not complete', "it states no quantification value", _PROBLEM_FIX)


def _first(items: list[Element], name: str) -> str:
    return next((element.text for element in items if element.name == name and element.text), "")


def _special(items: list[Element], kind: str) -> float | None:
    """The pixel value that a `Special_Values` block reserves."""
    for element, following in zip(items, items[1:], strict=False):
        if element.name == "SPECIAL_VALUE_TEXT" and element.text == kind and following.name == "SPECIAL_VALUE_INDEX":
            return float(following.text)
    return None
