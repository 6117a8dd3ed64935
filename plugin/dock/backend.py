"""Section *Backend*: makes, renews and removes its environment; shown while there is none and when the user asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from qgis.core import Qgis, QgsApplication
from qgis.gui import QgsCollapsibleGroupBox, QgsFileWidget
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...backend.protocol.errors import EarthPrismError
from .. import settings
from ..environment import FULL, LIGHT, PREFERENCE, base_python, check_space, interpreter
from ..setup import Environment, Removal, SetUp, StaleCheck
from ..text import translate

_TAIL = 2000  # bytes of the log's end that are looked at for its last line
_LOOK_MS = 500


class BackendSection(QWidget):
    """Sets the backend up.

    Signals:
        changed: there is another backend, or none.
        stale: the environment was made for another version of the plugin.
    """

    changed = pyqtSignal()
    stale = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self._task: Optional[Any] = None
        self._environment: Optional[Environment] = None
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.full = QCheckBox(translate("With PyTorch: for GPUs, detectors and larger models; several GB"))
        self.wheels = _chooser(QgsFileWidget.StorageMode.GetDirectory)
        self.wheels.setToolTip(translate("A folder with all packages, for machines without a network"))
        self.base = _chooser(QgsFileWidget.StorageMode.GetFile)
        self.base.setToolTip(translate("Python 3.10 or newer that the environment is made of"))
        self.own = _chooser(QgsFileWidget.StorageMode.GetFile)
        self.own.setToolTip(translate("Python of an environment that already has the packages"))
        self.own.setFilePath(settings.backend_python())
        self.start_button, self.stop_button = QPushButton(translate("Set up")), QPushButton(translate("Cancel"))
        self.start_button.setObjectName("set-up")
        self.remove_button = QPushButton(translate("Remove"))
        self.copy_button = QPushButton(translate("Copy diagnostics"))
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.progress = QLabel()
        self.progress.setWordWrap(True)
        self._looking = QTimer(self)
        self._looking.setInterval(_LOOK_MS)
        self._looking.timeout.connect(self._look)
        self._lay_out()
        self.explain()
        self.start_button.clicked.connect(self.set_up)
        self.stop_button.clicked.connect(self.stop)
        self.remove_button.clicked.connect(self.remove)
        self.own.fileChanged.connect(self._use)

    def explain(self) -> None:
        """Say what a set-up does."""
        text = translate(
            "EarthPrism computes in a process of its own with its own Python packages; nothing is installed into QGIS. "
            "They need about 0.4 GB in {}."
        )
        self.words.setText(text.format(settings.environments()))
        self._show(running=False)

    def check(self) -> None:
        """Look whether what was set up is still what the plugin needs."""
        home = settings.environments()
        for name in PREFERENCE:
            if interpreter(home / name).is_file() and self._task is None:
                self._task = StaleCheck(Environment(name, home, interpreter(home / name)))
                self._task.ended.connect(lambda stale, name=name: self._checked(name, stale))
                QgsApplication.taskManager().addTask(self._task)
                return

    def _checked(self, name: str, stale: bool) -> None:
        self._task = None
        if stale:
            self.full.setChecked(name == FULL)
            self.words.setText(
                translate(
                    "The backend was set up for another version of EarthPrism. Set it up again; it is kept until then."
                )
            )
            self.stale.emit()

    def set_up(self) -> None:
        """Make the environment, or renew it."""
        name = FULL if self.full.isChecked() else LIGHT
        home, chosen = settings.environments(), self.base.filePath().strip()
        try:
            base = Path(chosen) if chosen else base_python()
            check_space(home, name)
        except EarthPrismError as error:
            self.progress.setText("⚠ " + error.sentence())
            self.progress.setVisible(True)
            return
        wheels = self.wheels.filePath().strip()
        self._environment = Environment(name, home, base, chosen, wheels, settings.network())
        task = SetUp(self._environment)
        task.told.connect(self.progress.setText)
        self._begin(task)
        self._looking.start()

    def remove(self) -> None:
        """Delete what a set-up made."""
        self._begin(Removal(settings.environments()))

    def stop(self) -> None:
        """Cancel what is under way."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self, task: Any) -> None:
        self._task = task
        task.ended.connect(self._over)
        self.progress.setText("")
        self._show(running=True)
        QgsApplication.taskManager().addTask(task)

    def _over(self, problem: str) -> None:
        self._task = None
        self._looking.stop()
        self._show(running=False)
        self.progress.setText("⚠ " + problem if problem else translate("Done."))
        self.progress.setVisible(True)
        self.changed.emit()

    def _look(self) -> None:
        """Show the last line of what the installer says."""
        if self._environment is None or not self._environment.log.is_file():
            return
        with self._environment.log.open("rb") as log:
            log.seek(max(0, self._environment.log.stat().st_size - _TAIL))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
        if lines:
            self.bar.setToolTip(lines[-1])
            self.progress.setText(lines[-1][:120])

    def _use(self, path: str) -> None:
        settings.set_backend_python(path.strip())
        self.changed.emit()

    def _show(self, running: bool) -> None:
        for part in (self.bar, self.stop_button, self.progress):
            part.setVisible(running)
        for part in (self.start_button, self.remove_button, self.full):
            part.setEnabled(not running)

    def _lay_out(self) -> None:
        fold = QgsCollapsibleGroupBox(translate("More"))
        fold.setCollapsed(True)
        form = QFormLayout(fold)
        form.addRow(translate("Folder of packages"), self.wheels)
        form.addRow(translate("Made of this Python"), self.base)
        form.addRow(translate("Use this environment"), self.own)
        buttons = QHBoxLayout()
        for button in (self.start_button, self.remove_button, self.copy_button, self.stop_button):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.words, self.full, fold):
            column.addWidget(part)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.progress)


def diagnostics(backend_words: str, python: str) -> str:
    """What a report of a problem should say of this machine."""
    lines = [
        f"EarthPrism, QGIS {Qgis.QGIS_VERSION}, {QgsApplication.osName()}",
        f"backend: {backend_words}",
        f"python: {python}",
        f"environments: {settings.environments()}",
    ]
    log = settings.environments() / "setup.log"
    if log.is_file():
        lines += ["set-up log:", *log.read_text("utf-8", "replace").splitlines()[-20:]]
    return "\n".join(lines)


def _chooser(mode: Any) -> QgsFileWidget:
    made = QgsFileWidget()
    made.setStorageMode(mode)
    return made
