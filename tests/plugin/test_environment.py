"""Where the plugin finds the backend's Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from earthprism.backend.protocol.errors import InputError, ParameterError
from earthprism.plugin.environment import find_python, interpreter


def make(root: Path, name: str) -> Path:
    python = interpreter(root / ".venv" / name)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_the_users_choice_comes_first(tmp_path):
    make(tmp_path, "light")
    chosen = tmp_path / "python"
    chosen.touch()
    assert find_python(str(chosen), tmp_path) == chosen


def test_full_before_light(tmp_path):
    light = make(tmp_path, "light")
    assert find_python("", tmp_path) == light
    assert find_python("", tmp_path) != make(tmp_path, "full") == find_python("", tmp_path)


def test_a_choice_that_is_gone_is_not_replaced_silently(tmp_path):
    make(tmp_path, "light")
    with pytest.raises(ParameterError, match="earthprism/python"):
        find_python(str(tmp_path / "gone"), tmp_path)


def test_nothing_installed_says_what_to_run(tmp_path):
    with pytest.raises(InputError) as caught:
        find_python("", tmp_path)
    assert "environment.py" in caught.value.fix and "light" in caught.value.fix
