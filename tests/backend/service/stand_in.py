"""The real service with another segment job: it does what the job's first model says. Arguments: repository root.

The service loop, the wire, the lanes and the locks are those of the product. Of the checks before a job's turn only one
is kept: a job without a model is wrong.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

sys.path.insert(0, sys.argv[1])

from backend import service
from backend.protocol.errors import ParameterError, SourceError
from backend.protocol.jobs import SegmentJob
from backend.service import handlers
from backend.tasks.context import Context


def count(context: Context, number: str) -> dict[str, object]:
    for index in range(int(number)):
        context.check()
        context.progress("counting", index + 1, int(number))
        context.chunk("classes", "out.vrt", (index, 0, 1, 1))
    context.warn("that was easy")
    context.log("counted")
    return {"counted": int(number)}


def hold(context: Context) -> None:
    context.progress("holding", 0, 1)
    while True:
        context.wait(0.05)


def interrupt(context: Context) -> dict[str, object]:
    """Stops only through its callback, as a network does."""
    stopped: list[bool] = []
    context.on_cancel(lambda: stopped.append(True))
    context.progress("computing", 0, 1)
    while not stopped:
        time.sleep(0.02)
    context.check()
    return {}


def ignore(context: Context) -> None:
    context.progress("ignoring", 0, 1)
    while True:
        time.sleep(0.05)


def noise(context: Context) -> dict[str, object]:
    sys.stdout.write("python on stdout\n")
    sys.stdout.flush()
    library = ctypes.CDLL(None)
    library.puts(b'{"id":"1","job":"2","body":{"kind":"cancelled"}}')
    library.fflush(None)
    os.write(1, b"raw bytes without a newline")
    os.system("echo a child")
    return {"stdin": sys.stdin.read()}


def check(job: SegmentJob) -> None:
    if not job.models:
        raise ParameterError("no model was given")


def segment(job: SegmentJob, context: Context) -> object:
    what, *rest = job.models
    if what == "abort":
        os.abort()
    if what == "bug":
        raise ValueError("deliberate")
    if what == "exit":
        sys.exit(7)
    if what == "refuse":
        raise SourceError("a.tif cannot be used", "it has no CRS", "assign one")
    if what == "nan":
        return {"iou": float("nan")}
    if what == "text":
        return {"text": "x" * int(rest[0])}
    if what == "environment":
        return {"environment": dict(os.environ), "nice": os.nice(0), "path": sys.path}
    return {"count": count, "hold": hold, "interrupt": interrupt, "ignore": ignore, "noise": noise}[what](
        context, *rest
    )


handlers.JOBS[SegmentJob] = segment
handlers.CHECKS[SegmentJob] = check
service.main()
