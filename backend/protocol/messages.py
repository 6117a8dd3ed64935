"""Every message between a client and the backend, and the version they agree on.

A `Request` goes to the backend, an `Event` comes back. The envelope holds the identifiers, the body says what it is
about: a query or a control message of this module, or a job of `jobs`. Every body has one golden file in the tests.
Standard library only; annotations are resolved at run time on Python 3.9, hence `Optional` and `Union`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional, Union

from .jobs import AreaSpec, ComputeSpec, GridSpec, InputSpec, Job, SceneJob

# Versions of the protocol that this code speaks; the newest one that both sides know is used.
OLDEST_VERSION = 1
NEWEST_VERSION = 1


# --- control -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """First request of every client; its fields never change, so that any two versions can at least disagree politely.

    Attributes:
        oldest: oldest protocol version the client speaks.
        newest: newest protocol version the client speaks.
        client: who asks, for the log.
    """

    kind: ClassVar[str] = "hello"

    oldest: int
    newest: int
    client: str = ""


@dataclass(frozen=True)
class Cancel:
    """Stop a job; answered at once by a `Reply` with `cancelling`, the job itself ends with `Stopped`.

    Attributes:
        job: id of the request that started the job.
    """

    kind: ClassVar[str] = "cancel"

    job: str


@dataclass(frozen=True)
class Shutdown:
    """End the backend; running jobs are cancelled first."""

    kind: ClassVar[str] = "shutdown"


# --- queries: answered at any time, also while a job runs --------------------------------------------------------


@dataclass(frozen=True)
class Inspect:
    """What rasters are: grid, bands, sensor, units, dates, doubts.

    Attributes:
        paths: GDAL names or folders that make up one input.
    """

    kind: ClassVar[str] = "inspect"

    paths: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a job would do: tiles, memory, time, warnings; nothing is written."""

    kind: ClassVar[str] = "plan"

    job: SceneJob


@dataclass(frozen=True)
class ListModels:
    """The installed and the built-in model packages."""

    kind: ClassVar[str] = "models-list"


@dataclass(frozen=True)
class DescribeModel:
    """All that a model package says about itself.

    Attributes:
        name: name or path of the package.
    """

    kind: ClassVar[str] = "models-describe"

    name: str


@dataclass(frozen=True)
class VerifyModel:
    """Check a package's digests and its golden outputs on this machine.

    Attributes:
        name: name or path of the package.
    """

    kind: ClassVar[str] = "models-verify"

    name: str
    compute: ComputeSpec = field(default_factory=ComputeSpec)


@dataclass(frozen=True)
class FitModels:
    """Which models take the inputs for a task, and why the others do not.

    Attributes:
        task: what the models are for, such as "segment" or "embed".
        inputs: the rasters; none lists the models alone.
        area: where to work.
        grid: of the result.
    """

    kind: ClassVar[str] = "models-fit"

    task: str
    inputs: tuple[InputSpec, ...] = ()
    area: AreaSpec = field(default_factory=AreaSpec)
    grid: GridSpec = field(default_factory=GridSpec)


@dataclass(frozen=True)
class ListSensors:
    """The sensors that an input can be said to be of."""

    kind: ClassVar[str] = "sensors"


@dataclass(frozen=True)
class Status:
    """What the backend is doing."""

    kind: ClassVar[str] = "status"


# --- label session: learning from labels while the user draws them ------------------------------------------------


@dataclass(frozen=True)
class OpenSession:
    """Start a label session; its request id names the session from then on.

    Attributes:
        inputs: the rasters to learn on.
        models: the encoder's package.
        labels: vector file of the labels.
        label_field: column of the class names.
        area: where features are computed.
    """

    kind: ClassVar[str] = "session-open"

    inputs: tuple[InputSpec, ...]
    models: tuple[str, ...]
    labels: str
    label_field: str
    area: AreaSpec = field(default_factory=AreaSpec)
    compute: ComputeSpec = field(default_factory=ComputeSpec)


@dataclass(frozen=True)
class UpdateLabels:
    """The user changed the labels; the vector file holds the new state.

    Attributes:
        session: id of the request that opened the session.
        labels: vector file of the labels.
    """

    kind: ClassVar[str] = "session-labels"

    session: str
    labels: str


@dataclass(frozen=True)
class LearnLabels:
    """Fit the head to the present labels."""

    kind: ClassVar[str] = "session-learn"

    session: str


@dataclass(frozen=True)
class PredictView:
    """Map what the user looks at.

    Attributes:
        session: id of the request that opened the session.
        extent: xmin, ymin, xmax, ymax.
        crs: CRS of the extent.
        output: raster to write.
        resolution: pixel size in units of the CRS; None takes the scene's.
    """

    kind: ClassVar[str] = "session-predict"

    session: str
    extent: tuple[float, float, float, float]
    crs: str
    output: str
    resolution: Optional[float] = None


@dataclass(frozen=True)
class SuggestLabels:
    """Places where a label would teach the head most.

    Attributes:
        session: id of the request that opened the session.
        count: how many places.
        output: vector file to write.
    """

    kind: ClassVar[str] = "session-suggest"

    session: str
    count: int
    output: str


@dataclass(frozen=True)
class UndoLabels:
    """Go back to the head as it was some fits ago.

    Attributes:
        session: id of the request that opened the session.
        steps: how many fits.
    """

    kind: ClassVar[str] = "session-undo"

    session: str
    steps: int = 1


