"""Losses against brute-force loops."""
import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from kdeov_mm.models import CrossModalAlignmentLoss, DistillationLoss, SimilarityDistillationLoss


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize('mode, distance', [
    ('cosine', lambda a, b: 1 - float(a @ b)),
    ('l2', lambda a, b: sum(float(x - y)**2 for x, y in zip(a, b))),
    ('smooth_l1', lambda a, b: sum(float(abs(x - y)) - 0.5 if abs(x - y) > 1 else 0.5 * float(x - y)**2
                                   for x, y in zip(a, b))),
])
def test_distillation_is_the_weighted_mean_distance(mode, distance):
    student, teacher, weight = unit(6, 8), unit(6, 8, seed=1), torch.rand(6)
    expected = sum(float(w) * distance(s, t) for s, t, w in zip(student, teacher, weight)) / float(weight.sum())
    assert DistillationLoss(mode, loss_weight=3.)(student, teacher, weight).item() == pytest.approx(3 * expected, rel=1e-5)


def test_distillation_of_nothing_is_zero_and_has_a_gradient():
    student = torch.zeros(0, 8, requires_grad=True)
    loss = DistillationLoss()(student, torch.zeros(0, 8))
    loss.backward()
    assert loss.item() == 0


def test_distillation_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="'huber' is unknown"):
        DistillationLoss('huber')


def test_similarity_distillation_is_the_mean_kl_divergence():
    student, teacher, texts = unit(4, 8), unit(4, 8, seed=1), unit(5, 8, seed=2)
    expected = 0.
    for s, t in zip(student, teacher):
        p = [math.exp(20 * float(t @ text)) for text in texts]
        q = [math.exp(20 * float(s @ text)) for text in texts]
        expected += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q)) / 4
    assert SimilarityDistillationLoss(20.)(student, teacher, texts).item() == pytest.approx(expected, rel=1e-4)
    assert SimilarityDistillationLoss(20.)(teacher, teacher, texts).item() == pytest.approx(0, abs=1e-6)


def test_alignment_equals_open_clips_loss_and_learns_its_temperature():
    images, texts = unit(7, 8).requires_grad_(), unit(7, 8, seed=1)
    loss = CrossModalAlignmentLoss(init_scale=14.)
    value = loss(images, texts)
    assert value.item() == pytest.approx(ClipLoss()(images, texts, torch.tensor(14.)).item(), rel=1e-6)
    value.backward()
    assert loss.log_scale.grad.abs() > 0


def test_alignment_scale_is_bounded():
    images, texts = unit(3, 8), unit(3, 8, seed=1)
    assert torch.equal(CrossModalAlignmentLoss(init_scale=1000.)(images, texts),
                       CrossModalAlignmentLoss(init_scale=100.)(images, texts))
