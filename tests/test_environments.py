"""How environments are made, kept and renewed, in a copy of the repository's recipe; nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHEEL = "tinytool-1.0-py3-none-any.whl"


def make_wheel(folder: Path) -> str:
    """Write a wheel with one module and return its SHA-256."""
    import hashlib

    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tinytool.py", "VALUE = 41\n")
        wheel.writestr("tinytool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinytool\nVersion: 1.0\n")
        wheel.writestr("tinytool-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tinytool-1.0.dist-info/entry_points.txt", "[console_scripts]\ntiny=tinytool:main\n")
        wheel.writestr("tinytool-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository whose light environment consists of one tiny wheel."""
    for name in ("scripts", "locks", "wheels"):
        (tmp_path / name).mkdir()
    source = (ROOT / "scripts" / "environment.py").read_text()
    source = source.replace('"numpy, rasterio, onnxruntime, shapely, pyogrio, safetensors"', '"tinytool"')
    (tmp_path / "scripts" / "environment.py").write_text(source)
    digest = make_wheel(tmp_path / "wheels")
    (tmp_path / "locks" / "light.txt").write_text(f"tinytool==1.0 \\\n    --hash=sha256:{digest}\n")
    return tmp_path


def start(copy: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "EARTHPRISM_"))}
    environment.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(copy / "wheels"), PIP_CONFIG_FILE=os.devnull)
    command = [sys.executable, "-I", str(copy / "scripts" / "environment.py"), *arguments]
    return subprocess.Popen(
        command, env={**environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(copy: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    process = start(copy, *arguments, **variables)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output.strip(), errors


def test_made_once_then_found_and_renewed_when_the_lock_changes(copy: Path) -> None:
    code, python, progress = run(copy, "light")
    assert code == 0 and "making the light environment" in progress
    assert python == str(copy / ".venv" / "light" / "bin" / "python")
    assert (
        subprocess.run([python, "-c", "import tinytool; print(tinytool.VALUE)"], capture_output=True).stdout == b"41\n"
    )
    # scripts name the place where the environment is, not the one where it was built
    assert (copy / ".venv" / "light" / "bin" / "tiny").read_text().splitlines()[0] == f"#!{python}"
    assert run(copy, "light") == (0, python, "")
    assert run(copy, "backend") == (0, python, "")  # as long as there is no full environment

    # another interpreter in its place counts as another environment
    stamp = copy / ".venv" / "light" / "stamp.json"
    good = stamp.read_text()
    stamp.write_text(json.dumps({**json.loads(good), "base": "/gone/python3.10"}))
    assert run(copy, "light", "--check")[0] == 3
    stamp.write_text(good)

    lock = copy / "locks" / "light.txt"
    lock.write_text("# changed\n" + lock.read_text())
    assert run(copy, "light", "--check")[0] == 3
    code, again, progress = run(copy, "light")
    assert (code, again) == (0, python) and "making" in progress


def test_a_wrong_hash_is_refused_and_what_works_is_kept(copy: Path) -> None:
    _, python, _ = run(copy, "light")
    (copy / "locks" / "light.txt").write_text(f"tinytool==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    code, output, errors = run(copy, "light")
    assert (code, output) == (1, "") and "locks/light.txt" in errors and "Traceback" not in errors
    assert subprocess.run([python, "-c", "import tinytool"]).returncode == 0


def test_two_at_a_time_build_once(copy: Path) -> None:
    processes = [start(copy, "light") for _ in range(2)]
    results = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    assert [code for _, _, code in results] == [0, 0]
    assert results[0][0] == results[1][0] != ""
    assert sum("making" in errors for _, errors, _ in results) == 1


def test_without_packages_the_message_says_what_to_do(copy: Path) -> None:
    shutil.rmtree(copy / "wheels")
    code, output, errors = run(copy, "light")
    assert (code, output) == (1, "")
    assert not (copy / ".venv" / "light").exists()
    assert "PIP_FIND_LINKS" in errors and "HTTPS_PROXY" in errors and "Traceback" not in errors


def test_a_python_that_does_not_do_is_named(copy: Path) -> None:
    code, _, errors = run(copy, "light", EARTHPRISM_PYTHON="/no/such/python")
    assert code == 1 and "EARTHPRISM_PYTHON" in errors


def test_the_backend_imports_in_the_light_environment_without_torch(light_python: Path) -> None:
    """Every module that inference may meet, in one process that has neither torch nor development tools."""
    code = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1]); sys.path.insert(0, str(root))
for file in sorted((root / "backend").rglob("*.py")):
    parts = list(file.relative_to(root).with_suffix("").parts)
    if parts[1] in ("models", "train") or parts[-1] == "__main__": continue
    importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
print("torch" in sys.modules, "qgis" in sys.modules)
"""
    done = subprocess.run([light_python, "-I", "-c", code, ROOT], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("False False", 0), done.stderr
