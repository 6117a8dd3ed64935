"""`python -m backend.train RECIPE [--option value …]`: a recipe by name, its fields as options; `list` names them."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import tyro

from backend.protocol.errors import EarthPrismError
from backend.train.recipes import NAMES, Recipe, recipe

USAGE = "usage: python -m backend.train RECIPE [--option value ...]\n\nRECIPE --help shows a recipe's options.\n\n"


def overview() -> str:
    """The recipes, one line each."""
    width = max(map(len, NAMES)) + 2
    return "".join(f"  {name:{width}}{recipe(name).summary}\n" for name in NAMES)


def configuration(chosen: Recipe, arguments: Sequence[str]) -> Any:
    """The configuration of a recipe with what the options change; ends the program for --help and wrong options."""
    program = f"python -m backend.train {chosen.name}"
    if isinstance(chosen.make, type):
        return tyro.cli(chosen.make, prog=program, description=chosen.summary, args=arguments)
    default = chosen.make(**dict.fromkeys(chosen.required, tyro.MISSING))
    return tyro.cli(type(default), default=default, prog=program, description=chosen.summary, args=arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a recipe, prints its report as JSON; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("backend").setLevel(logging.INFO)
    for noisy in ("", "torch.onnx"):  # the exporter and the quantiser tell every step as a warning
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # Said of every checkpoint of a run of one process, where it is as it should be.
    warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
    name, *options = [*(sys.argv[1:] if arguments is None else arguments), ""]
    if name == "list":
        sys.stdout.write(overview())
        return 0
    if name not in NAMES:
        wrong = f"there is no recipe {name!r}\n\n" if name not in ("", "-h", "--help") else ""
        (sys.stderr if wrong or not name else sys.stdout).write(wrong + USAGE + overview())
        return 0 if name in ("-h", "--help") else 2
    chosen = recipe(name)
    try:
        report = chosen.run(configuration(chosen, options[:-1]))
    except EarthPrismError as error:
        logging.error("%s", error)
        return error.exit_code
    if os.environ.get("RANK", "0") == "0":  # torchrun's number of the process
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
