"""torchvision's compiled operators where they load; nothing needs them, they are only faster.

Many builds of torchvision import beside another build of torch and fail at the first call, so that call is tried here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


@cache
def operators() -> Any | None:
    """`torchvision.ops`, or None where it is missing or does not work."""
    try:
        from torchvision import ops

        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        ops.roi_align(torch.zeros(1, 1, 2, 2), [torch.zeros(1, 4)], 1)
    except (ImportError, OSError, RuntimeError, AttributeError, NotImplementedError):
        return None
    return ops
