"""Tensors that need no second computation: constants by their arguments, results by the weights they came from."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, wraps

import torch
from torch import Tensor


def constant(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keeps what a function of hashable, positional arguments returned; it must name the device of what it makes.

    While a graph is traced the tensors are symbols without values, so there each call computes anew. What is kept is
    made outside inference mode, for autograd may not save tensors of inference mode.
    """
    kept = lru_cache(maxsize=64)(function)

    @wraps(function)
    def wrapper(*args: Hashable) -> Tensor:
        if torch.compiler.is_compiling():
            return function(*args)
        with torch.inference_mode(False), torch.no_grad():
            return kept(*args)

    return wrapper


class Memory:
    """Results of weights, kept while the weights stay as they are and no gradient is wanted. Copies start empty."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[tuple[_Seen, ...], Tensor]] = {}

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        return Memory, ()

    def recall(self, key: Hashable, weights: Sequence[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` returns, which depends on `key` and `weights` only."""
        wanted = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        # Weights made in inference mode do not count their changes, so that nobody could tell.
        uncounted = any(weight.is_inference() for weight in weights)
        if wanted or uncounted or torch.compiler.is_compiling():
            return compute()
        kept = self._kept.get(key)
        if kept is None or not all(seen.still(weight) for seen, weight in zip(kept[0], weights, strict=True)):
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve training, too
                kept = (tuple(_Seen(weight) for weight in weights), compute())
            self._kept[key] = kept
        return kept[1]


class _Seen:
    """A weight as it was; notices when it is replaced, moved, converted or changed in place."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weakref.ref(weight)  # an address alone may be used again
        self._state = self._state_of(weight)

    def still(self, weight: Tensor) -> bool:
        return self._weight() is weight and self._state == self._state_of(weight)

    @staticmethod
    def _state_of(weight: Tensor) -> tuple[object, ...]:
        return weight.data_ptr(), weight._version, weight.device, weight.dtype
