"""The fit of a calibration against loops and known answers."""

import numpy as np
import pytest

from kdeov_mm.apis.calibrate import (
    Candidate,
    Judged,
    choose_background,
    choose_threshold,
    fit_platt_scaling,
    likelihoods,
)


def simulate(count=20_000, scale=2.0, bias=-1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.99, count)
    right = rng.random(count) < 1 / (1 + np.exp(-(scale * np.log(scores / (1 - scores)) + bias)))
    return Judged(scores, right, np.sort(rng.integers(50, size=count)), rng.integers(3, size=50))


def test_the_scaling_that_made_the_data_is_found():
    assert fit_platt_scaling(simulate()) == pytest.approx((2.0, -1.0), abs=0.1)


def test_the_scaling_is_the_most_likely_one():
    judged = simulate(500)
    scale, bias = fit_platt_scaling(judged)
    candidates = 1000
    best = likelihoods(judged, scale, bias, candidates).sum()
    for other in ((scale * 1.1, bias), (scale / 1.1, bias), (scale, bias + 0.2), (scale, bias - 0.2)):
        assert likelihoods(judged, *other, candidates).sum() > best


def test_scores_that_separate_have_a_finite_scaling():
    judged = Judged(
        np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), np.arange(4), np.zeros(4, int)
    )
    assert np.isfinite(fit_platt_scaling(judged)).all()
    for right in ([True] * 4, [False] * 4):
        with pytest.raises(ValueError, match='val_dataset'):
            fit_platt_scaling(Judged(judged.scores, np.array(right), judged.image, judged.missed))


def test_the_likelihood_is_a_loop_over_all_candidates():
    judged, scale, bias, candidates = simulate(100), 1.5, 0.2, 40
    found = likelihoods(judged, scale, bias, candidates)
    hidden = [candidates - int((judged.image == i).sum()) for i in range(50)]
    fraction = sum(judged.missed) / sum(hidden)
    for i in range(50):
        expected = 0.0
        for score, right, image in zip(judged.scores, judged.right, judged.image):
            if image == i:
                p = 1 / (1 + np.exp(-bias) * ((1 - score) / score) ** scale)
                expected -= np.log(p if right else 1 - p)
        for k in range(hidden[i]):
            expected -= np.log(fraction if k < judged.missed[i] else 1 - fraction)
        assert found[i] == pytest.approx(expected, rel=1e-9)


def test_the_largest_background_within_one_standard_error_is_chosen():
    rng = np.random.default_rng(0)
    base, noise = rng.random(100), rng.normal(0, 1, 100)
    noise -= noise.mean()
    error = noise.std(ddof=1) * 10
    losses = base, base + noise + 0.9 * error / 100, base + noise + 1.1 * error / 100
    first, second, third = (Candidate(i / 10, simulate(10), 1.0, 0.0, loss) for i, loss in enumerate(losses))
    assert choose_background([first, second, third]) is second
    assert choose_background([first, third]) is first


@pytest.mark.parametrize('precision', [0.5, 0.8, 0.95])
def test_the_threshold_is_the_smallest_with_the_precision(precision):
    rng = np.random.default_rng(0)
    scores = rng.integers(1, 60, 300) / 60  # with ties
    right = rng.random(300) < scores
    found = choose_threshold(scores, right, precision)
    reached = {value: right[scores >= value].mean() for value in sorted(set(scores))}
    lowest = min(value for value, got in reached.items() if got >= precision)
    below = max((value for value in reached if value < lowest), default=lowest)
    assert below <= found <= lowest and right[scores >= found].mean() >= precision


def test_a_precision_out_of_reach_is_refused():
    with pytest.raises(ValueError, match='0.500'):
        choose_threshold(np.array([0.9, 0.8]), np.array([False, True]), 0.95)
