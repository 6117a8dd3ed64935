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


@dataclass(frozen=True)
class Junctions:
    """Points within a straight edge of a region where two other regions meet: vertices that neighbours have there.

    Attributes:
        region, row, col: int64 (N,), as in `Corners`.
        upright: bool (N,), True where the edge runs along a column.
    """

    region: np.ndarray
    row: np.ndarray
    col: np.ndarray
    upright: np.ndarray


def find_corners(labels: np.ndarray) -> Corners:
    """The corners of all regions of a label array (H, W); negative labels are no region."""
    nw, ne, sw, se = _surroundings(labels)
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


def find_junctions(labels: np.ndarray) -> Junctions:
    """The junctions on edges of the regions of a label array (H, W)."""
    nw, ne, sw, se = _surroundings(labels)
    north, south, west, east = nw == ne, sw == se, nw == sw, ne == se
    kinds = (
        (nw, north & ~south & ~west & ~east, False),
        (sw, south & ~north & ~west & ~east, False),
        (nw, west & ~east & ~north & ~south, True),
        (ne, east & ~west & ~north & ~south, True),
    )
    region, row, col, upright = [], [], [], []
    for label, where, is_upright in kinds:
        rows, cols = np.nonzero(where & (label >= 0))
        region.append(label[rows, cols].astype(np.int64))
        row.append(rows)
        col.append(cols)
        upright.append(np.full(len(rows), is_upright))
    return Junctions(*(np.concatenate(part) for part in (region, row, col, upright)))


def _surroundings(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the pixels north-west, north-east, south-west and south-east of every lattice point (H + 1, W + 1)."""
    padded = np.full((labels.shape[0] + 2, labels.shape[1] + 2), -1, dtype=labels.dtype)
    padded[1:-1, 1:-1] = labels
    return padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]


def trace_polygons(corners: Corners, junctions: Junctions | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The polygons that complete sets of corners describe, in lattice coordinates (x = column, y = row).

    Every region must be 4-connected. Rings touch one another at most in points, so all polygons are valid; holes are
    rings of their own, every ring starts at its top left edge. Vertices within straight lines are made at junctions
    only.

    Returns:
        The region numbers in ascending order (P,), and one shapely polygon for each (P,).
    """
    entries = _sorted_entries(corners)
    if len(entries) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=object)
    by_column = _column_order(entries)
    tail, head, following = _edges(entries, by_column)
    ring_of_edge, edges = _cycles(following)
    order = _Sequence(entries, tail, head, edges, ring_of_edge)
    extra = _Insertions.none() if junctions is None else _junction_vertices(junctions, order, by_column)
    return _assemble(order, extra)


@dataclass(frozen=True)
class _Sequence:
    """Edges in the order of the rings.

    Attributes:
        entries: corners; edge k runs between entries 2k and 2k + 1.
        tail, head: entry at the beginning and end of each edge (K,).
        edges: edge numbers, ring by ring (K,).
        ring: ring of each of `edges` (K,).
    """

    entries: Corners
    tail: np.ndarray
    head: np.ndarray
    edges: np.ndarray
    ring: np.ndarray


@dataclass(frozen=True)
class _Insertions:
    """Vertices to be put before places of the sequence of vertices, sorted.

    Attributes:
        place: (N,).
        points: float64 (N, 2).
    """

    place: np.ndarray
    points: np.ndarray

    @staticmethod
    def none() -> _Insertions:
        return _Insertions(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))


def _sorted_entries(corners: Corners) -> Corners:
    """Corners summed, in the order region, row, column; a diagonal touch becomes two entries, left one first."""
    order = np.lexsort((corners.col, corners.row, corners.region))
    found = corners.select(order)
    if len(found) == 0:
        return found
    starts = np.flatnonzero(np.concatenate([[True], ~_same_place(found)]))
    turn = np.add.reduceat(found.turn.astype(np.int64), starts).astype(np.int8)
    found = found.select(starts)
    return Corners(found.region, found.row, found.col, turn).select(np.repeat(np.arange(len(turn)), np.abs(turn)))


def _same_place(entries: Corners) -> np.ndarray:
    """True where an entry repeats the region and place of the one before it (N - 1,)."""
    return (np.diff(entries.region) == 0) & (np.diff(entries.row) == 0) & (np.diff(entries.col) == 0)


