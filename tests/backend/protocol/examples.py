"""One example of every message; its JSON form lies in tests/golden/messages under the same name."""

from __future__ import annotations

from dataclasses import replace

from backend.protocol import messages as m
from backend.protocol.jobs import (
    AreaSpec,
    AssessJob,
    ChangeJob,
    ComputeSpec,
    DesignJob,
    EmbedJob,
    ExportJob,
    GridSpec,
    InputSpec,
    InstallJob,
    LabelSpec,
    LearnJob,
    MaskSpec,
    RemoveJob,
    SegmentJob,
)

_OPTICAL = InputSpec(
    "ms",
    ("scene/B04.tif", "scene/B08.tif"),
    sensor="sentinel-2-l2a",
    date="2024-06-01",
    bands=("red", "nir"),
    unit="reflectance",
    offset=-1000.0,
    scale=0.0001,
    nodata=0.0,
)
_SEGMENT = SegmentJob(
    inputs=(_OPTICAL, InputSpec("sar", ("s1.tif",), unit="db")),
    models=("water-baseline-s2",),
    output="water.tif",
    confidence="confidence.tif",
    probabilities="probabilities.tif",
    polygons="water.gpkg",
    area=AreaSpec(extent=(0.0, 40.0, 1.0, 41.5), extent_crs="EPSG:4326"),
    mask=MaskSpec("scl.tif", (3, 8, 9)),
    grid=GridSpec("model", "EPSG:32631", 10.0),
    compute=ComputeSpec("cuda:0", "bf16", "torch", 4_000_000_000, 8),
    min_area=400.0,
    simplify=1.5,
    overlap=0.25,
    if_exists="resume",
)

REQUESTS = {
    "hello": m.Hello(1, 1, "dock"),
    "cancel": m.Cancel("7"),
    "shutdown": m.Shutdown(),
    "status": m.Status(),
    "inspect": m.Inspect(("Görlitz/szene.tif", 'NETCDF:"cube.nc":B04')),
    "plan": m.Plan(SegmentJob((InputSpec("raster", ("a.tif",)),), ("m",), "o.tif", area=AreaSpec(aoi="area.gpkg"))),
    "models-list": m.ListModels(),
    "models-describe": m.DescribeModel("water-baseline-s2"),
    "models-verify": m.VerifyModel("water-baseline-s2", ComputeSpec(device="cpu")),
    "models-fit": m.FitModels("segment", (_OPTICAL,), AreaSpec(aoi="area.gpkg"), GridSpec(crs="EPSG:32631")),
    "sensors": m.ListSensors(),
    "session-open": m.OpenSession((_OPTICAL,), ("encoder",), "labels.gpkg", "class"),
    "session-labels": m.UpdateLabels("4", "labels.gpkg"),
    "session-learn": m.LearnLabels("4"),
    "session-predict": m.PredictView("4", (1.0, 2.0, 3.0, 4.0), "EPSG:32631", "view.tif", 20.0),
    "session-suggest": m.SuggestLabels("4", 5, "suggested.gpkg"),
    "session-undo": m.UndoLabels("4"),
    "session-save": m.SaveSession("4", "my-orchards", "orchards.zip"),
    "session-close": m.CloseSession("4"),
    "segment": _SEGMENT,
    "embed": EmbedJob(
        (_OPTICAL,),
        ("skysense-v2-tiny",),
        "embedding.tif",
        feature="fused",
        compute=ComputeSpec(device="cpu"),
        overlap=0.5,
    ),
    "change": ChangeJob(
        (replace(_OPTICAL, role="before"), replace(_OPTICAL, role="after")),
        ("skysense-v2-tiny",),
        "difference.tif",
        changed="changed.tif",
        threshold="percentile:95",
        polygons="changed.gpkg",
        feature="fused",
        min_area=900.0,
    ),
    "learn": LearnJob(
        (_OPTICAL,), ("skysense-v2-tiny",), LabelSpec("labels.gpkg", "class", "fields"), "my-orchards", "orchards.tif"
    ),
    "assess": AssessJob("map.tif", LabelSpec("points.gpkg", "reference"), table="accuracy.csv"),
    "design": DesignJob("map.tif", "points.gpkg", 500, 40, 7),
    "export": ExportJob("water.tif", "handover"),
    "install": InstallJob("https://example.org/water.zip#sha256=" + "00" * 32),
    "remove": RemoveJob("my-orchards"),
}

EVENTS = {
    "welcome": m.Welcome(
        1,
        "0.1.0",
        "3.11.2",
        4711,
        "/home/ada/.local/share/earthprism/logs/backend.log",
        (m.Device("cpu", "EPYC", 24_000_000_000), m.Device("cuda:0", "H200", 0)),
        (m.Runtime("onnxruntime", "1.31.1"),),
        (m.ModelSummary("water-baseline-s2", "1.0.0", "Water", "bundle", "segmentation"),),
    ),
    "reply": m.Reply({"grid": {"width": 3, "pixel": [10.0, -10.0]}, "sure": True, "date": None}),
    "queued": m.Queued("cpu", 2),
    "waiting": m.Waiting("cuda:0", 4712),
    "progress": m.Progress("computing", 0.25, 16, 64, 3.5, 13.7),
    "chunk": m.ChunkWritten("classes", "water.tif.parts/classes.vrt", (2048, 512, 2048, 512)),
    "warning": m.Warned("the date is not known"),
    "log": m.Logged("onnxruntime int8 was chosen"),
    "result": m.Result({"output": "water.tif", "pixels": 12_000_000}),
    "error": m.Failed(m.ErrorInfo("source", "a.tif cannot be read", "it has no CRS", "assign one")),
    "cancelled": m.Stopped(),
}
