"""Multi-granularity contrast: pixels, objects and whole images of two crops (skysense-v2.md, 10.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backend.train.data.source import random_of
from backend.train.data.views import View
from backend.train.objectives.clusters import CLUSTERS, assigned, pooled
from backend.train.objectives.contrast import Centre, ContrastHead, contrast, targets
from backend.train.objectives.positions import cell_centres, inside, sampled, to_crop, to_sample

MOST_POSITIONS = 64  # of a pair of crops
LEAST_OVERLAP = 4  # tokens; of a pair with a local crop


class Crop(NamedTuple):
    """One crop of the samples that have a modality, or of the fused feature.

    Attributes:
        number: of the crop; a pair is two different ones.
        maps: N x T x C x h x w.
        view: the crop's view, of these N samples.
        keys: of the samples.
    """

    number: int
    maps: Tensor
    view: View
    keys: Sequence[str]


class Granularities(nn.Module):
    """Heads of the student or the teacher, one per granularity, shared by the modalities.

    Args:
        width: channels of the maps.
        outputs: logits of a head.
        hidden: width of the heads' hidden layers.
    """

    NAMES = ("pixel", "object", "image")

    def __init__(self, width: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: ContrastHead(width, outputs, hidden) for name in self.NAMES})

    def logits(self, name: str, features: Tensor) -> Tensor:
        """... x width -> ... x outputs of a granularity."""
        found: Tensor = self.heads[name](features)
        return found


class GranularityLoss:
    """The losses of all pairs of a modality's crops.

    Args:
        student, teacher: their heads.
        centres: of the teacher's logits, by granularity.
        temperature: of the teacher.
        drawn: what the draws depend on beside the samples' keys, such as seed and step.
    """

    def __init__(
        self,
        student: Granularities,
        teacher: Granularities,
        centres: nn.ModuleDict,
        temperature: float,
        drawn: Sequence[object],
    ) -> None:
        self._student, self._teacher, self._centres = student, teacher, centres
        self._temperature, self._drawn = temperature, tuple(drawn)

    def __call__(self, student: Sequence[Crop], teacher: Sequence[Crop], globals_: int) -> dict[str, Tensor]:
        """Means over the pairs by granularity; dates are matched by their order.

        Args:
            student: all crops.
            teacher: the global ones.
            globals_: crops below this number are global.
        """
        found: dict[str, list[Tensor]] = {name: [] for name in Granularities.NAMES}
        for seen in student:
            for wanted in teacher:
                if seen.number == wanted.number:
                    continue
                dates = min(seen.maps.shape[1], wanted.maps.shape[1])
                for date in range(dates):
                    first, second = seen.maps[:, date], wanted.maps[:, date]
                    found["image"].append(self._term("image", first.mean(dim=(2, 3)), second.mean(dim=(2, 3))))
                    for name, loss in self._places(seen, wanted, first, second, globals_).items():
                        found[name].append(loss)
        zero = student[0].maps.new_zeros((), dtype=torch.float32) if student else torch.zeros(())
        return {name: torch.stack(losses).mean() if losses else zero for name, losses in found.items()}

    def _places(self, seen: Crop, wanted: Crop, first: Tensor, second: Tensor, globals_: int) -> dict[str, Tensor]:
        """Pixel and object terms of one date of a pair, over the samples whose crops overlap."""
        rows, columns = first.shape[2:]
        cells = cell_centres(rows, columns, first.device)[None].expand(len(first), -1, -1)
        there = to_crop(wanted.view, to_sample(seen.view, cells))
        shared = inside(there)
        theirs, mine = sampled(second, there), first.flatten(2).transpose(1, 2)
        least = 1 if seen.number < globals_ else LEAST_OVERLAP
        pixels: list[tuple[Tensor, Tensor]] = []
        objects: list[tuple[Tensor, Tensor]] = []
        for row, key in enumerate(seen.keys):
            places = shared[row].nonzero()[:, 0]
            if len(places) < least:
                continue
            random = random_of(*self._drawn, key, seen.number, wanted.number)
            kept = places[random.permutation(len(places))[:MOST_POSITIONS]]
            pixels.append((mine[row, kept], theirs[row, kept]))
            if len(places) >= CLUSTERS:
                shares = assigned(theirs[row, places], random)
                objects.append((pooled(mine[row, places], shares), pooled(theirs[row, places], shares)))
        terms = {"pixel": pixels, "object": objects}
        return {
            name: torch.stack([self._term(name, one, other) for one, other in pairs]).mean()
            for name, pairs in terms.items()
            if pairs
        }

    def _term(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """The contrast of features ... x width."""
        centre = self._centres[name]
        assert isinstance(centre, Centre)
        with torch.no_grad():
            logits = self._teacher.logits(name, teacher)
            centre.add(logits)
        wanted = targets(logits, centre.centre, self._temperature)
        return contrast(self._student.logits(name, student), wanted)
