"""Section *Run*: what it will take, the button, and a panel for every run that is under way or over."""

from __future__ import annotations

from typing import Any, Optional

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QGridLayout, QLabel, QProgressBar, QPushButton, QToolButton, QVBoxLayout, QWidget

from ...backend.protocol.messages import JobEvent, Progress, Queued, Waiting, Warned
from ..jobs import Ending, Run
from ..text import plain, translate


class RunPanel(QWidget):
    """One run: its name, how far it is, Cancel; at the end what came of it.

    Args:
        run: followed from now on.
        title: name of the run.
    """

    closed = pyqtSignal()
    again = pyqtSignal()

    def __init__(self, run: Run, title: str) -> None:
        super().__init__()
        self._run: Optional[Run] = run
        self.warnings: list[str] = []
        self.title = QLabel(title)
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.words = QLabel(translate("starting"))
        self.words.setWordWrap(True)
        self.stop = QPushButton(translate("Cancel"))
        self.resume = QPushButton(translate("Continue"))
        self.resume.setVisible(False)
        self.drop = QToolButton()
        self.drop.setText("×")
        self.drop.setToolTip(translate("Take this line away"))
        self.drop.setVisible(False)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 4, 0, 4)
        grid.addWidget(self.title, 0, 0)
        grid.addWidget(self.drop, 0, 1)
        grid.addWidget(self.bar, 1, 0)
        grid.addWidget(self.stop, 1, 1)
        grid.addWidget(self.resume, 1, 2)
        grid.addWidget(self.words, 2, 0, 1, 3)
        grid.setColumnStretch(0, 1)
        self.stop.clicked.connect(self.cancel)
        self.resume.clicked.connect(self.again)
        self.drop.clicked.connect(self.closed)
        run.told.connect(self.follow)
        run.ended.connect(self.finish)

    @property
    def under_way(self) -> bool:
        """Whether the run has not ended."""
        return self._run is not None

    def cancel(self) -> None:
        """Ask the run to stop; what is finished is kept."""
        if self._run is not None:
            self.stop.setEnabled(False)
            self.words.setText(translate("stopping; what is finished is kept"))
            self._run.cancel()

    def follow(self, event: JobEvent) -> None:
        """Show an event."""
        if isinstance(event, Progress):
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * event.fraction))
            self.words.setText(progress_words(event))
        elif isinstance(event, Queued):
            self.words.setText(translate("waits for {} other runs").format(event.ahead))
        elif isinstance(event, Waiting):
            self.words.setText(translate("waits: another program uses {}").format(event.device))
        elif isinstance(event, Warned):
            self.warnings.append(event.text)

    def finish(self, ending: Ending) -> None:
        """Show the end."""
        self._run = None
        self.stop.setVisible(False)
        self.drop.setVisible(True)
        self.bar.setVisible(False)
        self.resume.setVisible(ending.error is not None)
        self.words.setText("\n".join([ending_words(ending), *(f"⚠ {plain(text)}" for text in self.warnings)]))


class RunSection(QWidget):
    """The estimate, the button Run, and the panels, newest first."""

    wanted = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.estimate = QLabel()
        self.estimate.setWordWrap(True)
        self.estimate.setObjectName("estimate")
        self.button = QPushButton(translate("Run"))
        self.button.setObjectName("run")
        self.panels: list[RunPanel] = []
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.estimate)
        box.addWidget(self.button)
        self._box = QVBoxLayout()
        box.addLayout(self._box)
        self.button.clicked.connect(self.wanted)

    def add(self, run: Run, title: str) -> RunPanel:
        """A panel for a run."""
        panel = RunPanel(run, title)
        panel.closed.connect(lambda: self._remove(panel))
        self.panels.insert(0, panel)
        self._box.insertWidget(0, panel)
        return panel

    def _remove(self, panel: RunPanel) -> None:
        self.panels.remove(panel)
        self._box.removeWidget(panel)
        panel.deleteLater()


def progress_words(event: Progress) -> str:
    """How far a run is: "segmenting 12 of 64, 3.5/s, 14 s left"."""
    parts = [translate("{stage} {done} of {total}").format(stage=event.stage, done=event.done, total=event.total)]
    if event.rate:
        parts.append(translate("{:.3g} per second").format(event.rate))
    if event.seconds_left is not None:
        parts.append(translate("{} left").format(duration(event.seconds_left)))
    return ", ".join(parts)


def ending_words(ending: Ending) -> str:
    """What came of a run."""
    if ending.cancelled:
        return translate("Cancelled; what is finished stays on the map.")
    if ending.error is not None:
        return "⚠ " + plain(ending.error.sentence())
    result: dict[str, Any] = ending.result or {}
    lines = [translate("Done in {}.").format(duration(result.get("seconds", 0.0)))]
    report = result.get("report")
    if report:
        lines.append(translate("The new model is {}.").format(result["model"]))
        for words, key in (
            (translate("of labels that it did not see, {value:.0%} right ({low:.0%} to {high:.0%})"), "by_label"),
            (translate("of ground that it did not see, {value:.0%} right ({low:.0%} to {high:.0%})"), "by_block"),
        ):
            if report[key]:
                score = report[key]["accuracy"]
                lines.append(words.format(value=score["value"], low=score["ci_low"], high=score["ci_high"]))
    for classes in result.get("outputs", {}).get("class_areas", ()):
        known = [one for one in classes if one["area_m2"] is not None and one["pixels"]]
        lines.append("; ".join(f"{one['name']} {area(one['area_m2'])}" for one in known))
    return "\n".join(line for line in lines if line)


def plan_words(plan: dict[str, Any]) -> str:
    """What a run will take: "12 windows, about 3 s, 0.5 GB of memory, on cpu (onnxruntime, int8)"."""
    compute = plan["compute"]
    facts = translate(
        "{windows} windows, about {time}, {memory:.1f} GB of memory, on {device} ({runtime}, {precision})"
    )
    return facts.format(
        windows=plan["windows"],
        time=duration(plan["seconds"]),
        memory=plan["memory_bytes"] / 1e9,
        device=compute["device"],
        runtime=compute["runtime"],
        precision=compute["precision"],
    )


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return translate("{:.0f} s").format(max(1.0, seconds))
    if seconds < 5400:
        return translate("{:.0f} min").format(seconds / 60)
    return translate("{:.1f} h").format(seconds / 3600)


def area(square_metres: float) -> str:
    """An area in hectares or square kilometres."""
    if square_metres < 1e7:
        return translate("{:.3g} ha").format(square_metres / 1e4)
    return translate("{:.4g} km²").format(square_metres / 1e6)
