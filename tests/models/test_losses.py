"""Losses against brute-force loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from kdeov_mm.models import (
    CrossModalAlignmentLoss,
    DistillationLoss,
    InteractiveContrastiveLoss,
    SimilarityDistillationLoss,
)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_distillation_is_the_weighted_mean_distance():
    """Half the squared distance of the normalised embeddings."""
    student, teacher, weight = unit(6, 8), unit(6, 8, seed=1), torch.rand(6)
    distances = [sum(float(x - y) ** 2 for x, y in zip(s, t)) / 2 for s, t in zip(student, teacher)]
    expected = sum(float(w) * distance for w, distance in zip(weight, distances)) / float(weight.sum())
    loss = DistillationLoss(loss_weight=3.0)(student, teacher, weight)
    assert loss.item() == pytest.approx(3 * expected, rel=1e-5)


def test_distillation_of_nothing_is_zero_and_has_a_gradient():
    student = torch.zeros(0, 8, requires_grad=True)
    loss = DistillationLoss()(student, torch.zeros(0, 8))
    loss.backward()
    assert loss.item() == 0


def test_similarity_distillation_is_the_mean_kl_divergence():
    student, teacher, texts = unit(4, 8), unit(4, 8, seed=1), unit(5, 8, seed=2)
    expected = 0.0
    for s, t in zip(student, teacher):
        p = [math.exp(20 * float(t @ text)) for text in texts]
        q = [math.exp(20 * float(s @ text)) for text in texts]
        expected += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q)) / 4
    assert SimilarityDistillationLoss(20.0)(student, teacher, texts).item() == pytest.approx(expected, rel=1e-4)
    assert SimilarityDistillationLoss(20.0)(teacher, teacher, texts).item() == pytest.approx(0, abs=1e-6)


def test_alignment_equals_open_clips_loss_and_learns_its_temperature():
    images, texts = unit(7, 8).requires_grad_(), unit(7, 8, seed=1)
    loss = CrossModalAlignmentLoss(init_scale=14.0)
    value = loss(images, texts)
    assert value.item() == pytest.approx(ClipLoss()(images, texts, torch.tensor(14.0)).item(), rel=1e-6)
    value.backward()
    assert loss.logit_scale.grad.abs() > 0


def test_alignment_scale_is_bounded_and_can_come_back():
    images, texts = unit(3, 8), unit(3, 8, seed=1)
    above, at = CrossModalAlignmentLoss(init_scale=1000.0), CrossModalAlignmentLoss(init_scale=100.0)
    value = above(images, texts)
    assert torch.equal(value, at(images, texts)) and above.scale.item() == pytest.approx(100, rel=1e-5)
    value.backward()
    assert above.logit_scale.grad.abs() > 0


# ------------------------------------------------------------------------------------ losses over pairs, as loops
@pytest.fixture
def pairs():
    """Student, teacher, captions ``[6, 8]``."""
    return unit(6, 8), unit(6, 8, seed=1), unit(6, 8, seed=2)


def softmax(scores):
    exponents = [math.exp(score) for score in scores]
    return [value / sum(exponents) for value in exponents]


def rows(a, b, scale):
    """For each row of a the probabilities of the rows of b."""
    return [softmax([scale * float(x @ y) for y in b]) for x in a]


def mean_log(distributions):
    return sum(math.log(row[i]) for i, row in enumerate(distributions)) / len(distributions)


def test_alignment_is_the_mean_of_both_directions(pairs):
    student, _, captions = pairs
    expected = -(mean_log(rows(student, captions, 14.0)) + mean_log(rows(captions, student, 14.0))) / 2
    assert CrossModalAlignmentLoss(14.0)(student, captions).item() == pytest.approx(expected, rel=1e-5)


def test_interactive_contrast_is_across_the_towers(pairs):
    student, teacher, captions = pairs
    expected = -(mean_log(rows(student, captions, 14.0)) + mean_log(rows(captions, teacher, 14.0))) / 2
    assert InteractiveContrastiveLoss(14.0)(student, teacher, captions).item() == pytest.approx(expected, rel=1e-5)


PAIR_LOSSES = [CrossModalAlignmentLoss, InteractiveContrastiveLoss]


@pytest.mark.parametrize('kind', PAIR_LOSSES)
def test_losses_over_pairs_learn_their_parameters_and_accept_no_pair(kind, pairs):
    loss = kind()
    student = pairs[0].clone().requires_grad_()
    arguments = dict(student=student, teacher=pairs[1], captions=pairs[2])
    loss(*(arguments[name] for name in loss.inputs)).backward()
    assert all(parameter.grad.abs() > 0 for parameter in loss.parameters()) and student.grad.abs().sum() > 0
    nothing = kind()(*(value[:0] for name, value in arguments.items() if name in loss.inputs))
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize('kind', PAIR_LOSSES)
def test_weight_and_scale_are_checked_and_applied(kind, pairs):
    arguments = [dict(student=pairs[0], teacher=pairs[1], captions=pairs[2])[name] for name in kind.inputs]
    assert kind(loss_weight=3.0)(*arguments).item() == pytest.approx(3 * kind()(*arguments).item(), rel=1e-6)
    with pytest.raises(ValueError, match=r'init_scale.*\b0\b'):
        kind(init_scale=0)
