"""What goes into a package beside weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.manifest import golden
from backend.protocol.errors import ParameterError
from backend.runtime.packing import pack, skysense_v2, smarties

SKYSENSE = skysense_v2.describe("tiny", "sky", "1.0.0", "Sky")


def test_our_own_weights_carry_our_licence() -> None:
    text = pack.licence_text(replace(SKYSENSE, licence=pack.OWN_LICENCE))
    assert "GNU GENERAL PUBLIC LICENSE" in text


def test_weights_of_others_carry_theirs_and_their_names(tmp_path: Path) -> None:
    theirs = replace(SKYSENSE, licence="CC-BY-4.0", attribution="Ada Lovelace, 1843")
    with pytest.raises(ParameterError, match=r"CC-BY-4\.0 is needed.*--licence-text"):
        pack.licence_text(theirs)
    (tmp_path / "cc.txt").write_text("Attribution 4.0 International")
    assert pack.licence_text(theirs, str(tmp_path / "cc.txt")) == "Ada Lovelace, 1843\n\nAttribution 4.0 International"


@pytest.mark.parametrize("package", [SKYSENSE, smarties.describe("tiny", "smart", "1.0.0", "S")], ids=["sky", "smart"])
def test_golden_inputs_hold_all_that_the_encoder_takes_and_a_gap(package: pack.Package) -> None:
    patches = pack.golden_patches(package)
    assert set(patches) == set(golden.input_names(package))
    for slot in package.inputs:
        assert patches[slot.name].shape[-3] == len(slot.bands)
        if slot.temporal and slot.valid_input:
            assert patches[slot.valid_input][0, 0].all() and not patches[slot.valid_input][0, 1].all()
        if slot.days_input:
            assert (patches[slot.days_input] > 0).all()
    assert sum(array.nbytes for array in patches.values()) < pack.GOLDEN_BYTES
    assert all(np.isfinite(array).all() for array in patches.values())
