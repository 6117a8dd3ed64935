"""The plugin in the desktop program itself, on a virtual screen: as a user installs, clicks and removes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

ROOT = Path(__file__).resolve().parents[2]
PROFILE = """[PythonPlugins]
earthprism=true
[earthprism]
python={python}
[app]
checkVersion=false
[qgis]
checkVersion=false
showTips=false
[locale]
overrideFlag=true
userLocale=en_US
"""


@pytest.fixture
def profile(tmp_path: Path, light_python: Path) -> Path:
    """A fresh QGIS profile with the repository as an enabled plugin."""
    home = tmp_path / "profiles" / "default"
    (home / "QGIS").mkdir(parents=True)
    (home / "python" / "plugins").mkdir(parents=True)
    (home / "python" / "plugins" / "earthprism").symlink_to(ROOT)
    (home / "QGIS" / "QGIS3.ini").write_text(PROFILE.format(python=light_python))
    return tmp_path


@pytest.mark.slow
def test_loads_checks_the_backend_and_unloads_in_desktop_qgis(profile):
    if not (shutil.which("xvfb-run") and shutil.which("qgis")):
        pytest.skip("needs the programs qgis and xvfb-run")
    (profile / "run").mkdir(mode=0o700)
    report = profile / "report.json"
    environment = {key: value for key, value in os.environ.items() if key != "QT_QPA_PLATFORM"}
    environment.update(
        LC_ALL="C.UTF-8", LIBGL_ALWAYS_SOFTWARE="1", XDG_RUNTIME_DIR=str(profile / "run"), EARTHPRISM_REPORT=str(report)
    )
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24 -nolisten tcp", "qgis", "--profiles-path", str(profile)]
    command += [
        "--profile",
        "default",
        "--nologo",
        "--lang",
        "en",
        "--code",
        str(Path(__file__).with_name("desktop_user.py")),
    ]
    log = profile / "qgis.log"
    with log.open("wb") as sink:
        code = subprocess.run(command, env=environment, stdout=sink, stderr=sink, timeout=120).returncode
    assert report.is_file(), (code, log.read_text(errors="replace")[-3000:])
    seen = json.loads(report.read_text())
    assert seen.pop("message").count("version") == 1, seen
    assert seen == {"loaded": True, "in_raster_menu": 1, "in_toolbar": 0, "level": 3, "left": [], "modules": []}
