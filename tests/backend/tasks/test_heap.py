"""Freed memory goes back to the system when it is asked for."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Blocks as a heap holds them, freed, with small ones between them that stay.
SCRIPT = """
from pathlib import Path
from backend.tasks.heap import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [(bytes(100_000), bytes(1000)) for _ in range(1000)]
kept = [small for _, small in blocks]
del blocks
freed = resident()
give_back()
print(freed - resident())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps freed memory"
)
def test_what_was_freed_among_what_stays_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) > 50_000_000
