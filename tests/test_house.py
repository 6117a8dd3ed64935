"""The repository's own promises: metadata, licence, locks, and nothing in it that belongs to one machine."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HASHED = ("light", "full", "train", "qgis")
# The public package index that scripts/lock reads, and the wheels folder that users may name, are no machine's.
MACHINE = re.compile(r"(?<![\w.])/(?:work|opt|root|tmp)/[/\w.-]+|find-links *=|extra-index|index-url *=")


def tracked() -> list[Path]:
    """The files that git tracks."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """The file's text, or nothing where it is binary."""
    content = path.read_bytes()
    return "" if b"\0" in content[:8192] else content.decode("utf-8", errors="replace")


def metadata() -> configparser.SectionProxy:
    """The general section of metadata.txt, read as QGIS reads it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "metadata.txt", encoding="utf-8")
    return parser["general"]


def test_metadata_has_what_the_plugin_site_asks_for() -> None:
    general = metadata()
    required = [
        "name",
        "qgisMinimumVersion",
        "description",
        "about",
        "version",
        "author",
        "email",
        "repository",
        "tracker",
    ]
    assert [key for key in required if not general.get(key)] == []
    assert (general["name"], general["qgisMinimumVersion"], general["qgisMaximumVersion"]) == (
        "EarthPrism",
        "3.22",
        "4.99",
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", general["version"])
    assert general["license"] == "GPL-2.0-or-later"
    assert (ROOT / general["icon"]).is_file()


def test_description_is_one_short_line_without_markup() -> None:
    general = metadata()
    assert len(general["description"]) <= 200
    assert "<" not in general["description"] + general["about"]


def test_version_is_told_once_and_the_same_everywhere() -> None:
    assert metadata()["version"] in metadata()["changelog"]


def test_the_zip_holds_what_the_plugin_needs() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "pb_tool.cfg")
    files = parser["files"]
    names = [*files["python_files"].split(), *files["extras"].split(), *files["extra_dirs"].split()]
    assert {"__init__.py", "metadata.txt", "LICENSE", "plugin", "backend", "resources", "locks"} <= set(names)
    assert not {"tests", "docs", ".ci"} & set(names)


def test_licence_is_gpl_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text and "Version 2, June 1991" in text and "NO WARRANTY" in text


@pytest.mark.parametrize("name", HASHED)
def test_every_pin_of_a_lock_is_exact_and_hashed(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    pins = [entry for entry in entries if not entry.startswith("#")]
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+", pin), pin.splitlines()[0]
        assert "--hash=sha256:" in pin, pin.splitlines()[0]


@pytest.mark.parametrize("name", HASHED)
def test_locks_name_no_index_no_file_and_no_torch(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert "://" not in text and "@ " not in text and not re.search(r"^-", text, re.MULTILINE)
    assert not re.search(r"^(torch|torchvision|nvidia-\S*|triton)==", text, re.MULTILINE)


def test_torch_is_pinned_to_one_version_without_variant() -> None:
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+\n", (ROOT / "locks" / "torch.txt").read_text())


def test_locks_agree_on_versions() -> None:
    """What the light environment runs is what the train environment tests."""
    pins = {
        name: set(re.findall(r"^(\S+==[^\\\n]+)", (ROOT / "locks" / f"{name}.txt").read_text(), re.MULTILINE))
        for name in HASHED
    }
    versions = {name: {pin.split(" ;")[0].strip() for pin in found} for name, found in pins.items()}
    for name in ("light", "full"):
        assert versions[name] <= versions["train"], versions[name] - versions["train"]


def test_every_lower_bound_gives_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start, end = lines.index("[dependency-groups]"), lines.index("[tool.uv]")
    bounds = [line for line in lines[start:end] if re.match(r'\s+"[a-z].*>=', line)]
    assert len(bounds) > 20
    seen: set[str] = set()
    for line in bounds:
        name = re.split(r"[\[>]", line.strip().strip('"'))[0]
        block = "torch 2.13's own" in "\n".join(lines[start:end]) and name in TORCH_OWN
        assert "#" in line or block or name in seen, line
        seen.add(name)


TORCH_OWN = {"filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools"}


def test_nothing_names_a_machine() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or path.name in {"LICENSE"} or path.parent.name == "locks":
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def test_nothing_that_an_environment_makes_is_tracked() -> None:
    names = [str(path.relative_to(ROOT)) for path in tracked()]
    assert not [name for name in names if name.startswith(".venv") or name.endswith((".pyc", ".part", ".aux.xml"))]


def test_the_entry_point_holds_class_factory_only() -> None:
    body = ast.parse((ROOT / "__init__.py").read_text()).body
    assert isinstance(body[0], ast.Expr)
    assert [node.name for node in body if isinstance(node, ast.FunctionDef)] == ["classFactory"]
    assert all(isinstance(node, (ast.ImportFrom, ast.FunctionDef)) for node in body[1:])


@pytest.mark.parametrize("name", ["earthprism", "python", "bench", "lock", "test"])
def test_scripts_are_executable_and_parse(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.stat().st_mode & 0o111
    shell = script.read_text().splitlines()[0].removeprefix("#!").rsplit("/", 1)[1]
    subprocess.run([shell, "-n", str(script)], check=True)


def test_bench_names_what_there_is() -> None:
    done = subprocess.run([ROOT / "scripts" / "bench", "no-such"], capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr and done.stdout == ""


def test_environment_refuses_an_unknown_name() -> None:
    script = ROOT / "scripts" / "environment.py"
    done = subprocess.run([sys.executable, "-I", script, "heavy"], capture_output=True, text=True)
    assert done.returncode == 2 and "light" in done.stderr and done.stdout == ""
