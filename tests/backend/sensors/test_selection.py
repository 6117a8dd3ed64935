"""Which dates are used."""

from __future__ import annotations

from backend.sensors.selection import clear_dates, spread_dates, valid_fraction


def test_valid_are_ground_water_and_unclassified() -> None:
    assert valid_fraction({4: 50, 9: 25, 6: 15, 3: 10}) == 0.65
    assert valid_fraction(dict.fromkeys(range(12), 1)) == 5 / 12
    assert valid_fraction({}) == 0.0


def test_clear_dates_are_kept() -> None:
    assert clear_dates([10, 50, 90], [0.8, 0.79, 1.0]) == ((0, 2), False)


def test_of_many_the_clearest_of_each_part_of_the_year() -> None:
    days = [*range(1, 366, 8), 366]
    valid = [0.9] * len(days)
    valid[3] = 0.95  # day 25, in the first part of 36.5 days
    choice = clear_dates(days, valid)
    assert len(choice.indexes) == 10 and choice.indexes[0] == 3 and not choice.cloudy
    assert [(days[index] - 1) * 10 // 365 for index in choice.indexes] == list(range(10))


def test_parts_of_the_year_without_a_clear_date_stay_empty() -> None:
    assert clear_dates([1, 2, 3, 200], [0.9, 0.99, 0.9, 0.85], most=2) == ((1, 3), False)
    assert clear_dates([1, 2, 3], [0.9, 0.99, 0.9], most=2) == ((1,), False)


def test_without_a_clear_date_the_clearest_and_a_warning() -> None:
    assert clear_dates([10, 50, 90], [0.1, 0.5, 0.5]) == ((1,), True)
    assert clear_dates([], []) == ((), True)


def test_radar_dates_are_spread() -> None:
    assert spread_dates([0, 10, 20, 30, 40, 50, 60, 70, 80], 5) == (0, 2, 4, 6, 8)
    assert spread_dates([0, 1, 2, 3, 100], 3) == (0, 3, 4)  # 3 is the nearest to 50
    assert spread_dates([0, 0, 0, 0], 3) == (0, 1, 2)
    assert spread_dates([5, 6], 5) == (0, 1)
    assert spread_dates([0, 40, 100], 1) == (1,)
