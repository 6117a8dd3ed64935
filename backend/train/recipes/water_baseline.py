"""Two small water models, from Sentinel-2 reflectance and from Sentinel-1 backscatter: the honest baselines.

Scores follow the data kit's protocols (splits.csv) and stand beside its floors (floors.csv). What is shipped is trained
on the training data of the protocol; test data are never trained on and nothing was chosen by them.

Optical, Boadella reservoir: `other_date` trains on two dates and tests on a third of the same place; `halves` trains on
one half of the scene and tests the other half of the third date, both directions pooled. The Sentinel-2 image of a
Sen1Floods11 chip (Spain) is another place that no optical model was trained on.
Radar, Sen1Floods11: six chips, each tested by a network trained on the other five with the same configuration. The
shipped network is trained on all six, so its own score is unknown; the six folds estimate it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from backend.protocol.errors import ParameterError
from backend.tasks.intervals import Score
from backend.train.data import kit
from backend.train.data.kit import Chip
from backend.train.evaluate.segmentation import block_counts, counts, f1, iou, mean_of_units, pooled, stack
from backend.train.fit import FitConfig, fit, predict, statistics
from backend.train.recipes import water_package

LOG = logging.getLogger(__name__)
BLOCK = 48  # pixels; the floors' intervals use the same blocks
EXTERNAL = "Spain_7370579"
DRY = "Ghana_53713"


@dataclass(frozen=True)
class WaterBaseline:
    """What the recipe needs.

    Attributes:
        data: folder of the data kit.
        output: folder that the packages are written to.
        sensor: "s2", "s1" or "both".
        steps: optimiser steps per network; 0 for the sensor's own number.
        seed: of everything random.
        threads: threads of torch.
        select: 1 compares the configurations in `CANDIDATES` by inner validation on training data, and writes nothing.
    """

    data: Path
    output: Path
    sensor: str = "both"
    steps: int = 0
    seed: int = 0
    threads: int = 2
    select: int = 0


@dataclass(frozen=True)
class Setup:
    """How a sensor's network looks and is fitted."""

    bands: tuple[str, ...]
    fit: FitConfig
    network: dict[str, Any] = field(default_factory=dict)

    def train(self, chips: Sequence[Chip]) -> tuple[nn.Module, dict[str, object]]:
        """A network fitted to the chips, and the parameters it was built with."""
        mean, std = statistics(chips)
        parameters: dict[str, object] = {"input_name": "image", "mean": mean, "std": std, **self.network}
        LOG.info("training on %s", ", ".join(chip.name for chip in chips))
        return fit("baseline", parameters, chips, self.fit), parameters

    def counts(self, network: nn.Module, chip: Chip, block: int = 0) -> np.ndarray:
        """Counts of a chip, per block where `block` is given."""
        prediction = predict(network, chip.image, self.fit.fill)
        return block_counts(prediction, chip.label, block) if block else counts(prediction, chip.label)


BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
# Band pairs: NDWI (green, near infrared), MNDWI (green, short-wave infrared 1 and 2), red and blue likewise.
RATIOS = (1, 3, 1, 4, 1, 5, 2, 3, 0, 3)
SETUPS = {
    "s2": Setup(BANDS, FitConfig(steps=300, gain=0.2, material=0.3, haze=0.05), {"ratios": RATIOS}),
    "s1": Setup(("VH",), FitConfig(steps=120, crop=96, shift=0.5, fill=-16.0), {"smoothing": 9, "width": 4}),
}
# Compared by inner validation (see `select`); the first one of each sensor is the setup above.
CANDIDATES: dict[str, dict[str, Setup]] = {
    "s2": {
        "bands and ratios, disturbed per class": SETUPS["s2"],
        "bands and ratios, disturbed": replace(SETUPS["s2"], fit=FitConfig(steps=300, gain=0.2, haze=0.06)),
        "ratios only": replace(SETUPS["s2"], network={"ratios": RATIOS, "keep_bands": False}),
    },
    "s1": {
        "VH": SETUPS["s1"],
        "VV and VH": replace(SETUPS["s1"], bands=("VV", "VH"), network={**SETUPS["s1"].network, "differences": (0, 1)}),
        "mean of VH only": replace(SETUPS["s1"], network={**SETUPS["s1"].network, "keep_bands": False}),
    },
}


def run(options: WaterBaseline) -> dict[str, Any]:
    """Trains, scores and packs the water baselines.

    Raises:
        ParameterError: an unknown sensor, or no data kit.
        OutputError: a package of the same version exists.
    """
    if options.sensor not in ("s1", "s2", "both"):
        raise ParameterError(f"the sensor {options.sensor!r} is unknown", "", "use s1, s2 or both")
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {}
    for sensor in ("s2", "s1") if options.sensor == "both" else (options.sensor,):
        if options.select:
            report[sensor] = select(options.data, sensor, options)
            continue
        setup = _configured(SETUPS[sensor], options)
        scores = optical_scores(options.data, setup) if sensor == "s2" else radar_scores(options.data, setup)
        chips = training_chips(options.data, sensor, setup)
        network, parameters = setup.train(chips)
        package = water_package.pack(sensor, network, parameters, setup.fit, scores, options.output)
        report[sensor] = {"package": package.reference, "digest": package.digest, "scores": scores}
    return report


def _configured(setup: Setup, options: WaterBaseline) -> Setup:
    steps = options.steps or setup.fit.steps
    return replace(setup, fit=replace(setup.fit, steps=steps, seed=options.seed))


