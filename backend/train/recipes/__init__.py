"""Recipes: complete configurations as Python functions, by the name the command line uses.

A recipe is a function (or a configuration's class) in a module of this package. Its arguments without default are what
a user must name, such as `data` and `output`; it returns a configuration, a frozen dataclass. The module's
`run(configuration)` does the work, in every process of a run, and returns a report of plain values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# name: module and function or class in it
NAMES = {
    "bands_encoder": ("bands_encoder", "BandsEncoder"),
    "compare_encoders": ("compare_encoders", "compare_encoders"),
    "export_encoder": ("encoder_package", "EncoderPackage"),
    "export_head": ("head_package", "HeadPackage"),
    **{
        f"pretrain_skysense_v2_{member}": ("pretrain_skysense_v2", f"pretrain_skysense_v2_{member}")
        for member in ("tiny", "small", "base", "full")
    },
    "shards": ("shards", "Shards"),
    "water_baseline": ("water_baseline", "WaterBaseline"),
}


@dataclass(frozen=True)
class Recipe:
    """One recipe.

    Attributes:
        name: on the command line.
        make: returns the configuration.
        run: does what a configuration says, and returns a report.
        summary: one line.
    """

    name: str
    make: Callable[..., Any]
    run: Callable[[Any], dict[str, Any]]
    summary: str

    @property
    def required(self) -> list[str]:
        """Arguments without default."""
        parameters = inspect.signature(self.make).parameters.values()
        return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def recipe(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        KeyError: there is none of that name.
    """
    place, attribute = NAMES[name]
    module = import_module(f"{__name__}.{place}")
    make = getattr(module, attribute)
    described = module.run if isinstance(make, type) else make
    return Recipe(name, make, module.run, (inspect.getdoc(described) or "").partition("\n")[0])
