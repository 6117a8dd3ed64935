"""Joining regions across the borders of chunks that arrive one after another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from backend.geo.grid import Window

CLOSED = -1
_PAIR = np.int64(1) << np.int64(32)


@dataclass
class _Frontier:
    """Pixel edges of one orientation that have been seen from one side only, sorted by key.

    Attributes:
        keys: int64 (N,), place of the edge.
        pieces: int64 (N,), the piece on the known side; `CLOSED` where there is no region.
        classes: int64 (N,), its class.
    """

    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    pieces: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    classes: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def meet(self, edges: _Frontier) -> tuple[np.ndarray, _Frontier]:
        """Takes new edges in: those known from the other side leave the frontier, the others join it.

        Returns:
            Mask of the new edges that were met, and the edges that left (in the order of the met ones).
        """
        place = np.searchsorted(self.keys, edges.keys)
        met = np.zeros(len(edges.keys), dtype=bool)
        inside = place < len(self.keys)
        met[inside] = self.keys[place[inside]] == edges.keys[inside]
        gone = place[met]
        left = _Frontier(self.keys[gone], self.pieces[gone], self.classes[gone])
        keys = np.concatenate([np.delete(self.keys, gone), edges.keys[~met]])
        pieces = np.concatenate([np.delete(self.pieces, gone), edges.pieces[~met]])
        classes = np.concatenate([np.delete(self.classes, gone), edges.classes[~met]])
        order = np.argsort(keys, kind="stable")
        self.keys, self.pieces, self.classes = keys[order], pieces[order], classes[order]
        return met, left


class Seams:
    """Which pieces of regions belong together, and which regions can no longer grow.

    A piece is a region of one chunk that reaches the chunk's border. Two pieces of one class are joined when they share
    a pixel edge across a border. Memory follows the borders whose other side has not arrived yet.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._upright, self._level = _Frontier(), _Frontier()
        self._parent: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}
        self._open_edges: dict[int, int] = {}
        self._next_piece = 0

    def add(self, window: Window, labels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
        """Takes a chunk's regions in.

        Args:
            window: the chunk's place; chunks may not overlap.
            labels: (H, W), region of each pixel; -1 where there is none.
            classes: (regions,), class of each region.

        Returns:
            The piece number of each region (regions,), `CLOSED` where it lies within the chunk, and the regions that
            this chunk completed, as lists of piece numbers.
        """
        sides = self._sides(window, labels)
        touching = np.unique(np.concatenate([labels_there for _, _, labels_there in sides] or [np.zeros(0, dtype=int)]))
        touching = touching[touching >= 0]
        pieces = np.full(len(classes), CLOSED, dtype=np.int64)
        pieces[touching] = np.arange(self._next_piece, self._next_piece + len(touching))
        self._next_piece += len(touching)
        for piece in pieces[touching].tolist():
            self._parent[piece], self._members[piece], self._open_edges[piece] = piece, [piece], 0
        touched: set[int] = set(pieces[touching].tolist())
        for frontier in (self._upright, self._level):
            mine = [(keys, there) for side, keys, there in sides if side is frontier]
            if mine:
                keys, there = (np.concatenate(part) for part in zip(*mine, strict=True))
                edges = _Frontier(keys, np.append(pieces, CLOSED)[there], np.append(classes.astype(np.int64), 0)[there])
                touched.update(self._join(frontier, edges))
        return pieces, self._completed(touched)

    def finish(self) -> list[list[int]]:
        """The regions still open; to be called when no more chunks come."""
        groups = sorted(sorted(members) for members in self._members.values())
        self._parent, self._members, self._open_edges = {}, {}, {}
        return groups

    def _sides(self, window: Window, labels: np.ndarray) -> list[tuple[_Frontier, np.ndarray, np.ndarray]]:
        """Frontier, edge keys and labels along each side of the chunk that does not lie on the grid's border."""
        rows, cols = np.arange(window.row, window.bottom), np.arange(window.col, window.right)
        sides = []
        if window.col > 0:
            sides.append((self._upright, window.col * self._height + rows, labels[:, 0]))
        if window.right < self._width:
            sides.append((self._upright, window.right * self._height + rows, labels[:, -1]))
        if window.row > 0:
            sides.append((self._level, window.row * self._width + cols, labels[0]))
        if window.bottom < self._height:
            sides.append((self._level, window.bottom * self._width + cols, labels[-1]))
        return sides

    def _join(self, frontier: _Frontier, edges: _Frontier) -> Iterable[int]:
        """Joins pieces across the edges that are now known from both sides; returns the pieces concerned."""
        met, left = frontier.meet(edges)
        for pieces, sign in ((edges.pieces[~met], 1), (left.pieces, -1)):
            numbers, counts = np.unique(pieces[pieces >= 0], return_counts=True)
            for piece, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                self._open_edges[self._root(piece)] += sign * count
        here = edges.pieces[met]
        same = (here >= 0) & (left.pieces >= 0) & (edges.classes[met] == left.classes)
        for pair in np.unique(here[same] * _PAIR + left.pieces[same]).tolist():
            self._unite(pair // int(_PAIR), pair % int(_PAIR))
        return np.unique(left.pieces[left.pieces >= 0]).tolist()

    def _root(self, piece: int) -> int:
        """The piece that stands for a region."""
        root = piece
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[piece] != root:
            self._parent[piece], piece = root, self._parent[piece]
        return root

    def _unite(self, first: int, second: int) -> None:
        """Makes one region of two."""
        kept, gone = self._root(first), self._root(second)
        if kept == gone:
            return
        if len(self._members[kept]) < len(self._members[gone]):
            kept, gone = gone, kept
        self._parent[gone] = kept
        self._members[kept] += self._members.pop(gone)
        self._open_edges[kept] += self._open_edges.pop(gone)

    def _completed(self, touched: set[int]) -> list[list[int]]:
        """Forgets the regions that have no open edge left, and returns their pieces."""
        groups = []
        for root in sorted({self._root(piece) for piece in touched}):
            if self._open_edges[root] == 0:
                group = sorted(self._members.pop(root))
                del self._open_edges[root]
                for piece in group:
                    del self._parent[piece]
                groups.append(group)
        return groups
