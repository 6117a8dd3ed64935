"""The dock from top to bottom, and what follows from a change in it: questions to the backend, and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from qgis.core import Qgis, QgsApplication, QgsProject
from qgis.gui import QgsDockWidget
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QGuiApplication
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QGroupBox,
    QLabel,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...backend.protocol.errors import EarthPrismError
from ...backend.protocol.messages import FitModels, ListSensors, Plan
from .. import settings
from ..backend import Backend
from ..check import BackendCheck, summary
from ..choice import CHANGE, EMBED, LEARN, SEGMENT, Choice, beside
from ..environment import find_python
from ..errors import BackendError, BackendNotInstalled
from ..jobs import Ending, Question, Run
from ..layers import RunLayers
from ..text import plain, translate
from .area import AreaSection
from .backend import BackendSection, diagnostics
from .inputs import SHORT, InputsSection
from .labels import LabelsSection
from .models import ModelSection
from .output import OutputSection, home_folder
from .runs import RunSection, plan_words

# A change is followed by others, as when somebody types: the backend is asked when it is quiet for this long.
QUIET_MS = 400
_SHORTEST_NAME = 12  # letters of a layer or model that are always seen


class Dock(QgsDockWidget):
    """EarthPrism's dock.

    Args:
        iface: QGIS's interface.
        backend: who computes.
    """

    def __init__(self, iface: Any, backend: Backend) -> None:
        super().__init__(translate("EarthPrism"))
        self.setObjectName("EarthPrismDock")
        self._iface, self._backend = iface, backend
        self._questions: dict[str, Question] = {}
        self._runs: list[tuple[Run, RunLayers]] = []
        self._sensors_known = False
        self.inputs, self.area, self.models = InputsSection(), AreaSection(iface), ModelSection()
        self.output, self.runs, self.labels = OutputSection(), RunSection(), LabelsSection()
        self.task = QComboBox()
        self.task.setObjectName("task")
        self.task.addItem(translate("Segment: the class of every pixel"), SEGMENT)
        self.task.addItem(translate("Change: what differs between two dates"), CHANGE)
        self.task.addItem(translate("Learn from labels: a model of your own, and its map"), LEARN)
        self.task.addItem(translate("Embed: what an encoder makes of every position"), EMBED)
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setObjectName("backend-state")
        self.state.setVisible(False)
        self.setup = BackendSection()
        self.more = QToolButton()
        self.more.setText(translate("Backend…"))
        self.more.setToolTip(translate("Set up, renew or remove what computes; copy diagnostics"))
        self.more.setCheckable(True)
        self._check: Optional[BackendCheck] = None
        self._lay_out()
        self._fit_timer, self._plan_timer = self._timer(self._ask_fit), self._timer(self._ask_plan)
        self.labels.new.clicked.connect(self.new_labels)
        for section in (self.inputs, self.area, self.labels):
            section.changed.connect(self._fit_timer.start)
        self.task.currentIndexChanged.connect(self._task_changed)
        self.models.changed.connect(self._model_changed)
        self.output.changed.connect(self._fit_timer.start)
        self.runs.wanted.connect(self.run)
        self.more.toggled.connect(self._setup_box.setVisible)
        self.setup.stale.connect(lambda: self.more.setChecked(True))
        self.setup.changed.connect(self._backend_changed)
        self.setup.copy_button.clicked.connect(self.copy_diagnostics)
        self._fit_timer.start()
        self.setup.check()

    def choice(self) -> Choice:
        """What is chosen.

        Raises:
            InputError: a part of it cannot be understood.
        """
        reference, entry = self.models.reference, self.models.entry
        return Choice(
            self.task.currentData(),
            self.inputs.specs(),
            (reference,) if reference else (),
            self.area.spec(),
            self.output.choice(),
            encoder=entry is not None and entry["kind"] == "encoder",
            labels=self.labels.spec(beside(self.output.choice().path, "labels.gpkg")),
            save=self.labels.save.text().strip(),
        )

    def run(self) -> Optional[Run]:
        """Start what is chosen; None where something is wrong, which is said."""
        try:
            choice = self.choice()
            if choice.lacking:
                self.say(choice.lacking, Qgis.MessageLevel.Info)
                return None
            Path(choice.output.path).parent.mkdir(parents=True, exist_ok=True)
            if choice.task == LEARN and choice.labels is not None:
                self.labels.write(choice.labels.path)
        except EarthPrismError as error:
            self.say(error.sentence(), Qgis.MessageLevel.Warning)
            return None
        except OSError as error:
            text = translate("The folder of the result cannot be made: {}").format(error.strerror or error)
            self.say(text, Qgis.MessageLevel.Warning)
            return None
        return self.start(choice)

    def start(self, choice: Choice) -> Run:
        """Run a choice in QGIS's task manager; its layers and its panel follow it."""
        title = Path(choice.output.path).stem
        run = Run(translate("EarthPrism: {}").format(title), choice.job(), self._backend)
        layers = RunLayers(run, title, QgsProject.instance(), self._iface.mapCanvas(), self)
        panel = self.runs.add(run, title)
        panel.again.connect(lambda: self.start(choice))
        self._runs.append((run, layers))
        run.ended.connect(lambda ending: self._over(run, title, ending))
        self.output.taken()
        QgsApplication.taskManager().addTask(run)
        return run

    def new_labels(self) -> None:
        """A layer to draw labels in, beside the result, in the CRS of the first raster or of the project."""
        folder = Path(self.output.choice().path or home_folder() / "labels").parent
        folder.mkdir(parents=True, exist_ok=True)
        path, number = folder / "labels.gpkg", 1
        while path.exists():
            number += 1
            path = folder / f"labels-{number}.gpkg"
        crs = self.inputs.layers[0].crs() if self.inputs.layers else QgsProject.instance().crs()
        layer = self.labels.make(path, crs)
        if layer is None:
            self.say(translate("The layer cannot be made in {}.").format(folder), Qgis.MessageLevel.Warning)
            return
        self._iface.setActiveLayer(layer)
        self.say(translate("Draw polygons and give each its class, then run."), Qgis.MessageLevel.Info)

    def copy_diagnostics(self) -> None:
        """Put a report of this machine into the clipboard, once the backend has been asked."""
        try:
            python = find_python(settings.backend_python(), settings.environments())
        except EarthPrismError as error:
            self._copy(error.sentence(), "")
            return
        self._check = BackendCheck(
            python, lambda hello, error: self._copy(summary(hello) if hello else str(error), str(python))
        )
        QgsApplication.taskManager().addTask(self._check)

    def _copy(self, words: str, python: str) -> None:
        self._check = None
        QGuiApplication.clipboard().setText(diagnostics(words, python))
        self.say(translate("The diagnostics are in the clipboard."), Qgis.MessageLevel.Info)

    def stop(self) -> None:
        """Cancel everything and let go of the map; for unloading."""
        self.setup.stop()
        if self._check is not None:
            self._check.cancel()
        for timer in (self._fit_timer, self._plan_timer):
            timer.stop()
        for question in list(self._questions.values()):
            question.cancel()
        for run, _ in list(self._runs):
            run.cancel()
        self.area.close()

    def say(self, text: str, level: Any) -> None:
        """A line in QGIS's message bar."""
        self._iface.messageBar().pushMessage("EarthPrism", text, level, 0)

    def _lay_out(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        column.addWidget(self.state)
        self._setup_box = QGroupBox(translate("Backend"))
        QVBoxLayout(self._setup_box).addWidget(self.setup)
        self._setup_box.setVisible(False)
        column.addWidget(self._setup_box)
        for title, section in (
            (translate("Inputs"), self.inputs),
            (translate("Area"), self.area),
            (translate("Task"), self.task),
            (translate("Labels"), self.labels),
            (translate("Model"), self.models),
            (translate("Result"), self.output),
            (translate("Run"), self.runs),
        ):
            box = QGroupBox(title)
            inner = QVBoxLayout(box)
            inner.addWidget(section)
            column.addWidget(box)
            if section is self.labels:
                self._labels_box = box
                box.setVisible(False)
        column.addWidget(self.more)
        column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(page)
        self.setWidget(self._scroll)
        self._fit_width()

    def _fit_width(self) -> None:
        """Nothing is cut off at the right: long names are, the dock is not."""
        page = self._scroll.widget()
        for box in page.findChildren(QComboBox):
            if not box.objectName().startswith(SHORT):
                box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
                box.setMinimumContentsLength(_SHORTEST_NAME)
        page.layout().activate()
        bar = self._scroll.verticalScrollBar().sizeHint().width()
        self._scroll.setMinimumWidth(page.minimumSizeHint().width() + bar)

    def _timer(self, act: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(QUIET_MS)
        timer.timeout.connect(act)
        return timer

    def _ask(self, name: str, ask: Any, answer: Any) -> None:
        """Put a question; an earlier one of the same kind is withdrawn."""
        old = self._questions.pop(name, None)
        if old is not None:
            old.cancel()

        def answered(ending: Ending) -> None:
            self._questions.pop(name, None)
            self._backend_state(ending)
            answer(ending)

        question = Question(translate("EarthPrism: looking at the choice"), ask, self._backend, answered)
        self._questions[name] = question
        QgsApplication.taskManager().addTask(question)

    def _ask_fit(self) -> None:
        if not self._sensors_known:
            self._sensors_known = True
            self._ask("sensors", ListSensors(), self._show_sensors)
        try:
            specs, area, grid = self.inputs.specs(), self.area.spec(), self.output.grid()
        except EarthPrismError as error:
            self.inputs.say([error.sentence()], problem=True)
            return
        layers = [layer.name() for layer in self.inputs.layers]
        self.output.suggest(layers, [self.models.reference] if self.models.reference else [])
        self._ask("fit", FitModels(self._fitting(), specs, area, grid), self._show_fit)

    def _show_sensors(self, ending: Ending) -> None:
        if ending.result is None:
            self._sensors_known = False
        else:
            self.inputs.set_sensors(ending.result["sensors"])

    def _show_fit(self, ending: Ending) -> None:
        if ending.result is None:
            return
        entries = ending.result["models"]
        self.models.show_models(entries)
        entry = self.models.entry
        if entry is None and self.inputs.layers and entries:
            self.inputs.say([entries[0]["problem"]], problem=True)
        else:
            self.inputs.say(entry["notes"] if entry else [])

    def _model_changed(self) -> None:
        entry = self.models.entry
        if entry is not None and not entry["problem"]:
            self.inputs.say(entry["notes"])
            self.output.suggest([layer.name() for layer in self.inputs.layers], [entry["name"]])
        self._plan_timer.start()

    def _fitting(self) -> str:
        """The task whose packages are offered: what learns, learns on an encoder."""
        task = str(self.task.currentData())
        return EMBED if task == LEARN else task

    def _task_changed(self) -> None:
        self._labels_box.setVisible(self.task.currentData() == LEARN)
        self.inputs.compare(self.task.currentData() == CHANGE)
        self._fit_width()
        self._fit_timer.start()

    def _ask_plan(self) -> None:
        try:
            choice = self.choice()
        except EarthPrismError as error:
            self.runs.estimate.setText("⚠ " + error.sentence())
            return
        if choice.lacking:
            self.runs.estimate.setText(choice.lacking)
            return
        self.runs.estimate.setText(translate("estimating …"))
        self._ask("plan", Plan(choice.planned()), self._show_plan)

    def _show_plan(self, ending: Ending) -> None:
        if ending.result is not None:
            warnings = [f"⚠ {plain(text)}" for text in ending.result["warnings"]]
            self.runs.estimate.setText("\n".join([plan_words(ending.result), *warnings]))
        elif ending.error is not None:
            self.runs.estimate.setText("⚠ " + plain(ending.error.sentence()))

    def _backend_state(self, ending: Ending) -> None:
        """Say what is wrong with the backend itself, as opposed to the choice."""
        error = ending.error
        self.state.setVisible(isinstance(error, BackendError))
        if error is not None:
            self.state.setText("⚠ " + error.sentence())
        if isinstance(error, BackendNotInstalled):
            self.more.setChecked(True)

    def _backend_changed(self) -> None:
        """Another environment, or none: everything is asked again."""
        self._backend.close()
        self._sensors_known = False
        try:
            find_python(settings.backend_python(), settings.environments())
        except EarthPrismError:
            self.setup.explain()
        else:
            self.more.setChecked(False)
        self._fit_timer.start()

    def _over(self, run: Run, title: str, ending: Ending) -> None:
        self._runs = [pair for pair in self._runs if pair[0] is not run]
        if ending.result is not None:
            self.say(translate("{} is done.").format(title), Qgis.MessageLevel.Success)
        elif ending.error is not None and not ending.cancelled:
            self.say(ending.error.sentence(), Qgis.MessageLevel.Critical)
