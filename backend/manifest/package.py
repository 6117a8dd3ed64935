"""What a model package says about itself, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 3  # number of the `earthprism:` form this program writes; older ones are upgraded on reading
KINDS = ("encoder", "head", "bundle")
TASKS = ("segment", "change", "classify", "detect", "embed")
MODALITIES = ("hr", "ms", "sar", "raster")  # the command line's options --hr, --ms, --sar, --raster
UNITS = ("reflectance", "radiance", "db", "linear", "kelvin", "dn")
ACTIVATIONS = ("identity", "softmax", "sigmoid")
RUNTIMES = ("onnxruntime", "torch")
PRECISIONS = ("fp32", "bf16", "int8")
MOMENTS = ("any", "before", "after")
RESIZINGS = ("bilinear", "cubic")
DETECTION_VALUES = 7  # of one box: x, y, width, height in pixels, angle in radians, score, class
DETECTION_SCORE = 5  # place of the score among them


@dataclass(frozen=True)
class BandNeed:
    """A band the model was trained on: found by name, else by wavelength or polarisation."""

    name: str
    center_nm: float | None = None
    width_nm: float | None = None
    polarisation: str | None = None


@dataclass(frozen=True)
class Step:
    """One operation of the closed list in `steps.py`; parameters hold one value, or one per band."""

    op: str
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()


@dataclass(frozen=True)
class InputSlot:
    """One image input of the graph.

    The tensor is (B, C, size, size), or (B, T, C, size, size) where `temporal`; its values are physical (`unit`) after
    `steps`, and exactly `fill` where the source is invalid (set after the steps).
    """

    name: str
    modality: str
    sensors: tuple[str, ...]
    bands: tuple[BandNeed, ...]
    unit: str
    size: int  # pixels per side the graph takes; differs from the tiling's window where the window is resized
    steps: tuple[Step, ...] = ()
    fill: float = 0.0
    dates: tuple[int, int] = (1, 1)  # fewest and most dates
    temporal: bool = False  # True: the graph's input has a date axis, also for a single date
    required: bool = True
    moment: str = "any"  # "before" or "after" for change
    resize: str = "bilinear"
    pixels_per_token: float | None = None  # grid pixels that one token covers, along one side
    gsd_m: tuple[float, float] = (0.0, float("inf"))
    days_input: str | None = None  # graph input (B, T) float32: day of the year of each date
    valid_input: str | None = None  # graph input (B, T) float32: 1 where the date is present, else 0; of a staged
    # package (B, T, s, s) with the size s of its joined features: 1 where the date has data there
    bands_input: str | None = None  # graph input (B, C) float32: 1 where the band is there; None needs every band


@dataclass(frozen=True)
class Tiling:
    """How a scene is cut, in pixels of the job's grid.

    Args:
        window: pixels per side of a window.
        multiple: windows start at multiples of this.
        margin: pixels along a window's edge that are trusted least; the default overlap is twice this.
    """

    window: int
    multiple: int = 1
    margin: int = 0


@dataclass(frozen=True)
class ClassInfo:
    """A class as stored in the raster: value, name, colour "#rrggbb"."""

    value: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, 0 to 255."""
        red, green, blue = (int(self.color[i : i + 2], 16) for i in (1, 3, 5))
        return red, green, blue


@dataclass(frozen=True)
class Output:
    """One output of the graph that tasks use: (B, len(classes), window, window) scores for maps.

    Of a detector it is (B, most boxes, `DETECTION_VALUES`), by falling score, which is -1 where there is no box.

    Classes are in channel order. `thresholds` is empty (the largest score wins) or holds one per class: for "sigmoid" a
    class is present from its threshold on. With "identity" the graph's own values are the scores.
    """

    name: str
    activation: str
    classes: tuple[ClassInfo, ...] = ()
    thresholds: tuple[float, ...] = ()
    nodata: int = 255


@dataclass(frozen=True)
class Feature:
    """A feature tensor an encoder gives and a head takes: (B, channels, size, size), or (B, channels) when size is 0.

    `slot` names the input whose own graph gives it, in a staged package; "" is given by the one graph, or by the join.
    """

    name: str
    channels: int
    size: int  # positions per side of a window; 0 for one vector per window
    slot: str = ""


@dataclass(frozen=True)
class Variant:
    """One way to compute the model, with the largest absolute difference allowed on the golden outputs.

    `stages`, in onnxruntime and of a staged package, are the graph files by slot name; `file` is then the join's.
    """

    runtime: str
    precision: str
    file: str
    tolerance: float
    architecture: str | None = None  # torch: registered name of the network
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)  # torch: its arguments
    stages: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Package:
    """A checked model package; `inputs` is empty for a head, which takes `features` of its encoder instead.

    An encoder with `joins` is staged: every input has a graph of its own, run once per date and only where the input is
    given; the join takes the features named here, one per input, of all dates as entries (B, N, channels, size, size)
    together with their days (B, N) and validity (B, N, size, size), and gives the features that belong to no slot.
    """

    root: Path
    name: str
    version: str
    title: str
    kind: str
    task: str
    tiling: Tiling
    variants: tuple[Variant, ...]
    inputs: tuple[InputSlot, ...] = ()
    outputs: tuple[Output, ...] = ()
    features: tuple[Feature, ...] = ()  # given by an encoder or bundle, taken by a head
    encoder: str | None = None  # digest of the encoder package a head belongs to
    golden: str = "golden.safetensors"
    style: str | None = None
    licence: str = "other"  # SPDX identifier, or "other" with the text in LICENSE
    attribution: str = ""
    description: str = ""
    architecture: str = "neural network"  # for people
    training: str = ""  # where and on what it was trained, for people
    created: str = "1980-01-01T00:00:00Z"
    digest: str = ""  # sha256 of SHA256SUMS, hexadecimal; known after loading
    joins: tuple[str, ...] = ()  # of a staged encoder, the features that its join takes

    @property
    def output(self) -> Output | None:
        """The output tasks use first; None for an encoder."""
        return self.outputs[0] if self.outputs else None

    @property
    def reference(self) -> str:
        """Name and version as written on a command line."""
        return f"{self.name}@{self.version}"

    def path(self, name: str) -> Path:
        """Full name of one of the package's files."""
        return self.root / name

    @property
    def staged(self) -> bool:
        """True when each input has a graph of its own."""
        return bool(self.joins)

    @property
    def head_inputs(self) -> dict[str, Feature]:
        """The features that a head's graph takes, by input name; for change those of both dates."""
        moments = ("before_", "after_") if self.task == "change" else ("",)
        return {moment + feature.name: feature for moment in moments for feature in self.features}

    def feature(self, name: str) -> Feature:
        """The feature with this name (KeyError when there is none)."""
        return {feature.name: feature for feature in self.features}[name]

    def slot(self, name: str) -> InputSlot:
        """The input with this name (KeyError when there is none)."""
        return {slot.name: slot for slot in self.inputs}[name]
