"""Memory does not depend on the size of the scene; the benchmark `memory` shows it up to 50 000 px."""

from __future__ import annotations

import pytest

from tests.bench.memory import GIB, measure

TOLERANCE = 0.15


@pytest.mark.slow
def test_nine_times_the_pixels_need_no_more_memory() -> None:
    """The final file of the larger scene is made by a second process, which counts for the limit on the whole tree."""
    small, large = (measure(size, 256, 3, 0.05, ("--device", "cpu")) for size in (3000, 9000))
    assert large["main_peak_bytes"] <= (1 + TOLERANCE) * small["main_peak_bytes"]
    assert large["peak_bytes"] < GIB
