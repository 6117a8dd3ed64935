"""What every test may rely on, in the backend's environments and in QGIS's own Python alike."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _register_package() -> None:
    """Import the repository as `earthprism`, the name its folder has among QGIS's plugins."""
    specification = importlib.util.spec_from_file_location(
        "earthprism", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert specification is not None and specification.loader is not None
    package = importlib.util.module_from_spec(specification)
    sys.modules["earthprism"] = package
    specification.loader.exec_module(package)


if "earthprism" not in sys.modules:
    _register_package()


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Logs, locks and installed models of the tests and of the processes they start go to a folder of their own."""
    before = os.environ.get("EARTHPRISM_HOME")
    folder = tmp_path_factory.mktemp("home")
    os.environ["EARTHPRISM_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["EARTHPRISM_HOME"]
    else:
        os.environ["EARTHPRISM_HOME"] = before


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def kit() -> Path:
    """The data kit of real scenes; the test is skipped, visibly, where there is none."""
    folder = Path(os.environ.get("EARTHPRISM_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "splits.csv").is_file():
        pytest.skip("no data kit: set EARTHPRISM_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def light_python() -> Path:
    """The interpreter of the light environment, in which users run the backend."""
    python = Path(os.environ.get("EARTHPRISM_LIGHT_PYTHON") or ROOT / ".venv" / "light" / "bin" / "python")
    if not python.is_file():
        pytest.skip("no light environment: run scripts/environment.py light")
    return python


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Packages of the tiny encoders with graphs for onnxruntime, made once: an export takes a minute."""
    made: dict[str, Any] = {}

    def package(name: str) -> Any:
        from backend.manifest.load import load_folder
        from backend.train.recipes.encoder_package import EncoderPackage, run

        if name not in made:
            recipe = EncoderPackage(name, str(tmp_path_factory.mktemp("exported")), graphs="fp32,int8")
            made[name] = load_folder(Path(run(recipe)["package"]))
        return made[name]

    return package
