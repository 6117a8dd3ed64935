"""argparse with our own sentences: an option or word that is wrong is named, and what it takes is said."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from backend.protocol.errors import ParameterError

# As alike as "--out" and "--output"; what is less alike was not meant.
_ALIKE = 0.7


class Parser(argparse.ArgumentParser):
    """A parser that complains in one clear sentence and never ends the process by itself.

    Options must be written out: an abbreviation would change its meaning with the next option that begins like it. What
    must be there is listed in `needs` rather than left to argparse, so that an unknown option is told first.

    Attributes:
        needs: what must be given, by its name in the result: what it is called, and how to give it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "allow_abbrev": False, "exit_on_error": False})
        self.needs: dict[str, tuple[str, str]] = {}

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but nothing unknown is handed back.

        Raises:
            ParameterError: what is wrong with the arguments.
        """
        try:
            found, unknown = super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            raise self._without_value(error) from error
        if unknown:
            raise self._unknown(unknown)
        for name, (words, fix) in self.needs.items():
            if not getattr(found, name, None):
                raise ParameterError(f'"{self.prog}" needs {words}', "", fix)
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Whatever argparse complains about in another way than the ones above."""
        raise ParameterError(f'the arguments of "{self.prog}" cannot be understood', message, self._help())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of an argument's choices; argparse calls it for commands and options alike."""
        choices = [str(choice) for choice in action.choices or ()]
        if not choices or value in choices:
            return
        near = difflib.get_close_matches(str(value), choices, n=1)
        option = next(iter(action.option_strings), "")
        what = f"value of {option}" if option else f'{str(action.metavar).lower()} of "{self.prog}"'
        raise ParameterError(
            f'"{value}" is no {what}',
            f"there {'are' if len(choices) > 1 else 'is'} {', '.join(choices)}",
            f'did you mean "{near[0]}"?' if near else "",
        )

    def _without_value(self, error: argparse.ArgumentError) -> ParameterError:
        """An option that lacks its value, or one that takes none and got one."""
        name = error.argument_name or ""
        action = self._option_string_actions.get(name)
        if action is None:
            return ParameterError(f'the arguments of "{self.prog}" cannot be understood', str(error), self._help())
        if action.nargs == 0:
            return ParameterError(f"{name} takes no value", "", f"write {name} alone")
        return ParameterError(f"{name} needs a value", "", f"write it as in {name} {action.metavar}")

    def _unknown(self, unknown: Sequence[str]) -> ParameterError:
        """An option that is not there, or a word too many."""
        option = next((word for word in unknown if word.startswith("-")), None)
        if option is None:
            return ParameterError(
                f'"{unknown[0]}" is a word too many',
                "",
                "give every value its option, and quote names with blanks",
            )
        name = option.partition("=")[0]
        near = difflib.get_close_matches(name, self._option_string_actions, n=1, cutoff=_ALIKE)
        return ParameterError(
            f'"{self.prog}" has no option {name}', "", f"did you mean {near[0]}?" if near else self._help()
        )

    def _help(self) -> str:
        return f'"{self.prog} --help" lists what there is'
