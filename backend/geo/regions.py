"""Connected regions of a class array: pixels of one class that share an edge (4-connectivity)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_REGION = -1


@dataclass(frozen=True)
class Regions:
    """The regions of an array of classes, numbered by their first pixel in reading order.

    Attributes:
        labels: int32 (H, W), the region of every pixel, `NO_REGION` where there is no class.
        classes: (regions,), the class of every region.
        sizes: int64 (regions,), pixels of every region.
    """

    labels: np.ndarray
    classes: np.ndarray
    sizes: np.ndarray


def label_regions(classes: np.ndarray, nodata: int | None = None) -> Regions:
    """The 4-connected regions of equal values in an integer array (H, W); `nodata` belongs to no region.

    Works on runs (stretches of one value within a row), so that the cost follows the detail of the map more than
    its pixels.
    """
    height, width = classes.shape
    starts = np.ones((height, width), dtype=bool)
    np.not_equal(classes[:, 1:], classes[:, :-1], out=starts[:, 1:])
    run_of_pixel = (np.cumsum(starts.ravel(), dtype=np.int32) - 1).reshape(height, width)
    first_pixel = np.flatnonzero(starts)
    run_class = classes.ravel()[first_pixel]
    run_length = np.diff(first_pixel, append=height * width)

    # Where two runs of a class lie above one another, one of the two starts at the first column they share.
    meeting = (classes[1:] == classes[:-1]) & (starts[1:] | starts[:-1])
    rows, cols = np.nonzero(meeting)
    component = connected_components(len(first_pixel), run_of_pixel[rows, cols], run_of_pixel[rows + 1, cols])

    is_root = component == np.arange(len(component), dtype=component.dtype)
    if nodata is not None:
        is_root &= run_class != nodata
    number = np.cumsum(is_root, dtype=np.int32) - 1
    run_label = number[component]
    if nodata is not None:
        run_label[run_class == nodata] = NO_REGION
    known = run_label != NO_REGION
    count = int(is_root.sum())
    sizes = np.bincount(run_label[known], weights=run_length[known], minlength=count).astype(np.int64)
    return Regions(run_label[run_of_pixel], run_class[is_root], sizes)


def connected_components(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest member of each node's component in a graph of `count` nodes and the edges first[i]-second[i].

    Hooks the larger of two roots onto the smaller and halves all paths until every edge lies within one tree.
    """
    parent = np.arange(count, dtype=np.int32)
    while len(first):
        root_a, root_b = parent[first], parent[second]
        apart = root_a != root_b
        first, second = first[apart], second[apart]
        low, high = np.minimum(root_a, root_b)[apart], np.maximum(root_a, root_b)[apart]
        parent[high] = low
        while True:
            grandparent = parent[parent]
            if np.array_equal(grandparent, parent):
                break
            parent = grandparent
    return parent
