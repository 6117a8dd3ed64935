"""Thread borders between the stages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from backend.protocol.errors import SourceError
from backend.scene.stages import prefetch


def threads_called(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_everything_arrives_in_order_from_another_thread() -> None:
    made_in: set[str] = set()

    def make() -> Iterator[int]:
        for number in range(1000):
            made_in.add(threading.current_thread().name)
            yield number

    with prefetch(make, 3, "numbers") as items:
        assert list(items) == list(range(1000))
    assert made_in == {"numbers"} and not threads_called("numbers")


@pytest.mark.parametrize("error", [SourceError("gone"), ValueError("x"), KeyboardInterrupt()])
def test_an_error_is_raised_where_the_items_are_taken(error: BaseException) -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    taken = []
    with pytest.raises(type(error)) as caught, prefetch(make, 1, "failing") as items:
        for item in items:
            taken.append(item)
    assert caught.value is error and taken == [1, 2] and not threads_called("failing")


def test_an_error_before_the_first_item_arrives_too() -> None:
    def make() -> Iterator[int]:
        raise SourceError("gone")

    with pytest.raises(SourceError), prefetch(make, 1, "broken") as items:
        list(items)


def test_leaving_early_stops_the_producer_and_closes_what_it_opened() -> None:
    made: list[int] = []
    closed = threading.Event()

    def make() -> Iterator[int]:
        try:
            for number in itertools.count():
                made.append(number)
                yield number
        finally:
            closed.set()

    with prefetch(make, 2, "endless") as items:
        for item in items:
            if item == 5:
                break
    assert closed.is_set() and not threads_called("endless")
    assert len(made) <= 6 + 2 + 1  # taken, waiting, and the one that found no room


def test_a_producer_is_never_more_than_its_depth_ahead() -> None:
    made, ahead = 0, []

    def make() -> Iterator[int]:
        nonlocal made
        for number in range(200):
            made += 1
            yield number

    with prefetch(make, 2, "eager") as items:
        for taken, _ in enumerate(items, start=1):
            ahead.append(made - taken)
    assert max(ahead) <= 2 + 1


def test_an_error_downstream_ends_a_chain_of_stages() -> None:
    def numbers() -> Iterator[int]:
        yield from itertools.count()

    with (
        pytest.raises(RuntimeError, match="enough"),
        prefetch(numbers, 1, "first") as first,
        prefetch(lambda: (2 * item for item in first), 1, "second") as second,
    ):
        for item in second:
            if item > 10:
                raise RuntimeError("enough")
    assert not threads_called("first") and not threads_called("second")


def test_an_error_upstream_passes_through_a_chain_of_stages() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise SourceError("gone")

    taken = []
    with (
        pytest.raises(SourceError),
        prefetch(numbers, 1, "first") as first,
        prefetch(lambda: (2 * item for item in first), 1, "second") as second,
    ):
        for item in second:
            taken.append(item)
    assert taken == [2]