def training_chips(data: Path, sensor: str, setup: Setup) -> list[Chip]:
    """What the shipped network is trained on."""
    if sensor == "s2":
        splits = kit.read_splits(data, "boadella_s2", "other_date")
        return [kit.boadella(data, split, setup.bands) for split in splits if split.split == "train"]
    return [kit.sen1floods11(data, split, setup.bands) for split in _folds(data)]


def _folds(data: Path) -> list[kit.Split]:
    return [split for split in kit.read_splits(data, "sen1floods11", "leave_one_chip_out") if split.split.isdigit()]


def _scores(name: str, units: np.ndarray) -> dict[str, dict[str, float]]:
    found: dict[str, Score] = {f"{name}, IoU": pooled(iou, units), f"{name}, F1": pooled(f1, units)}
    return {key: score.to_dict() for key, score in found.items()}


def ndwi(chip: Chip) -> np.ndarray:
    """The rule NDWI > 0 (McFeeters 1996) as a class map H x W; bands as in `BANDS`."""
    return np.asarray(chip.image[1] > chip.image[3], dtype=np.int64)


def optical_scores(data: Path, setup: Setup) -> dict[str, Any]:
    """Water scores of the optical protocols, the rule NDWI > 0 beside them."""
    splits = kit.read_splits(data, "boadella_s2", "other_date")
    network, _ = setup.train(training_chips(data, "s2", setup))
    test = [kit.boadella(data, split, setup.bands) for split in splits if split.split == "test"]
    scores = _optical("other_date", setup, [(network, chip) for chip in test])
    external = kit.sen1floods11_optical(data, EXTERNAL, setup.bands)
    scores |= _optical(f"other place (Sen1Floods11 {EXTERNAL}, L1C)", setup, [(network, external)])
    halves = kit.read_splits(data, "boadella_s2", "halves")
    pairs: list[tuple[nn.Module, Chip]] = []
    for fold in ("0", "1"):
        train = [s for s in halves if s.split != fold and s.note.startswith("train date")]
        network, _ = setup.train([kit.boadella(data, s, setup.bands) for s in train])
        held_out = [s for s in halves if s.split == fold and s.note.startswith("test date")]
        pairs.extend((network, kit.boadella(data, s, setup.bands)) for s in held_out)
    return scores | _optical("halves", setup, pairs)


def _optical(name: str, setup: Setup, pairs: Sequence[tuple[nn.Module, Chip]]) -> dict[str, Any]:
    units = stack([setup.counts(network, chip, BLOCK) for network, chip in pairs])
    rule = stack([block_counts(ndwi(chip), chip.label, BLOCK) for _, chip in pairs])
    return {**_scores(name, units), **_scores(f"{name}, rule NDWI > 0", rule)}


def radar_scores(data: Path, setup: Setup) -> dict[str, Any]:
    """Water scores with one chip left out at a time, per chip, and false alarms on a chip without water."""
    chips = [kit.sen1floods11(data, split, setup.bands) for split in _folds(data)]
    splits = kit.read_splits(data, "sen1floods11", "leave_one_chip_out")
    dry = next(kit.sen1floods11(data, split, setup.bands) for split in splits if split.group == DRY)
    units, alarms, per_chip = [], [], {}
    for left_out in chips:
        network, _ = setup.train([chip for chip in chips if chip is not left_out])
        units.append(setup.counts(network, left_out))
        per_chip[left_out.group] = round(float(iou(units[-1])), 3)
        valid = dry.label >= 0
        alarms.append(float((predict(network, dry.image, setup.fit.fill)[valid] == 1).mean()))
        LOG.info("left out %s: IoU %.3f", left_out.name, per_chip[left_out.group])
    table = stack(units)
    scores: dict[str, Any] = _scores("leave_one_chip_out, pooled pixels", table)
    scores["leave_one_chip_out, mean of chips, IoU"] = mean_of_units(iou, table).to_dict()
    scores["per chip, IoU"] = per_chip
    scores[f"share of {DRY} (no water) called water"] = round(float(np.mean(alarms)), 4)
    return scores


def select(data: Path, sensor: str, options: WaterBaseline) -> dict[str, Any]:
    """Mean IoU of every candidate by inner validation: each training chip by a network of the others.

    For radar every pair of chips is left out together, so that each outer fold has its own inner scores (`without X`),
    in which chip X took no part.
    """
    found: dict[str, Any] = {}
    for name, setup in CANDIDATES[sensor].items():
        setup = _configured(setup, options)
        chips = training_chips(data, sensor, setup)
        found[name] = _inner_pairs(setup, chips) if sensor == "s1" else _inner(setup, chips)
        LOG.info("%s: %s", name, found[name])
    return found


def _inner(setup: Setup, chips: Sequence[Chip]) -> dict[str, float]:
    found = {}
    for chip in chips:
        network, _ = setup.train([other for other in chips if other is not chip])
        found[chip.name] = round(float(iou(setup.counts(network, chip))), 3)
    return found


def _inner_pairs(setup: Setup, chips: Sequence[Chip]) -> dict[str, float]:
    table = np.full((len(chips), len(chips)), np.nan)
    for a in range(len(chips)):
        for b in range(a + 1, len(chips)):
            network, _ = setup.train([chip for index, chip in enumerate(chips) if index not in (a, b)])
            table[a, b] = iou(setup.counts(network, chips[b]))
            table[b, a] = iou(setup.counts(network, chips[a]))
    return {f"without {chip.group}": round(float(np.nanmean(row)), 3) for chip, row in zip(chips, table, strict=True)}
