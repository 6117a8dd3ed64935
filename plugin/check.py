"""Starts the backend, asks what it has, and stops it: does the installation work?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Optional

from qgis.core import QgsTask
from qgis.PyQt.QtCore import QCoreApplication

from ..backend.protocol.errors import EarthPrismError
from ..backend.protocol.messages import Welcome
from .client import Client, start_command
from .environment import ROOT

Report = Callable[[Optional[Welcome], Optional[EarthPrismError]], None]


class BackendCheck(QgsTask):
    """Says hello to a backend of its own, away from the GUI thread.

    Args:
        python: the backend's interpreter.
        report: called in the GUI thread with the backend's answer or the error; not called after a cancel.
    """

    def __init__(self, python: Path, report: Report) -> None:
        title = QCoreApplication.translate("EarthPrism", "Checking the EarthPrism backend")
        super().__init__(title, QgsTask.Flag.CanCancel)
        self._report = report
        self._client = Client(start_command(str(python), ROOT), name="QGIS: backend check")
        self._welcome: Optional[Welcome] = None
        self._error: Optional[EarthPrismError] = None

    def run(self) -> bool:
        """Start, greet, stop; runs in a thread of QGIS's task manager."""
        try:
            self._welcome = self._client.start()
        except EarthPrismError as error:
            self._error = error
        finally:
            self._client.close()
        return self._error is None

    def cancel(self) -> None:
        """Give up, also when the backend has not answered yet."""
        super().cancel()
        self._client.close()

    def finished(self, result: bool) -> None:
        """Hand over what was found; runs in the GUI thread."""
        if not self.isCanceled():
            self._report(self._welcome, self._error)


def summary(welcome: Welcome) -> str:
    """What the backend said, in one line for the message bar."""
    text = QCoreApplication.translate(
        "EarthPrism", "version {version} on {devices}; runtimes: {runtimes}; models: {models}"
    )
    none = QCoreApplication.translate("EarthPrism", "none")
    return text.format(
        version=welcome.program,
        devices=", ".join(_device(device.name, device.memory) for device in welcome.devices) or none,
        runtimes=", ".join(f"{runtime.name} {runtime.version}" for runtime in welcome.runtimes) or none,
        models=", ".join(model.name for model in welcome.models) or none,
    )


def _device(name: str, memory: int) -> str:
    return f"{name} ({memory / 1e9:.0f} GB)" if memory else name
