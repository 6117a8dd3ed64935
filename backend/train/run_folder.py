"""What a run folder remembers of how its run was started."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch

from backend import __version__

CONFIG = "config.json"


def holds_run(folder: Path) -> bool:
    """Whether a run was started in a folder."""
    return (folder / CONFIG).exists()


def freeze(folder: Path, configurations: Mapping[str, Any], processes: int, step: int) -> Path:
    """Write every field of a run's configurations, the command and the versions.

    Args:
        folder: the run folder.
        configurations: by name; dataclasses or plain values.
        processes: how many take part.
        step: that the run goes on from; what the folder remembers of its first start stays.

    Returns:
        the file, `config.json`, or `config-00001000.json` for a run that goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        **{name: _plain(value) for name, value in configurations.items()},
        "command": sys.argv,
        "processes": processes,
        "versions": {"earthprism": __version__, "torch": torch.__version__, "python": sys.version.split()[0]},
    }
    file = folder / (f"config-{step:08d}.json" if step else CONFIG)
    file.write_text(json.dumps(written, indent=1, default=str) + "\n", encoding="utf-8")
    return file


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
