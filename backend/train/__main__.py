"""`python -m backend.train RECIPE [--option value …]`: a recipe by name; every field of it is an option."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from backend.protocol.errors import EarthPrismError
from backend.train.recipes import encoder_package, head_package, water_baseline

# recipe: what runs it, and its configuration
RECIPES: dict[str, tuple[Callable[[Any], dict[str, Any]], type]] = {
    "export_encoder": (encoder_package.run, encoder_package.EncoderPackage),
    "export_head": (head_package.run, head_package.HeadPackage),
    "water_baseline": (water_baseline.run, water_baseline.WaterBaseline),
}


def parser() -> argparse.ArgumentParser:
    """The command line: one subcommand per recipe, one option per field."""
    main = argparse.ArgumentParser(prog="python -m backend.train", description=__doc__)
    commands = main.add_subparsers(dest="recipe", required=True)
    for name, (run, configuration) in RECIPES.items():
        command = commands.add_parser(name, help=(run.__doc__ or "").partition("\n")[0])
        hints = get_type_hints(configuration)
        for item in fields(configuration):
            required = item.default is MISSING
            default = None if required else item.default
            option = f"--{item.name.replace('_', '-')}"
            command.add_argument(option, type=hints[item.name], required=required, default=default)
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a recipe, prints its report as JSON; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("backend").setLevel(logging.INFO)
    for noisy in ("", "torch.onnx"):  # the exporter and the quantiser tell every step as a warning
        logging.getLogger(noisy).setLevel(logging.ERROR)
    options = vars(parser().parse_args(arguments))
    run, configuration = RECIPES[options.pop("recipe")]
    try:
        report = run(configuration(**options))
    except EarthPrismError as error:
        logging.error("%s", error)
        return error.exit_code
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
