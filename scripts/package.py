"""Builds the plugin's zip and checks it the way the plugin site does; behind scripts/package.

    scripts/package [FOLDER]        writes FOLDER/earthprism-VERSION.zip, by default into dist/

What belongs into the zip stands in pb_tool.cfg; of that, what git tracks. The same files give the same zip, byte for
byte. The site refuses a zip without its metadata or its licence, with anything that bandit or detect-secrets finds,
with compiled code, or above 25 MB; what flake8 finds it shows to everybody. Exceptions are declared with their reasons
in .bandit, .flake8 and .secrets.baseline.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "earthprism"
LARGEST = 25_000_000  # bytes; the site's limit
REQUIRED = (
    "name", "qgisMinimumVersion", "description", "about", "version", "author", "email", "tracker", "repository",
)  # fmt: skip
COMPILED = (".so", ".dll", ".dylib", ".pyd", ".exe", ".pyc", ".o", ".a", ".jar")
WHEN = (2020, 1, 1, 0, 0, 0)  # of every file in the zip


def main(arguments: list[str]) -> int:
    """Build and check; returns an exit code."""
    target = Path(arguments[0] if arguments else ROOT / "dist")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / NAME
        stage(folder)
        metadata = read_metadata(folder)
        problems = [*problems_of_files(folder), *problems_of_metadata(metadata), *problems_of_code(folder)]
        if not problems:
            target.mkdir(parents=True, exist_ok=True)
            built = target / f"{NAME}-{metadata['version']}.zip"
            write_zip(folder, built)
            size = built.stat().st_size
            if size > LARGEST:
                built.unlink()
                problems.append(f"the zip has {size / 1e6:.1f} MB; the site takes {LARGEST / 1e6:g} MB")
    if problems:
        sys.stderr.write("\n".join([*problems, "no zip was written"]) + "\n")
        return 1
    sys.stderr.write(f"{built} ({size / 1e6:.1f} MB): nothing that the plugin site refuses\n")
    return 0


def stage(folder: Path) -> None:
    """Copy what belongs into the zip, without the permission to execute it."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "pb_tool.cfg", encoding="utf-8")
    files = parser["files"]
    names = [*files["python_files"].split(), *files["extras"].split(), *files["extra_dirs"].split()]
    command = [shutil.which("git") or "git", "ls-files", "-z", "--", *names]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listing.decode().split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def read_metadata(folder: Path) -> dict[str, str]:
    """The plugin's metadata."""
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their capitals
    parser.read(folder / "metadata.txt", encoding="utf-8")
    return dict(parser["general"])


def problems_of_metadata(metadata: dict[str, str]) -> list[str]:
    """What the site would say against the metadata."""
    found = [f"metadata.txt has no {key}" for key in REQUIRED if not metadata.get(key)]
    if not re.fullmatch(r"\d+\.\d+\.\d+", metadata.get("version", "")):
        found.append("the version in metadata.txt is not like 1.2.3")
    return found


def problems_of_files(folder: Path) -> list[str]:
    """What must not be in a zip, and what must."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [f"{path.relative_to(folder)} is compiled" for path in files if path.suffix in COMPILED]
    found += [f"{path.relative_to(folder)} is hidden" for path in folder.rglob(".*")]
    found += [f"{path.relative_to(folder)} is executable" for path in files if path.stat().st_mode & stat.S_IXUSR]
    return found + [f"there is no {name}" for name in ("LICENSE", "__init__.py") if not (folder / name).is_file()]


def problems_of_code(folder: Path) -> list[str]:
    """Findings of bandit, detect-secrets and flake8."""
    found = []
    for tool in (["bandit", "-q", "-r", ".", "--ini", ROOT / ".bandit"], ["flake8", "--config", ROOT / ".flake8", "."]):
        done = run(tool, folder)
        if done.returncode:
            found.append(f"{done.stdout}{done.stderr}".strip())
    done = run(["detect_secrets", "scan", "--all-files", "."], folder)
    if done.returncode:
        return [*found, done.stderr.strip()]
    known = json.loads((ROOT / ".secrets.baseline").read_text("utf-8"))["results"]
    declared = {(name, item["hashed_secret"]) for name, items in known.items() for item in items}
    return found + [
        f"{name}:{item['line_number']}: {item['type']}"
        for name, items in json.loads(done.stdout)["results"].items()
        for item in items
        if (name, item["hashed_secret"]) not in declared
    ]


def run(tool: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """A tool of this interpreter's environment, over a folder."""
    return subprocess.run([sys.executable, "-m", *tool], cwd=folder, capture_output=True, text=True)


def write_zip(folder: Path, target: Path) -> None:
    """Zip a folder as one that has the plugin's name; the same files give the same bytes."""
    draft = target.with_suffix(".part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(Path(NAME) / path.relative_to(folder)), WHEN)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    draft.replace(target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
