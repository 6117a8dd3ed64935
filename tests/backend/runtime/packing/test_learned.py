"""The legend of a learned head: colours as people expect them, and no two alike."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.runtime.packing.learned import classes_of


def test_water_is_blue_and_forest_green() -> None:
    colors = {info.name: info.rgb for info in classes_of(("Forest", "deep water", "lake", "bare soil", "xyz"))}
    assert colors["deep water"][2] == max(colors["deep water"]) and colors["Forest"][1] == max(colors["Forest"])
    assert len(set(colors.values())) == 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["water", "lake", "a", "b", "Ω", "crop", "crops", "town 1", "town 2"]), max_size=60))
def test_no_two_classes_have_one_colour(names: list[str]) -> None:
    found = classes_of(tuple(f"{name} {number}" for number, name in enumerate(names)))
    assert len({info.color for info in found}) == len(names)
    assert [info.value for info in found] == list(range(len(names)))
    assert all(re.fullmatch("#[0-9a-f]{6}", info.color) for info in found)
