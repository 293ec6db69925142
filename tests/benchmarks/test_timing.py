"""Timing of candidates that are compared: each as often as asked, and a drift of the machine hits all alike."""

import time

import pytest
import torch

from kdeov_mm.benchmarks.timing import time_in_turns

CPU = torch.device('cpu')


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a stage lets them pass."""
    now = [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
    return now


def make_candidates(clock, calls, **seconds):
    """Candidates of two stages; the second takes the candidate's own seconds, and each is given the one's result."""

    def stages(name, duration):
        def first(value):
            assert value is None
            calls.append(name)
            clock[0] += 1
            return name

        def second(value):
            assert value == name
            clock[0] += duration

        return dict(first=first, second=second)

    return {name: stages(name, duration) for name, duration in seconds.items()}


def test_each_candidate_is_timed_as_often_as_asked_and_slow_ones_fewer(clock):
    calls = []
    candidates = make_candidates(clock, calls, a=1, b=9, c=0)
    measured = time_in_turns(candidates, repeats=4, device=CPU, warmup=2, slow=5, slow_repeats=1)
    assert list(measured) == ['a', 'b', 'c']
    assert measured['a'] == [pytest.approx(dict(first=1, second=1))] * 4
    assert measured['b'] == [pytest.approx(dict(first=1, second=9))]
    assert measured['c'] == [pytest.approx(dict(first=1, second=0))] * 4
    assert calls.count('a') == calls.count('c') == 2 + 4
    assert calls.count('b') == 1 + 1  # no further warm-up


@pytest.mark.parametrize('warmup', [0, 1, 2])
def test_candidates_are_interleaved_and_a_steady_drift_cancels(clock, warmup):
    calls = []

    def slower_and_slower(name):
        def stage(_):
            calls.append(name)
            clock[0] += 1 + len(calls) / 100

        return dict(stage=stage)

    names = ['a', 'b', 'c', 'd']
    measured = time_in_turns({name: slower_and_slower(name) for name in names}, 6, CPU, warmup, slow=100)
    rounds = [calls[start : start + 4] for start in range(0, len(calls), 4)]
    assert len(rounds) == warmup + 6 and all(sorted(each) == names for each in rounds)
    totals = [sum(each['stage'] for each in measured[name]) for name in names]
    assert totals == pytest.approx([totals[0]] * 4)
    assert len({tuple(each) for each in rounds}) > 1  # nobody always follows the same neighbour
