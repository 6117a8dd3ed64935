"""Every error that a user can meet: one small tree, each error says what, why and what to do.

Standard library only: the plugin imports this module inside QGIS.
"""

from __future__ import annotations

from typing import ClassVar


class EarthPrismError(Exception):
    """An error with words for the user.

    Args:
        what: what happened, one clause without a full stop.
        why: the cause, where it is known.
        fix: what the user can do about it.
    """

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The whole message on one line: "what: why; fix."."""
        text = self.what.removesuffix(".")
        if self.why:
            text += f": {self.why.removesuffix('.')}"
        if self.fix:
            text += f"; {self.fix}"
        text = " ".join(text.split())
        return text if text.endswith((".", "?", "!")) else text + "."

    def to_dict(self) -> dict[str, str]:
        """The error as it crosses the protocol."""
        return {"code": self.code, "what": self.what, "why": self.why, "fix": self.fix}


class InputError(EarthPrismError):
    """The request cannot be carried out as given; nothing was written."""

    code = "input"
    exit_code = 2


class ParameterError(InputError):
    """An option has a value that cannot be used."""

    code = "parameter"


class SourceError(InputError):
    """A raster or vector that was given cannot be used."""

    code = "source"


class GridError(InputError):
    """The sources, the area and the grid do not fit together."""

    code = "grid"


class PackageError(InputError):
    """A model package is missing, damaged, hostile or does not fit the input."""

    code = "package"


class DeviceError(InputError):
    """The device or the runtime that was asked for is not there."""

    code = "device"


class OutputError(InputError):
    """The result cannot be written where it was asked for; finished chunks are kept."""

    code = "output"


class ResumeError(InputError):
    """An unfinished run exists that this request does not continue."""

    code = "resume"


class ProtocolError(InputError):
    """A message is not understood."""

    code = "protocol"


class Cancelled(EarthPrismError):
    """The user asked to stop; what is finished is kept."""

    code = "cancelled"
    exit_code = 3


class InternalError(EarthPrismError):
    """A fault of ours; the log has the details."""

    code = "internal"


def _tree(root: type[EarthPrismError]) -> dict[str, type[EarthPrismError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def from_dict(message: dict[str, str]) -> EarthPrismError:
    """The error that `EarthPrismError.to_dict` described; an unknown code becomes an `InternalError`."""
    kinds = {**_tree(EarthPrismError), "internal": InternalError}
    kind = kinds.get(message.get("code", ""), InternalError)
    return kind(message.get("what", "unknown error"), message.get("why", ""), message.get("fix", ""))
