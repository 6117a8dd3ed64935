"""Outlines of pixel regions: corners that add up over pieces of a region, and the polygons they describe.

A region of pixels is given in full by its corners. Let NW, NE, SW, SE be 1 where the pixels around a lattice point
belong to the region and 0 elsewhere; the point's *turn* is NW - NE - SW + SE. It is 0 along straight edges, +1 or -1
at corners, +2 or -2 where two pixels of the region touch diagonally. Turns of disjoint pieces add up to the turns of
their union, so a region that was cut by chunk borders is put together again by summing, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely


@dataclass(frozen=True)
class Corners:
    """Corners of regions, in any order; the turns of entries with equal region and place add up.

    Attributes:
        region: int64 (N,), the region each corner belongs to.
        row, col: int64 (N,), lattice point; pixel (r, c) lies between points (r, c) and (r + 1, c + 1).
        turn: int8 (N,).
    """

    region: np.ndarray
    row: np.ndarray
    col: np.ndarray
    turn: np.ndarray

    def __len__(self) -> int:
        return len(self.region)

    def select(self, chosen: np.ndarray) -> Corners:
        """The corners at some indices or under a mask."""
        return Corners(self.region[chosen], self.row[chosen], self.col[chosen], self.turn[chosen])


def find_corners(labels: np.ndarray) -> Corners:
    """The corners of all regions of a label array (H, W); negative labels are no region."""
    padded = np.full((labels.shape[0] + 2, labels.shape[1] + 2), -1, dtype=labels.dtype)
    padded[1:-1, 1:-1] = labels
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    straight = ((nw == ne) & (sw == se)) | ((nw == sw) & (ne == se))
    row, col = np.nonzero(~straight)
    nw, ne, sw, se = (part[row, col] for part in (nw, ne, sw, se))
    # Each region at a point is counted once, at the first of the four pixels that holds it.
    turns = (
        (nw, 1 - (nw == ne).astype(np.int8) - (nw == sw) + (nw == se), nw >= 0),
        (ne, -1 - (ne == sw).astype(np.int8) + (ne == se), (ne >= 0) & (ne != nw)),
        (sw, -1 + (sw == se).astype(np.int8), (sw >= 0) & (sw != nw) & (sw != ne)),
        (se, np.ones(len(se), dtype=np.int8), (se >= 0) & (se != nw) & (se != ne) & (se != sw)),
    )
    kept = [first & (turn != 0) for _, turn, first in turns]
    return Corners(
        np.concatenate([label[keep] for (label, _, _), keep in zip(turns, kept, strict=True)]).astype(np.int64),
        np.concatenate([row[keep] for keep in kept]),
        np.concatenate([col[keep] for keep in kept]),
        np.concatenate([turn[keep] for (_, turn, _), keep in zip(turns, kept, strict=True)]).astype(np.int8),
    )


def trace_polygons(corners: Corners) -> tuple[np.ndarray, np.ndarray]:
    """The polygons that complete sets of corners describe, in lattice coordinates (x = column, y = row).

    Every region must be 4-connected. Rings touch themselves or one another at most in points, so all polygons are
    valid; holes are rings of their own, every ring starts at its top left edge, no vertex lies within a straight line.

    Returns:
        The region numbers in ascending order (P,), and one shapely polygon for each (P,).
    """
    entries = _sorted_entries(corners)
    if len(entries) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=object)
    tail, head, following = _edges(entries)
    ring_of_edge, edges = _cycles(following)
    return _assemble(entries, tail[edges], head[edges], ring_of_edge)


def _sorted_entries(corners: Corners) -> Corners:
    """Corners summed, in the order region, row, column; a diagonal touch becomes two entries, left one first."""
    order = np.lexsort((corners.col, corners.row, corners.region))
    found = corners.select(order)
    if len(found) == 0:
        return found
    new = np.ones(len(found), dtype=bool)
    new[1:] = (np.diff(found.region) != 0) | (np.diff(found.row) != 0) | (np.diff(found.col) != 0)
    starts = np.flatnonzero(new)
    turn = np.add.reduceat(found.turn.astype(np.int64), starts).astype(np.int8)
    found = found.select(starts)
    return Corners(found.region, found.row, found.col, turn).select(np.repeat(np.arange(len(turn)), np.abs(turn)))


def _edges(entries: Corners) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The horizontal edges: entries 2k and 2k + 1 are the ends of edge k.

    Returns:
        Tail and head entry of each edge, directed so that the region lies to the left when north is up, and the edge
        that follows each edge on its ring.
    """
    count = len(entries)
    # At a diagonal touch the two boundaries turn about the pixels outside the region: left joins down and right joins
    # up for turn +2, left joins up and right joins down for turn -2. Columns list the upper edge first.
    second = np.zeros(count, dtype=np.int8)
    second[1:] = (np.abs(entries.turn[1:]) == 2) & _same_place(entries)
    downward = np.where(entries.turn == 2, 1 - second, second)
    by_column = np.lexsort((downward, entries.row, entries.col, entries.region))
    partner = np.empty(count, dtype=np.int64)
    partner[by_column[0::2]] = by_column[1::2]
    partner[by_column[1::2]] = by_column[0::2]

    left = np.arange(0, count, 2)
    region_below = entries.turn[left] > 0
    tail, head = np.where(region_below, left + 1, left), np.where(region_below, left, left + 1)
    return tail, head, partner[head] // 2


def _same_place(entries: Corners) -> np.ndarray:
    """True where an entry repeats the one before it (N - 1,)."""
    return (np.diff(entries.region) == 0) & (np.diff(entries.row) == 0) & (np.diff(entries.col) == 0)


def _cycles(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cycles of a permutation, by pointer doubling.

    Returns:
        For each place of the sequence the smallest member of its cycle, ascending, and the sequence of all members:
        cycle by cycle, each from its smallest member onwards.
    """
    count = len(following)
    leader, jump = np.arange(count), following
    while True:
        smaller = np.minimum(leader, leader[jump])
        if np.array_equal(smaller, leader):
            break
        leader, jump = smaller, jump[jump]

    last = following == leader
    jump = np.where(last, np.arange(count), following)
    remaining = (~last).astype(np.int64)
    while True:
        further = remaining[jump]
        if not further.any():
            break
        remaining, jump = remaining + further, jump[jump]
    sequence = np.lexsort((-remaining, leader))
    return leader[sequence], sequence


def _assemble(entries: Corners, tail: np.ndarray, head: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of edges listed ring by ring; the first ring of a region holds its top edge, hence is its outer one."""
    vertices = np.stack([tail, head], axis=1).ravel()
    points = np.stack([entries.col[vertices], entries.row[vertices]], axis=1).astype(np.float64)
    first_edge = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
    ring_start = first_edge * 2
    closing = np.append(ring_start[1:], len(points))
    points = np.insert(points, closing, points[ring_start], axis=0)
    ring_offsets = np.append(ring_start, len(vertices)) + np.arange(len(ring_start) + 1)

    region = entries.region[tail[first_edge]]
    first_ring = np.flatnonzero(np.concatenate([[True], region[1:] != region[:-1]]))
    polygon_offsets = np.append(first_ring, len(region))
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (ring_offsets, polygon_offsets))
    return region[first_ring], polygons
