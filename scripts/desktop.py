"""Starts QGIS as a person has it, with a fresh profile that holds this plugin, and runs a script inside it.

For the demo, the pictures of the documentation and the tests of the desktop. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("qgis", "xvfb-run")
SETTINGS = """[PythonPlugins]
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


def missing() -> list[str]:
    """Programs that are needed and not there."""
    return [program for program in PROGRAMS if not shutil.which(program, path=_path())]


def start(
    code: Path,
    home: Path,
    python: Path,
    variables: Mapping[str, str],
    size: tuple[int, int] = (1280, 800),
    visible: bool = False,
    seconds: float | None = 180,
    log: Path | None = None,
) -> int:
    """Run QGIS until it is closed.

    Args:
        code: script that QGIS runs when it has started.
        home: empty folder for the profile.
        python: of the backend's environment.
        variables: environment variables for the script.
        size: of the virtual screen in pixels.
        visible: on the user's own display, not on a virtual one.
        seconds: after which QGIS is ended; None for never.
        log: file for what QGIS prints; None for this program's own output.

    Returns:
        QGIS's exit code.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    profile = home / "profiles" / "default"
    for part in ("QGIS", "python/plugins"):
        (profile / part).mkdir(parents=True)
    (profile / "python" / "plugins" / "earthprism").symlink_to(ROOT)
    (profile / "QGIS" / "QGIS3.ini").write_text(SETTINGS.format(python=python))
    command = ["qgis", "--profiles-path", str(home), "--profile", "default", "--nologo", "--lang", "en"]
    command += ["--code", str(code)]
    environment = _environment(home, visible) | dict(variables)
    if not visible:
        screen = f"-screen 0 {size[0]}x{size[1]}x24 -nolisten tcp"
        command = ["xvfb-run", "-a", "-s", screen, *command]
    if log is None:
        return subprocess.run(command, env=environment, timeout=seconds).returncode
    with log.open("wb") as sink:
        return subprocess.run(command, env=environment, timeout=seconds, stdout=sink, stderr=sink).returncode


def _path() -> str:
    """Where the system's programs are: QGIS finds its Python by it, and another one in front of it would be taken."""
    return "/usr/local/bin:/usr/bin:/bin"


def _environment(home: Path, visible: bool) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("QT_", "PYTHON", "PYENV"))}
    kept["PATH"] = _path()
    if not visible:
        folder = home / "run"
        folder.mkdir(mode=0o700)
        kept |= {"LC_ALL": "C.UTF-8", "LIBGL_ALWAYS_SOFTWARE": "1", "XDG_RUNTIME_DIR": str(folder)}
    return kept
