"""The encoders as staged networks: what a model package runs; see `backend.models.stages`.

State dicts have the encoder's own names, so the weights of a package load into `encoders.load` as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from backend.models.encoders.skysense_v2 import MEMBERS as SKYSENSE_V2
from backend.models.encoders.skysense_v2 import SkySenseV2
from backend.models.encoders.skysense_v2_backbone import CHANNELS
from backend.models.encoders.smarties import MEMBERS as SMARTIES
from backend.models.encoders.smarties import Smarties
from backend.models.encoders.smarties_resize import FAST, KINDS, enlarge
from backend.models.encoders.smarties_spectrum import ranges_of
from backend.models.stages import JOIN

Names = tuple[tuple[str, ...], tuple[str, ...]]
ENTRIES = ("entries", "days", "valid")
JOINED = ("fused", "image")


class StagedSkySenseV2(SkySenseV2):
    """Four maps `hr_1` … `hr_4` of each modality; the join is the temporal fusion: the map `fused`, its mean `image`.

    Args:
        member: "tiny", "small", "base", "full" or "full-dense".
        hr_channels: 3, or 4 with near infrared.
        modalities: which of them there are, in the order of the stages.
    """

    def __init__(
        self, member: str, hr_channels: int = CHANNELS["hr"], modalities: Sequence[str] = tuple(CHANNELS)
    ) -> None:
        channels = {name: {**CHANNELS, "hr": hr_channels}[name] for name in modalities}
        super().__init__(**{**_arguments(SKYSENSE_V2, f"skysense-v2-{member}"), "channels": channels})

    @property
    def stages(self) -> Mapping[str, Names]:
        """Inputs and outputs by stage."""
        named: dict[str, Names] = {
            name: ((name,), tuple(f"{name}_{stage + 1}" for stage in range(4))) for name in self.backbone.modalities
        }
        return {**named, JOIN: (ENTRIES, JOINED)}

    def compute(self, stage: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One stage: an image B x C x H x W, or entries B x N x 8C x h x w, days B x N and validity B x N x h x w."""
        if stage != JOIN:
            return self.features(tensors[0], stage)
        entries, days, valid = tensors
        fused: Tensor = self.fusion(entries, days.long(), valid > 0.5)
        return fused, fused.mean(dim=(2, 3))


class StagedSmarties(Smarties):
    """Maps `s2_1` … `s2_4` of four blocks and the class feature `s2_class` of each sensor.

    The image is enlarged to the size that the encoder was trained with. The join is the mean over dates and
    sensors of the last maps: late fusion that keeps the width whatever is given.

    Args:
        member: "tiny", "vit-b" or "vit-l".
        slots: names of the inputs, such as "s2".
        band_sets: spectral ranges of each: "S2", "S1" or "RGB" (smarties.md, 2), or range keys joined by "/".
        image_size: pixels per side that images are enlarged to.
        blocks: the four blocks, from 0, whose maps are given; the last one must be the encoder's last.
        resize: how images are enlarged, one of `smarties_resize.KINDS`.
    """

    def __init__(
        self,
        member: str,
        slots: Sequence[str],
        band_sets: Sequence[str],
        image_size: int = 224,
        blocks: Sequence[int] = (3, 5, 7, 11),
        resize: str = FAST,
    ) -> None:
        super().__init__(**_arguments(SMARTIES, f"smarties-{member}"))
        if len(slots) != len(band_sets) or len(blocks) != 4 or blocks[-1] != len(self.blocks) - 1:
            raise ValueError("every slot needs its band set, and four blocks that end with the last one are needed")
        self.slots = dict(zip(slots, band_sets, strict=True))
        if resize not in KINDS:
            raise ValueError(f"there is no resizing {resize!r}, there is {', '.join(KINDS)}")
        self.image_size, self.wanted, self.resize = image_size, tuple(blocks), resize

    @property
    def stages(self) -> Mapping[str, Names]:
        """Inputs and outputs by stage."""
        named: dict[str, Names] = {
            name: ((name, f"{name}_bands"), (*(f"{name}_{number + 1}" for number in range(4)), f"{name}_class"))
            for name in self.slots
        }
        return {**named, JOIN: (ENTRIES, JOINED)}

    def compute(self, stage: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One stage: an image B x C x H x W and its bands B x C, or entries B x N x D x h x w, days and validity."""
        if stage == JOIN:
            entries, _, valid = tensors
            weights = valid[:, :, None] + 1e-6  # where no entry counts, all do
            fused = (entries * weights).sum(dim=1) / weights.sum(dim=1)
            return fused, fused.mean(dim=(2, 3))
        image, present = tensors
        enlarged = enlarge(image, self.image_size, self.resize)
        found = self.features(enlarged, self.bands(ranges_of(self.slots[stage])), present, self.wanted)
        return (*found.maps, found.feature)


def _arguments(members: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a named member is built with."""
    if name not in members:
        raise ValueError(f"there is no {name}, there is {', '.join(members)}")
    return dict(members[name].keywords)