def _column_order(entries: Corners) -> np.ndarray:
    """Entries in the order region, column, row, so that entries 2k and 2k + 1 are the ends of an upright edge.

    At a diagonal touch the two boundaries turn about the pixels outside the region: left joins down and right joins up
    for turn +2, left joins up and right joins down for turn -2. Columns list the upper edge first.
    """
    second = np.zeros(len(entries), dtype=np.int8)
    second[1:] = (np.abs(entries.turn[1:]) == 2) & _same_place(entries)
    downward = np.where(entries.turn == 2, 1 - second, second)
    return np.lexsort((downward, entries.row, entries.col, entries.region))


def _edges(entries: Corners, by_column: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The level edges: entries 2k and 2k + 1 are the ends of edge k.

    Returns:
        Tail and head entry of each edge, directed so that the region lies to the left when north is up, and the edge
        that follows each edge on its ring.
    """
    partner = np.empty(len(entries), dtype=np.int64)
    partner[by_column[0::2]] = by_column[1::2]
    partner[by_column[1::2]] = by_column[0::2]
    left = np.arange(0, len(entries), 2)
    region_below = entries.turn[left] > 0
    tail, head = np.where(region_below, left + 1, left), np.where(region_below, left, left + 1)
    return tail, head, partner[head] // 2


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


def _junction_vertices(junctions: Junctions, order: _Sequence, by_column: np.ndarray) -> _Insertions:
    """Where on the rings the junctions lie: after the tail of a level edge or after its head on an upright one."""
    entries = order.entries
    stride = int(max(entries.row.max(), entries.col.max())) + 1
    position = np.empty(len(order.edges), dtype=np.int64)
    position[order.edges] = np.arange(len(order.edges))

    level_key = (entries.region * stride + entries.row) * stride + entries.col
    wanted = (junctions.region * stride + junctions.row) * stride + junctions.col
    level_edge = np.searchsorted(level_key, wanted) // 2
    upright_key = (entries.region * stride + entries.col) * stride + entries.row
    wanted = (junctions.region * stride + junctions.col) * stride + junctions.row
    upright_edge = np.searchsorted(upright_key[by_column], wanted) // 2

    is_head = np.zeros(len(entries), dtype=bool)
    is_head[order.head] = True
    # The searches are right for their own orientation only; the other half is clipped and not used.
    level_edge = np.minimum(level_edge, len(order.tail) - 1)
    upright_edge = np.minimum(upright_edge, len(order.tail) - 1)
    upper, lower = by_column[2 * upright_edge], by_column[2 * upright_edge + 1]
    start = np.where(junctions.upright, np.where(is_head[upper], upper, lower), order.tail[level_edge])
    place = 2 * position[start // 2] + 1 + junctions.upright
    distance = np.abs(junctions.row - entries.row[start]) + np.abs(junctions.col - entries.col[start])
    sequence = np.lexsort((distance, place))
    points = np.stack([junctions.col, junctions.row], axis=1).astype(np.float64)
    return _Insertions(place[sequence], points[sequence])


def _assemble(order: _Sequence, extra: _Insertions) -> tuple[np.ndarray, np.ndarray]:
    """Region numbers and polygons; the first ring of a region holds its top edge, hence is its outer one."""
    entries, ring = order.entries, order.ring
    vertices = np.stack([order.tail[order.edges], order.head[order.edges]], axis=1).ravel()
    points = np.stack([entries.col[vertices], entries.row[vertices]], axis=1).astype(np.float64)
    first_edge = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
    starts, ends = first_edge * 2, np.append(first_edge[1:] * 2, len(points))

    place = np.concatenate([extra.place, ends])  # a ring's closing point comes after what lies on its last edge
    inserted = np.concatenate([extra.points, points[starts]])
    sequence = np.argsort(place, kind="stable")
    ring_offsets = np.append(0, ends + np.searchsorted(extra.place, ends, side="right") + np.arange(1, len(ends) + 1))
    points = np.insert(points, place[sequence], inserted[sequence], axis=0)

    region = entries.region[order.tail[order.edges[first_edge]]]
    first_ring = np.flatnonzero(np.concatenate([[True], region[1:] != region[:-1]]))
    polygon_offsets = np.append(first_ring, len(region))
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (ring_offsets, polygon_offsets))
    return region[first_ring], polygons
