"""What can go wrong between QGIS and the backend; joins the tree of the backend's own errors."""

from __future__ import annotations

from typing import ClassVar

from ..backend.protocol.errors import EarthPrismError


class BackendError(EarthPrismError):
    """The backend process cannot be used."""

    code: ClassVar[str] = "backend"


class BackendNotInstalled(BackendError):
    """There is no environment for the backend, or the one that was chosen is gone."""

    code: ClassVar[str] = "backend-not-installed"


class BackendNotStarted(BackendError):
    """The backend does not start, or does not say hello."""

    code: ClassVar[str] = "backend-not-started"


class BackendDied(BackendError):
    """The backend ended while something was asked of it.

    Attributes:
        last_lines: the end of what it wrote to stderr.
    """

    code: ClassVar[str] = "backend-died"

    def __init__(self, what: str, why: str = "", fix: str = "", last_lines: tuple[str, ...] = ()) -> None:
        super().__init__(what, why, fix)
        self.last_lines = last_lines


class BackendTimeout(BackendError):
    """The backend did not answer in time."""

    code: ClassVar[str] = "backend-timeout"