@dataclass(frozen=True)
class SaveSession:
    """Keep the learned head as a model package.

    Attributes:
        session: id of the request that opened the session.
        name: name of the new package.
        path: folder or zip to write; None installs it.
    """

    kind: ClassVar[str] = "session-save"

    session: str
    name: str
    path: Optional[str] = None


@dataclass(frozen=True)
class CloseSession:
    """End a label session; what was not saved is gone."""

    kind: ClassVar[str] = "session-close"

    session: str


# --- what the backend says ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """Something to compute on.

    Attributes:
        name: "cpu", "cuda:N" or "mps".
        title: the maker's name for it.
        memory: memory in bytes, 0 where it is not known.
    """

    name: str
    title: str
    memory: int


@dataclass(frozen=True)
class Runtime:
    """An installed engine for networks.

    Attributes:
        name: "onnxruntime" or "torch".
        version: its version.
    """

    name: str
    version: str


@dataclass(frozen=True)
class ModelSummary:
    """One usable model package.

    Attributes:
        name: what `--model` takes.
        version: the package's version.
        title: a name for people.
        model_kind: "encoder", "head" or "bundle".
        task: what it is for.
    """

    name: str
    version: str
    title: str
    model_kind: str
    task: str


@dataclass(frozen=True)
class Welcome:
    """Answer to `Hello`.

    Attributes:
        version: protocol version from now on.
        program: version of EarthPrism.
        python: version of the backend's Python.
        pid: process number of the backend.
        log: the log file, "" when none could be opened.
    """

    kind: ClassVar[str] = "welcome"

    version: int
    program: str
    python: str
    pid: int
    log: str
    devices: tuple[Device, ...] = ()
    runtimes: tuple[Runtime, ...] = ()
    models: tuple[ModelSummary, ...] = ()


@dataclass(frozen=True)
class Reply:
    """Answer to a query or a control message."""

    kind: ClassVar[str] = "reply"

    result: dict[str, Any]


@dataclass(frozen=True)
class Queued:
    """The job waits for other jobs of this backend.

    Attributes:
        device: what they compute on.
        ahead: how many jobs come first.
    """

    kind: ClassVar[str] = "queued"

    device: str
    ahead: int


@dataclass(frozen=True)
class Waiting:
    """The job waits for another process that holds the device.

    Attributes:
        device: the device.
        pid: the holder's process number, 0 where it is not known.
    """

    kind: ClassVar[str] = "waiting"

    device: str
    pid: int


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        stage: what is being done, one word or two.
        fraction: share of the stage that is done, 0 to 1.
        done: units done, those of an earlier run included.
        total: units in all.
        rate: units per second in this run, 0 while not known.
        seconds_left: estimate for this stage; None while not known.
    """

    kind: ClassVar[str] = "progress"

    stage: str
    fraction: float
    done: int
    total: int
    rate: float = 0.0
    seconds_left: Optional[float] = None


@dataclass(frozen=True)
class ChunkWritten:
    """A part of a result is finished and can be shown.

    Attributes:
        output: which result: "classes", "confidence", ...
        vrt: the raster of all finished parts.
        window: column, row, width, height of the new part on the run's grid, in pixels.
    """

    kind: ClassVar[str] = "chunk"

    output: str
    vrt: str
    window: tuple[int, int, int, int]


@dataclass(frozen=True)
class Warned:
    """Something the user should know; the job goes on."""

    kind: ClassVar[str] = "warning"

    text: str


@dataclass(frozen=True)
class Logged:
    """A line for the run's log."""

    kind: ClassVar[str] = "log"

    text: str


@dataclass(frozen=True)
class Result:
    """Last event of a job that was completed."""

    kind: ClassVar[str] = "result"

    result: dict[str, Any]


@dataclass(frozen=True)
class ErrorInfo:
    """An `EarthPrismError` as it crosses the border; see there."""

    code: str
    what: str
    why: str
    fix: str


@dataclass(frozen=True)
class Failed:
    """Last event of a request that failed."""

    kind: ClassVar[str] = "error"

    error: ErrorInfo


@dataclass(frozen=True)
class Stopped:
    """Last event of a job that was cancelled; what is finished is kept."""

    kind: ClassVar[str] = "cancelled"


# --- envelopes ---------------------------------------------------------------------------------------------------

Control = Union[Hello, Cancel, Shutdown, Status]
Query = Union[Inspect, Plan, ListModels, DescribeModel, VerifyModel, FitModels, ListSensors]
SessionMessage = Union[
    OpenSession, UpdateLabels, LearnLabels, PredictView, SuggestLabels, UndoLabels, SaveSession, CloseSession
]
RequestBody = Union[Control, Query, SessionMessage, Job]
JobEvent = Union[Queued, Waiting, Progress, ChunkWritten, Warned, Logged]
LastEvent = Union[Welcome, Reply, Result, Failed, Stopped]
EventBody = Union[JobEvent, LastEvent]


@dataclass(frozen=True)
class Request:
    """A message to the backend.

    Attributes:
        id: chosen by the client, never used twice in one connection, not empty.
        body: what is asked.
    """

    id: str
    body: RequestBody


@dataclass(frozen=True)
class Event:
    """A message from the backend.

    Attributes:
        id: running number of the backend's messages.
        job: id of the request it is about; "" when it is about none.
        body: what is said.
    """

    id: str
    job: str
    body: EventBody
