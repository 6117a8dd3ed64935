"""Makes and removes the backend's environment, in a process of its own, away from the window."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from qgis.core import QgsTask
from qgis.PyQt.QtCore import pyqtSignal

from .client import clean_environment
from .environment import SCRIPT
from .text import translate

STALE = 3  # exit code of the script


@dataclass(frozen=True)
class Environment:
    """Which environment, and how it is made.

    Attributes:
        name: "light" or "full".
        home: folder of the environments.
        base: Python that runs the script.
        chosen: Python that the environment is made of; "" leaves the choice to the script.
        wheels: folder with the packages, for machines without a network; "" for none.
        network: variables for the proxy.
    """

    name: str
    home: Path
    base: Path
    chosen: str = ""
    wheels: str = ""
    network: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What the installers said."""
        return self.home / "setup.log"

    def command(self, *options: str) -> list[str]:
        """How the script is called."""
        return [str(self.base), "-I", str(SCRIPT), self.name, *options]

    def variables(self) -> dict[str, str]:
        """What the script is told by variables."""
        told = {**self.network, "EARTHPRISM_ENVIRONMENTS": str(self.home), "EARTHPRISM_SYSTEM_PACKAGES": "no"}
        if self.chosen:
            told["EARTHPRISM_PYTHON"] = self.chosen
        if self.wheels:
            told |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels}
        return told


class SetUp(QgsTask):
    """Runs the script until the environment is there.

    Signals, received in the thread of the receiver:
        told: a line of what it does.
        ended: once; "" when the environment is ready, else why not.
    """

    told = pyqtSignal(str)
    ended = pyqtSignal(str)

    def __init__(self, environment: Environment) -> None:
        super().__init__(translate("EarthPrism: setting up the backend"), QgsTask.Flag.CanCancel)
        self._environment = environment
        self._process: Optional[subprocess.Popen[str]] = None
        self._problem = translate("It was cancelled.")

    def run(self) -> bool:
        """Wait for the script; runs in a thread of QGIS's task manager."""
        if self.isCanceled():
            return False
        try:
            self._process = started(self._environment.command(), self._environment.variables())
        except OSError as error:
            self._problem = str(error)
            return False
        assert self._process.stdout is not None
        last = ""
        for line in self._process.stdout:
            last = line.strip().removeprefix("earthprism: ")
            self.told.emit(last)
        code = self._process.wait()
        if not self.isCanceled():
            self._problem = "" if code == 0 else last
        return code == 0

    def cancel(self) -> None:
        """End the script and what it started; the environment that there was stays."""
        super().cancel()
        if self._process is not None:
            end(self._process)

    def finished(self, result: bool) -> None:
        """Report; runs in the window's thread."""
        self.ended.emit(self._problem)


class Removal(QgsTask):
    """Deletes the environments that were made from the dock.

    Signals: `ended`, "" or why not.
    """

    ended = pyqtSignal(str)

    def __init__(self, home: Path) -> None:
        super().__init__(translate("EarthPrism: removing the backend"), QgsTask.Flag.CanCancel)
        self._home, self._problem = home, ""

    def run(self) -> bool:
        """Delete; runs in a thread of QGIS's task manager."""
        try:
            if self._home.exists():
                shutil.rmtree(self._home)
        except OSError as error:
            self._problem = str(error)
        return not self._problem

    def finished(self, result: bool) -> None:
        """Report; runs in the window's thread."""
        self.ended.emit(self._problem)


class StaleCheck(QgsTask):
    """Asks whether an environment was made for another version of the plugin, or of a Python that has changed.

    Signals: `ended`, whether it was.
    """

    ended = pyqtSignal(bool)

    def __init__(self, environment: Environment) -> None:
        super().__init__(translate("EarthPrism: looking at the backend"), QgsTask.Flag.CanCancel)
        self._environment, self._stale = environment, False

    def run(self) -> bool:
        """Wait for the script; runs in a thread of QGIS's task manager."""
        try:
            process = started(self._environment.command("--check"), self._environment.variables())
        except OSError:
            self._stale = True  # the Python that it was made of is gone
            return True
        process.communicate()
        self._stale = process.returncode == STALE
        return True

    def finished(self, result: bool) -> None:
        """Report; runs in the window's thread."""
        self.ended.emit(self._stale)


def started(command: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    """A process that can be ended with all that it starts."""
    apart: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {"creationflags": 0x08000000}
    return subprocess.Popen(
        list(command),
        env=clean_environment(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        **apart,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a process and its children."""
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
