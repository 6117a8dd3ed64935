"""The demo behind scripts/demo: EarthPrism inside a real QGIS, on a scene of its own or on rasters that are given.

    scripts/demo              water, and how it changed, on a generated place with known truth
    scripts/demo SCENE …      a map of your own rasters by the first model that takes them

Leaves `demo-output/` where it was called: the results (COG, GeoPackage), the QGIS project and map.png, which shows
what a person sees. QGIS stays open where there is a display.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from desktop import ROOT, missing, start

FOLDER = Path("demo-output")
SIZE = (1600, 900)  # of QGIS's window in pixels
WATER = 0  # of the truth's classes
FIRST, SECOND = "2019-05-16", "2019-10-13"  # dates of the sample scene


def main(arguments: list[str]) -> int:
    """Run the demo; returns an exit code."""
    if any(text.startswith("-") for text in arguments):
        return fail(__doc__ or "")
    lacking = missing()
    if lacking:
        return fail(f"{' and '.join(lacking)} cannot be found; install QGIS and Xvfb, then start the demo again.")
    folder = FOLDER.absolute()
    if folder.exists() and any(folder.iterdir()):
        return fail(f"{folder} holds something already; move it away or start the demo in another folder.")
    python = Path(output_of([sys.executable, str(ROOT / "scripts" / "environment.py"), "light"]).strip())
    folder.mkdir(exist_ok=True)
    try:
        plan = own(arguments) if arguments else sample(folder, python)
    except ValueError as error:
        return fail(str(error))
    visible = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    plan |= {"folder": str(folder), "stay": visible, "size": SIZE}
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "demo.json"
        told.write_text(json.dumps(plan), "utf-8")
        session = ROOT / "scripts" / "demo_session.py"
        seconds = None if visible else 1800
        say("QGIS starts" + ("." if visible else " on a virtual screen, for there is no display."))
        start(session, Path(scratch), python, {"DEMO": str(told)}, SIZE, visible, seconds, folder / "qgis.log")
    report = folder / "report.json"
    if not report.is_file():
        return fail(f"QGIS ended early; what it said is in {folder / 'qgis.log'}.")
    return summary(json.loads(report.read_text("utf-8")), folder)


def sample(folder: Path, python: Path) -> dict[str, Any]:
    """What to do on the generated place."""
    scene = folder / "scene"
    say("generating a place of 6 by 6 km: two dates, Sentinel-2, Sentinel-1, an aerial image, and the truth")
    output_of([str(python), str(ROOT / "scripts" / "sample_scene.py"), str(scene)])
    optical = {date: str(scene / f"sentinel2_{date}.tif") for date in (FIRST, SECOND)}
    truth = {date: str(scene / f"truth_{date}.tif") for date in (FIRST, SECOND)}
    radar, clouds = str(scene / f"sentinel1_{FIRST}.tif"), str(scene / f"clouds_{SECOND}.tif")
    inputs = [{"modality": "ms", "path": path} for path in optical.values()]
    return {
        "layers": [optical[SECOND], radar, clouds, str(scene / f"aerial_rgbn_{FIRST}.tif"), optical[FIRST]],
        "steps": [
            {
                "task": "segment",
                "inputs": inputs[:1],
                "result": "water.tif",
                "truth": {"values": [WATER], "files": [truth[FIRST]], "found": [1]},
            },
            {
                "task": "change",
                "inputs": inputs,
                "mask": clouds,
                "result": "water-change.tif",
                "truth": {"values": [WATER], "files": list(truth.values()), "found": [2, 3]},
            },
        ],
    }


def own(paths: list[str]) -> dict[str, Any]:
    """What to do with the user's rasters.

    Raises:
        ValueError: one of them cannot be read.
    """
    command = [str(ROOT / "scripts" / "earthprism"), "inspect", "--json"]
    inputs = []
    for text in paths:
        path = str(Path(text).absolute())
        if not Path(path).exists():
            raise ValueError(f"{text} does not exist.")
        found = json.loads(output_of([*command, path]))
        inputs.append({"modality": found.get("modality") or "hr", "path": path})
    layers = [chosen["path"] for chosen in inputs]
    return {"layers": layers, "steps": [{"task": "segment", "inputs": inputs, "result": "classes.tif"}]}


def summary(report: dict[str, Any], folder: Path) -> int:
    """Tell what came of it."""
    for run in report["runs"]:
        say(f"{run['result']} ({run['task']}): {run['words'].replace(chr(10), ' ')}")
        if "iou" in run:
            say(f"   intersection over union with the truth: {run['iou']}")
    if report["problem"]:
        return fail(report["problem"])
    say(f"results, project.qgz and map.png are in {folder}")
    return 0


def output_of(command: list[str]) -> str:
    """What a command prints.

    Raises:
        ValueError: it failed; its own last line says why.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout


def say(text: str) -> None:
    """A line for the user."""
    sys.stderr.write(f"demo: {text}\n")


def fail(text: str) -> int:
    """Say what is wrong; returns the exit code of wrong input."""
    say(text.strip())
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
