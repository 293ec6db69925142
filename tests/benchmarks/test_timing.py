"""Timing in turns."""

import time

import pytest
import torch

from kdeov_mm.benchmarks.timing import time_in_turns


def test_candidates_take_turns_there_and_back_and_slow_ones_fewer(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    def stages(name, seconds):
        def first(value):
            assert value is None
            calls.append(name)
            clock[0] += 1
            return name

        def second(value):
            assert value == name
            clock[0] += seconds

        return dict(first=first, second=second)

    measured = time_in_turns(
        dict(a=stages('a', 1), b=stages('b', 9), c=stages('c', 0)),
        repeats=4,
        device=torch.device('cpu'),
        warmup=2,
        slow=5,
        slow_repeats=1,
    )
    assert ''.join(calls) == 'abccaabccaacca'
    assert measured['a'] == [pytest.approx(dict(first=1, second=1))] * 4
    assert measured['b'] == [pytest.approx(dict(first=1, second=9))]
