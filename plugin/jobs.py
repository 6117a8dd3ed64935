"""What the backend is asked from QGIS: jobs that take their time, and questions, each as a task of QGIS.

`run` of a task is in a thread of QGIS's own, where no widget and no layer may be touched; what it learns crosses to the
window's thread as a signal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Union

from qgis.core import QgsTask
from qgis.PyQt.QtCore import pyqtSignal

from ..backend.protocol.errors import Cancelled, EarthPrismError
from ..backend.protocol.jobs import Job
from ..backend.protocol.messages import JobEvent, Progress, Query, Status
from .backend import Backend

Ask = Union[Query, Status]


@dataclass(frozen=True)
class Ending:
    """How a job or a question ended.

    Attributes:
        result: what the backend gave, None where it gave nothing.
        error: why there is no result; `Cancelled` after a cancel.
    """

    result: Optional[dict[str, Any]] = None
    error: Optional[EarthPrismError] = None

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled; what was finished is kept."""
        return isinstance(self.error, Cancelled)


class Run(QgsTask):
    """A job from start to end.

    Args:
        title: how it is called among QGIS's tasks.
        job: what to do.
        backend: who does it.

    Signals, received in the thread of the receiver:
        told: every event of the job, a `JobEvent`.
        ended: once, an `Ending`; also after a cancel.
    """

    told = pyqtSignal(object)
    ended = pyqtSignal(object)

    def __init__(self, title: str, job: Job, backend: Backend) -> None:
        super().__init__(title, QgsTask.Flag.CanCancel)
        self.job = job
        self._backend = backend
        self._ending = Ending(error=Cancelled("the run was cancelled", "before it had begun"))

    def run(self) -> bool:
        """Wait for the backend; runs in a thread of QGIS's task manager."""
        self._ending = outcome(lambda: self._backend.client().run(self.job, self._tell, self.isCanceled))
        return self._ending.error is None

    def finished(self, result: bool) -> None:
        """Hand over the end; runs in the window's thread."""
        self.ended.emit(self._ending)

    def _tell(self, event: JobEvent) -> None:
        if isinstance(event, Progress):
            self.setProgress(100 * event.fraction)
        self.told.emit(event)


class Question(QgsTask):
    """A question to the backend that must not make the window wait.

    Args:
        title: how it is called among QGIS's tasks.
        ask: what to ask.
        backend: who answers.
        answer: is called in the window's thread with the `Ending`; not after a cancel.
    """

    def __init__(self, title: str, ask: Ask, backend: Backend, answer: Callable[[Ending], None]) -> None:
        super().__init__(title, QgsTask.Flag.CanCancel)
        self._ask, self._backend, self._answer = ask, backend, answer
        self._ending = Ending(error=Cancelled("the question was withdrawn"))

    def run(self) -> bool:
        """Wait for the answer; runs in a thread of QGIS's task manager."""
        self._ending = outcome(lambda: self._backend.client().query(self._ask, is_cancelled=self.isCanceled))
        return self._ending.error is None

    def finished(self, result: bool) -> None:
        """Hand over the answer; runs in the window's thread."""
        if not self.isCanceled():
            self._answer(self._ending)


def outcome(work: Callable[[], dict[str, Any]]) -> Ending:
    """What calling gave: its result, or the error that it ended with."""
    try:
        return Ending(work())
    except EarthPrismError as error:
        return Ending(error=error)
