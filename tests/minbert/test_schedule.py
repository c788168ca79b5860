"""Schedules: warm-up from 1 / warmup to 1, then down by shape.

Run: pytest tests/minbert/test_schedule.py
"""

import math

import pytest

from minbert import InputError, schedule_factor


def factors(name, total, warmup=0):
    return [schedule_factor(name, step, total, warmup) for step in range(total + 2)]


def test_shapes_by_hand():
    assert factors("constant", 4) == [1.0] * 6
    assert factors("linear", 4) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    expected = [0.5 * (1 + math.cos(math.pi * k / 4)) for k in (0, 1, 2, 3, 4, 4)]
    assert factors("cosine", 4) == pytest.approx(expected)


def test_warm_up():
    assert factors("linear", 6, warmup=2) == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert factors("constant", 3, warmup=4)[:3] == [0.25, 0.5, 0.75]  # never done
    assert schedule_factor("linear", 0, 0) == 1.0


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        schedule_factor("cosin", 0, 1)
