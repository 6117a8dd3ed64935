"""Job descriptions: what dock, Processing and command line alike hand to the backend.

Standard library only. A job is data: it names files, never holds pixels. A new job is a dataclass with a `kind`, added
to `SceneJob` or `Job` at the end of this module. Annotations are resolved when messages are decoded, on Python 3.9 too:
hence `Optional[...]` rather than `... | None`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Optional, Union

MODALITIES = ("hr", "ms", "sar", "raster")


@dataclass(frozen=True)
class InputSpec:
    """One raster input as the user gave it: one modality at one date.

    Attributes:
        modality: "hr", "ms", "sar" or "raster".
        paths: one or several GDAL names or folders (one file per band, or the tiles of a mosaic).
        sensor: sensor name of the catalogue; None lets `inspect` recognise it.
        date: acquisition date, ISO 8601; None takes it from metadata or file name.
        bands: band name of each dataset band that is used, in dataset order; None recognises them.
        unit: "dn", "reflectance", "db" or "linear" where the file does not say it.
        offset: value to add to digital numbers before scaling (Sentinel-2 baseline 04.00: -1000).
        scale: factor from digital numbers (after the offset) to the unit.
        nodata: value that means "no data", over and above what the file declares.
        role: "" or, for change, "before" / "after".
    """

    modality: str
    paths: tuple[str, ...]
    sensor: Optional[str] = None
    date: Optional[str] = None
    bands: Optional[tuple[str, ...]] = None
    unit: Optional[str] = None
    offset: Optional[float] = None
    scale: Optional[float] = None
    nodata: Optional[float] = None
    role: str = ""


@dataclass(frozen=True)
class AreaSpec:
    """Where to work: everything, an extent, or the polygons of a file.

    Attributes:
        aoi: polygon file in any CRS.
        extent: xmin, ymin, xmax, ymax.
        extent_crs: CRS of the extent; required with it.
    """

    aoi: Optional[str] = None
    extent: Optional[tuple[float, float, float, float]] = None
    extent_crs: Optional[str] = None


@dataclass(frozen=True)
class MaskSpec:
    """An extra mask raster, such as a cloud mask or scene classification.

    Attributes:
        path: the raster.
        values: pixel values that count as invalid; empty means "every value but 0".
    """

    path: str
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class GridSpec:
    """The grid of the result.

    Attributes:
        reference: "finest" (that of the finest raster of the model's main input, the first one of its inputs that is
            given), "model" (the main input's, resampled to pixels that the model knows) or the path of a raster.
        crs: output CRS.
        resolution: output pixel size in units of the output CRS.
    """

    reference: str = "finest"
    crs: Optional[str] = None
    resolution: Optional[float] = None


@dataclass(frozen=True)
class ComputeSpec:
    """How to compute.

    Attributes:
        device: "auto", "cpu", "cuda:N" or "mps".
        precision: "auto", "fp32", "bf16" or "int8".
        runtime: "auto", "onnxruntime" or "torch".
        memory: budget of the whole backend in bytes.
        batch: windows per call; 0 chooses.
    """

    device: str = "auto"
    precision: str = "auto"
    runtime: str = "auto"
    memory: int = 2_000_000_000
    batch: int = 0


@dataclass(frozen=True)
class SegmentJob:
    """Class map of a scene.

    Attributes:
        inputs: the rasters.
        models: names or paths of model packages; several heads of one encoder share its pass.
        output: final class raster (COG).
        confidence: confidence raster, None for none.
        probabilities: raster with one band per class, None for none.
        polygons: GeoPackage of class polygons, None for none.
        min_area: minimum mapping unit in square metres, 0 for none.
        simplify: simplification of polygon outlines in pixels, 0 for none.
        overlap: share of a window that its neighbour covers too; None takes the package's.
        if_exists: "refuse", "resume" or "overwrite".
    """

    kind: ClassVar[str] = "segment"

    inputs: tuple[InputSpec, ...]
    models: tuple[str, ...]
    output: str
    confidence: Optional[str] = None
    probabilities: Optional[str] = None
    polygons: Optional[str] = None
    area: AreaSpec = field(default_factory=AreaSpec)
    mask: Optional[MaskSpec] = None
    grid: GridSpec = field(default_factory=GridSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    min_area: float = 0.0
    simplify: float = 0.0
    overlap: Optional[float] = None
    if_exists: str = "refuse"


@dataclass(frozen=True)
class EmbedJob:
    """Dense embedding of a scene.

    Attributes:
        inputs: the rasters.
        models: the encoder package.
        output: final raster (COG), one float32 band per number of the embedding.
        feature: name of the encoder's feature; None takes the one that joins all inputs.
        overlap: share of a window that its neighbour covers too; None takes the package's.
        if_exists: "refuse", "resume" or "overwrite".
    """

    kind: ClassVar[str] = "embed"

    inputs: tuple[InputSpec, ...]
    models: tuple[str, ...]
    output: str
    feature: Optional[str] = None
    area: AreaSpec = field(default_factory=AreaSpec)
    mask: Optional[MaskSpec] = None
    grid: GridSpec = field(default_factory=GridSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    overlap: Optional[float] = None
    if_exists: str = "refuse"


@dataclass(frozen=True)
class ChangeJob:
    """What changed between two dates, or two series of dates.

    Attributes:
        inputs: the rasters, each with the role "before" or "after".
        models: one model: a change head, whose classes are written; a segmentation model, of which the classes of both
            dates are compared; or an encoder, the difference of whose embeddings is written.
        output: final raster (COG): classes of change, or with an encoder the difference, 0 to 2 float32.
        changed: raster of 1 where the difference reaches the threshold and 0 elsewhere, None for none; encoders only.
        threshold: "otsu", "percentile:95" or a number from 0 to 2; for `changed`.
        confidence: confidence raster, None for none; not with an encoder.
        probabilities: probability of each class of change, or that the class is another one; not with an encoder.
        polygons: GeoPackage of the polygons of the class raster, None for none.
        feature: name of the encoder's feature; None takes the one that joins all inputs; encoders only.
        min_area: minimum mapping unit of the class raster in square metres, 0 for none.
        simplify: simplification of polygon outlines in pixels, 0 for none.
        overlap: share of a window that its neighbour covers too; None takes the package's.
        if_exists: "refuse", "resume" or "overwrite".
    """

    kind: ClassVar[str] = "change"

    inputs: tuple[InputSpec, ...]
    models: tuple[str, ...]
    output: str
    changed: Optional[str] = None
    threshold: str = "otsu"
    confidence: Optional[str] = None
    probabilities: Optional[str] = None
    polygons: Optional[str] = None
    feature: Optional[str] = None
    area: AreaSpec = field(default_factory=AreaSpec)
    mask: Optional[MaskSpec] = None
    grid: GridSpec = field(default_factory=GridSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    min_area: float = 0.0
    simplify: float = 0.0
    overlap: Optional[float] = None
    if_exists: str = "refuse"


@dataclass(frozen=True)
class LabelSpec:
    """Labelled points, lines or polygons.

    Attributes:
        path: vector file.
        field: whose values are the classes.
        layer: of the file, "" for its first one.
    """

    path: str
    field: str
    layer: str = ""


@dataclass(frozen=True)
class LearnJob:
    """Make a head for maps from labels on a scene, and the map of that scene where it is wanted.

    Attributes:
        inputs: the rasters that the labels lie on.
        models: one encoder.
        labels: what was labelled.
        save: name of the head's package, which is installed.
        output: class raster of the scene by the new head, None for none; the next three likewise.
        confidence, probabilities, polygons: see `SegmentJob`.
        feature: name of the encoder's map; None takes the one that joins all inputs.
        min_area: minimum mapping unit of the map in square metres, 0 for none.
        simplify: simplification of polygon outlines in pixels, 0 for none.
        overlap: share of a window that its neighbour covers too; None takes the package's.
        if_exists: of the map: "refuse", "resume" or "overwrite".
    """

    kind: ClassVar[str] = "learn"

    inputs: tuple[InputSpec, ...]
    models: tuple[str, ...]
    labels: LabelSpec
    save: str
    output: Optional[str] = None
    confidence: Optional[str] = None
    probabilities: Optional[str] = None
    polygons: Optional[str] = None
    feature: Optional[str] = None
    area: AreaSpec = field(default_factory=AreaSpec)
    mask: Optional[MaskSpec] = None
    grid: GridSpec = field(default_factory=GridSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)
    min_area: float = 0.0
    simplify: float = 0.0
    overlap: Optional[float] = None
    if_exists: str = "refuse"


@dataclass(frozen=True)
class AssessJob:
    """Compare a class map with references.

    Attributes:
        path: the map, one band of bytes.
        reference: points, lines or polygons and the field that says what is there.
        table: CSV of the matrix, accuracies and areas, None for none.
        picture: SVG of the matrix, None for none.
    """

    kind: ClassVar[str] = "assess"

    path: str
    reference: LabelSpec
    table: Optional[str] = None
    picture: Optional[str] = None


@dataclass(frozen=True)
class DesignJob:
    """Draw a stratified random sample of a class map, to be labelled.

    Attributes:
        path: the map, one band of bytes.
        output: GeoPackage of the points.
        points: how many; more where `least` needs them.
        least: of each class.
        seed: of the draw.
    """

    kind: ClassVar[str] = "design"

    path: str
    output: str
    points: int = 300
    least: int = 30
    seed: int = 0


@dataclass(frozen=True)
class ExportJob:
    """Copy the results of a finished run into a folder, with styles and a table of areas.

    Attributes:
        run: main result of the run, or its description `OUT.run.json`.
        folder: new or empty.
    """

    kind: ClassVar[str] = "export"

    run: str
    folder: str


@dataclass(frozen=True)
class InstallJob:
    """Take a model package into the user's folder.

    Attributes:
        source: folder, zip or URL of the package; the last two may end in "#sha256=" and the zip's digest.
    """

    kind: ClassVar[str] = "install"

    source: str


@dataclass(frozen=True)
class RemoveJob:
    """Delete an installed model package."""

    kind: ClassVar[str] = "remove"

    name: str


# Jobs over a scene: they can be planned, and they hold a device while they run.
SceneJob = Union[SegmentJob, EmbedJob, ChangeJob]
Job = Union[SceneJob, LearnJob, AssessJob, DesignJob, ExportJob, InstallJob, RemoveJob]
