"""The published multi-modal probe of SMARTIES as a network that a model package runs; see `backend.models.registry`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.encoders.smarties import MEMBERS
from backend.models.encoders.smarties_fusion import SEED, complement, mixed_at
from backend.models.encoders.smarties_mixup import draw, taken_from_first
from backend.models.encoders.smarties_projection import PATCH
from backend.models.encoders.smarties_resize import FAST, KINDS, enlarge
from backend.models.encoders.smarties_spectrum import Blend, ranges_of
from backend.models.heads.probes import LinearProbe
from backend.models.layers.constants import constant


class SmartiesPair(nn.Module):
    """The multi-modal probe: mixup concatenation of two co-registered images (section 8.4).

    One fixed draw serves every sample, so that a scene's classes depend neither on chance nor on the batch. The
    probability is the mean over this draw and its complement.

    Args:
        member: "tiny", "vit-b" or "vit-l".
        slots: names of the two images, in the order of the streams.
        band_sets: spectral ranges of each: a band set (section 2), or range keys joined by "/".
        classes: number of classes.
        image_size: pixels per side that images are enlarged to.
        resize: how, one of `smarties_resize.KINDS`.
    """

    output_names = ("scores",)

    def __init__(
        self,
        member: str,
        slots: Sequence[str],
        band_sets: Sequence[str],
        classes: int,
        image_size: int = 224,
        resize: str = FAST,
    ) -> None:
        super().__init__()
        if f"smarties-{member}" not in MEMBERS or len(slots) != 2 or len(band_sets) != 2:
            raise ValueError("a known member and two images with their band sets are needed")
        self.input_names = tuple(slots)
        if resize not in KINDS:
            raise ValueError(f"there is no resizing {resize!r}, there is {', '.join(KINDS)}")
        self.kinds, self.image_size, self.resize = tuple(band_sets), image_size, resize
        # The release leaves the draw random (section 8.4); here its seed fixes it. No tensor: a traced graph can
        # neither draw nor sort like this, and a buffer would stay on the meta device.
        self.taken: tuple[bool, ...] = tuple(taken_from_first(draw(1, (image_size // PATCH) ** 2, SEED))[0].tolist())
        encoder: Any = MEMBERS[f"smarties-{member}"]()
        self.encoder = encoder
        self.head = LinearProbe(2 * encoder.width, classes)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Images B x C x H x W -> logits B x classes of the mean probability that a class is present; float32."""
        images = (enlarge(first, self.image_size, self.resize), enlarge(second, self.image_size, self.resize))
        encoder: Any = self.encoder
        bands: list[tuple[Blend, ...]] = [encoder.bands(ranges_of(kind)) for kind in self.kinds]
        taken = _row(self.taken, first.device).expand(first.shape[0], -1)
        features = mixed_at(encoder, images, (bands[0], bands[1]), taken)
        return _logit_of_mean(self.head(features), self.head(complement(features)))


@constant
def _row(values: tuple[bool, ...], device: torch.device) -> Tensor:
    return torch.tensor([values], device=device)


def _logit_of_mean(first: Tensor, second: Tensor) -> Tensor:
    """The logit of the mean of two sigmoids, exact where these are 0 or 1 in float32."""
    present = torch.logaddexp(functional.logsigmoid(first), functional.logsigmoid(second))
    absent = torch.logaddexp(functional.logsigmoid(-first), functional.logsigmoid(-second))
    return present - absent
