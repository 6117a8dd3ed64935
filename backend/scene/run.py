"""The description of a run: what makes its pixels what they are, kept beside them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.protocol.errors import OutputError, ResumeError

FILE = "run.json"
SCHEMA = 1


@dataclass(frozen=True)
class RunFolder:
    """The folder of an unfinished run.

    Attributes:
        path: `OUT.tif.parts`.
        run_id: identifier that all files of this run carry in their path.
        description: what is computed; see `open_run`.
    """

    path: Path
    run_id: str
    description: dict[str, Any]

    def remove(self) -> None:
        """Delete the folder with everything in it.

        It loses its name first: a removal that is cut off must not leave a run of which some chunks, and the sums that
        they were made from, are gone. What it leaves is taken away by `clear_removed`.
        """
        _delete(_removed(self.path))
        try:
            os.replace(self.path, _removed(self.path))
        except OSError as error:
            raise _cannot_be_removed(self.path, error) from error
        _delete(_removed(self.path))


def parts_folder(output: Path) -> Path:
    """Where the parts of an unfinished result lie."""
    return output.with_name(output.name + ".parts")


def clear_removed(output: Path) -> None:
    """Delete what is left of a run's folder whose removal was cut off.

    Raises:
        OutputError: when it cannot be deleted.
    """
    _delete(_removed(parts_folder(output)))


def _removed(path: Path) -> Path:
    """Name of a run's folder that is being deleted."""
    return path.with_name(path.name + ".removed")


def _delete(path: Path) -> None:
    """Delete a folder where there is one."""
    try:
        if path.exists():
            shutil.rmtree(path)
    except OSError as error:
        raise _cannot_be_removed(path, error) from error


def _cannot_be_removed(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f'the finished parts in "{path}" cannot be removed',
        error.strerror or str(error),
        "delete the folder by hand",
    )


def stored_description(output: Path) -> dict[str, Any] | None:
    """What is stored of an unfinished run of this output, "schema", "run" and "description"; None when there is none.

    Raises:
        ResumeError: when the folder is there but its description is not readable.
    """
    path = parts_folder(output)
    if not path.exists():
        return None
    try:
        if _barely_begun(path):
            return None
        stored = json.loads((path / FILE).read_text("utf-8"))
        if stored["schema"] != SCHEMA:
            raise ResumeError(
                f'"{path}" was written by another version of EarthPrism',
                "",
                "finish it there, or start again with --overwrite",
            )
        return {"schema": SCHEMA, "run": str(stored["run"]), "description": dict(stored["description"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f'"{path}" is not a run that can be resumed',
            f"its {FILE} cannot be read",
            "start again with --overwrite, or choose another output",
        ) from error


def open_run(output: Path, description: Mapping[str, Any], if_exists: str) -> RunFolder:
    """Start a run, or continue the one that is there.

    Args:
        output: final name of the main result.
        description: JSON values that decide the pixels: models, inputs, grid, tiling, runtime, …
        if_exists: "refuse", "resume" or "overwrite".

    Raises:
        ResumeError: when a run is there and must not be touched, or differs from the description.
        OutputError: when the folder cannot be made.
    """
    path = parts_folder(output)
    if if_exists == "overwrite" and path.exists():
        _remove_old(path)
    stored = stored_description(output)
    if stored is not None:
        if if_exists != "resume":
            raise ResumeError(
                f'an unfinished run is in "{path}"', "", "continue it with --resume or start again with --overwrite"
            )
        check_same(stored["description"], description)
        return RunFolder(path, stored["run"], stored["description"])
    run_id = secrets.token_hex(4)
    content = {"schema": SCHEMA, "run": run_id, "description": dict(description)}
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / FILE, content)
    except OSError as error:
        raise OutputError(
            f'the folder "{path}" cannot be made',
            error.strerror or str(error),
            "choose an output in a folder that you can write to",
        ) from error
    return RunFolder(path, run_id, dict(description))


def check_same(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to take up a run that computes something else.

    Raises:
        ResumeError: naming what differs.
    """
    differences = list(_differences(stored, json.loads(json.dumps(wanted))))
    if differences:
        raise ResumeError(
            "this is not the run that was begun",
            "; ".join(differences[:3]),
            "give the same inputs, models and options to resume, or start again with --overwrite",
        )


def run_file(output: Path) -> Path:
    """Where the description of a finished run lies."""
    return output.with_name(f"{output.stem}.run.json")


def finished_description(output: Path, keys: Collection[str]) -> dict[str, Any] | None:
    """The description of a finished run of this output, of all that is noted the values of `keys`; None without one.

    Raises:
        ResumeError: when there is a result whose description cannot be read.
    """
    if not output.exists() or parts_folder(output).exists():
        return None
    path = run_file(output)
    try:
        noted = json.loads(path.read_text("utf-8"))
        return {key: noted[key] for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f'"{output}" exists, and nothing tells how it was made',
            f'"{path.name}" is not there or cannot be read',
            "start again with --overwrite, or choose another output",
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file completely or not at all, also when the machine stops right afterwards.

    Raises:
        OSError: as writing does.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _barely_begun(path: Path) -> bool:
    """True for what a run leaves behind that was killed before its description was complete."""
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= {f"{FILE}.part"}


def _remove_old(path: Path) -> None:
    if not (path / FILE).exists() and not _barely_begun(path):
        raise ResumeError(
            f'"{path}" does not look like a run of EarthPrism',
            f"it holds no {FILE}",
            "remove it by hand or choose another output",
        )
    RunFolder(path, "", {}).remove()


def _differences(stored: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """What differs between two JSON values, one line per difference."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            yield from _differences(stored.get(key), wanted.get(key), f"{name} {key}".strip())
    elif isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        for position, (a, b) in enumerate(zip(stored, wanted, strict=True), start=1):
            yield from _differences(a, b, f"{name} {position}")
    elif stored != wanted:
        yield f"{name} was {_short(stored)} and is now {_short(wanted)}"


def _short(value: Any) -> str:
    """JSON on one line; of long values both ends, since names and CRS differ at their end."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:30]}…{text[-49:]}"
