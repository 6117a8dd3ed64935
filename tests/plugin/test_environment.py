"""Where the plugin finds the backend's Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from earthprism.backend.protocol.errors import InputError, OutputError, ParameterError
from earthprism.plugin.environment import check_space, find_python, interpreter


def make(root: Path, name: str, folder: str = ".venv") -> Path:
    python = interpreter(root / folder / name)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_the_users_choice_comes_first(tmp_path):
    make(tmp_path, "light")
    chosen = tmp_path / "python"
    chosen.touch()
    assert find_python(str(chosen), None, tmp_path) == chosen


def test_full_before_light(tmp_path):
    light = make(tmp_path, "light")
    assert find_python("", None, tmp_path) == light
    assert find_python("", None, tmp_path) != make(tmp_path, "full") == find_python("", None, tmp_path)


def test_what_the_dock_made_before_what_a_checkout_has(tmp_path):
    make(tmp_path, "full")
    home = tmp_path / "profile"
    assert find_python("", home, tmp_path) == interpreter(tmp_path / ".venv" / "full")
    assert find_python("", home, tmp_path) != make(tmp_path, "light", "profile") == find_python("", home, tmp_path)


def test_a_full_disk_is_said_before_anything_is_made(tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**8))
    with pytest.raises(OutputError, match=r"0\.1 GB free"):
        check_space(tmp_path / "not" / "there", "light")


def test_a_choice_that_is_gone_is_not_replaced_silently(tmp_path):
    make(tmp_path, "light")
    with pytest.raises(ParameterError, match="earthprism/python"):
        find_python(str(tmp_path / "gone"), None, tmp_path)


def test_nothing_installed_says_what_to_run(tmp_path):
    with pytest.raises(InputError) as caught:
        find_python("", None, tmp_path)
    assert "environment.py" in caught.value.fix and "light" in caught.value.fix
