"""The layers of the program, read from its sources: who may import whom, and what must stay lazy.

The table is the "Imports" section of the architecture. Standard library modules are free for all.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

GEODATA = {"numpy", "rasterio", "affine", "shapely", "pyogrio"}
EVERYTHING = {"*"}

# part -> (parts of the backend that it may import, other packages that it may import)
RULES: dict[str, tuple[set[str], set[str]]] = {
    "protocol": (set(), set()),
    "geo": ({"protocol"}, GEODATA),
    "sensors": ({"protocol", "geo"}, GEODATA),
    "manifest": ({"protocol", "geo", "sensors"}, {*GEODATA, "safetensors"}),
    # torchvision speeds up detection where it works; nothing needs it (see models/ops/accelerated.py).
    "models": ({"protocol"}, {"torch", "torchvision", "numpy", "safetensors"}),
    "runtime": ({"protocol", "models", "manifest"}, {"numpy", "onnxruntime", "torch", "safetensors"}),
    "scene": ({"protocol", "geo"}, {*GEODATA, "torch"}),
    "tasks": ({"protocol", "geo", "sensors", "manifest", "runtime", "scene"}, GEODATA),
    "service": ({"protocol", "tasks"}, set()),
    # The entry points: they parse options, or start the service.
    "command_line": ({"protocol", "tasks", "service"}, set()),
    "__main__": ({"protocol", "command_line", "service"}, set()),
    "train": (EVERYTHING, EVERYTHING),
}
# Parts in which torch is imported at the top: nobody imports them unless torch is wanted.
TORCH_AT_THE_TOP = {"models", "train"}
PLUGIN_PACKAGES = {"qgis", "osgeo", "processing", "numpy"}


@dataclass(frozen=True)
class Import:
    """One imported module: its absolute name within the repository or outside, and where the statement stands."""

    module: str
    file: Path
    line: int
    relative: bool
    lazy: bool  # inside a function
    typing_only: bool  # under `if TYPE_CHECKING:`

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def _statements(node: ast.AST, lazy: bool = False, typing_only: bool = False) -> Iterator[tuple[ast.stmt, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing = typing_only or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, lazy, typing_only
        yield from _statements(child, inside, typing)


def _modules(statement: ast.stmt, package: list[str]) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        base = package[: len(package) - statement.level + 1] if statement.level else []
        source = ".".join([*base, *([statement.module] if statement.module else [])])
        # `from backend import geo` and `from backend.geo import grid` both name modules or their contents.
        yield from (f"{source}.{alias.name}" for alias in statement.names)


def imports_of(file: Path) -> list[Import]:
    """Every import statement of a source file; relative ones resolved from the repository's root."""
    package = list(file.relative_to(ROOT).parent.parts)
    found = []
    for statement, lazy, typing_only in _statements(ast.parse(file.read_text(encoding="utf-8"))):
        relative = isinstance(statement, ast.ImportFrom) and statement.level > 0
        for module in _modules(statement, package):
            found.append(Import(module, file, statement.lineno, relative, lazy, typing_only))
    return found


def sources(folder: str) -> list[Path]:
    """The Python files below a folder of the repository."""
    return sorted((ROOT / folder).rglob("*.py"))


def part_of(file: Path) -> str:
    """The part of the backend that a file belongs to; "" for backend/__init__.py."""
    parts = file.relative_to(ROOT / "backend").with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def outside(item: Import) -> str | None:
    """The name of the package outside the repository and the standard library that is imported, if it is one."""
    name = item.module.split(".")[0]
    return None if name in sys.stdlib_module_names or name == "backend" or item.relative else name


def backend_imports() -> list[tuple[str, Import]]:
    """All imports of the backend with the part they stand in."""
    return [(part_of(file), item) for file in sources("backend") for item in imports_of(file)]


def test_every_part_has_a_rule() -> None:
    parts = {part_of(file) for file in sources("backend")} - {""}
    assert parts <= set(RULES), f"add {sorted(parts - set(RULES))} to the table"


def test_the_backend_package_itself_imports_nothing() -> None:
    assert imports_of(ROOT / "backend" / "__init__.py") == []


@pytest.mark.parametrize("part", sorted(RULES))
def test_parts_import_only_what_lies_below_them(part: str) -> None:
    allowed, packages = RULES[part]
    wrong = []
    for where, item in backend_imports():
        if where != part:
            continue
        names = item.module.split(".")
        if names[0] == "backend" and allowed != EVERYTHING:
            target = names[1] if len(names) > 1 else ""
            # train is reached in one place only, see below
            if target not in {*allowed, part, "train", "__version__"}:
                wrong.append(str(item))
        name = outside(item)
        if name is not None and packages != EVERYTHING and name not in packages:
            wrong.append(str(item))
    assert not wrong, "\n".join(wrong)


def test_the_backend_knows_neither_qgis_nor_the_plugin() -> None:
    wrong = [
        str(item) for _, item in backend_imports() if item.module.split(".")[0] in {"qgis", "plugin", "earthprism"}
    ]
    assert not wrong, "\n".join(wrong)


def test_torch_is_imported_lazily_in_inference() -> None:
    wrong = [
        str(item)
        for part, item in backend_imports()
        if part not in TORCH_AT_THE_TOP
        and (item.module.split(".")[0] == "torch" or item.module.startswith("backend.models"))
        and not (item.lazy or item.typing_only)
    ]
    assert not wrong, "\n".join(wrong)


def test_inference_reaches_training_only_lazily_and_for_evaluation() -> None:
    wrong = [
        str(item)
        for part, item in backend_imports()
        if part != "train"
        and item.module.startswith("backend.train")
        and not (item.lazy and item.module.startswith("backend.train.evaluate"))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_backend_names_itself_absolutely_and_the_protocol_relatively() -> None:
    """The protocol is loaded by QGIS under another package name, all else runs with the root on the path."""
    wrong = []
    for part, item in backend_imports():
        own = item.relative or item.module.split(".")[0] == "backend"
        if own and item.relative != (part == "protocol"):
            wrong.append(str(item))
    assert not wrong, "\n".join(wrong)


def test_the_plugin_imports_only_qgis_itself_and_the_protocol() -> None:
    wrong = []
    for file in [*sources("plugin"), ROOT / "__init__.py"]:
        for item in imports_of(file):
            names = item.module.split(".")
            if item.relative:
                if not (names[0] == "plugin" or names[:2] == ["backend", "protocol"]):
                    wrong.append(str(item))
            elif names[0] not in PLUGIN_PACKAGES and names[0] not in sys.stdlib_module_names:
                wrong.append(str(item))
    assert not wrong, "\n".join(wrong)


def test_qt_is_reached_through_qgis() -> None:
    """PyQt5 and PyQt6 differ in name; qgis.PyQt is the same in QGIS 3 and 4."""
    wrong = [
        str(i) for file in sources("plugin") for i in imports_of(file) if i.module.split(".")[0].startswith("PyQt")
    ]
    assert not wrong, "\n".join(wrong)
