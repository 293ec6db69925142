"""Losses against brute-force loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from kdeov_mm.models import (
    ContrastiveRelationalLoss,
    CrossModalAlignmentLoss,
    DistillationLoss,
    InteractiveContrastiveLoss,
    SigmoidLoss,
    SimilarityDistillationLoss,
)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize(
    'mode, distance',
    [
        ('cosine', lambda a, b: 1 - float(a @ b)),
        ('l2', lambda a, b: sum(float(x - y) ** 2 for x, y in zip(a, b))),
        (
            'smooth_l1',
            lambda a, b: sum(
                float(abs(x - y)) - 0.5 if abs(x - y) > 1 else 0.5 * float(x - y) ** 2 for x, y in zip(a, b)
            ),
        ),
    ],
)
def test_distillation_is_the_weighted_mean_distance(mode, distance):
    student, teacher, weight = unit(6, 8), unit(6, 8, seed=1), torch.rand(6)
    expected = sum(float(w) * distance(s, t) for s, t, w in zip(student, teacher, weight)) / float(weight.sum())
    loss = DistillationLoss(mode, loss_weight=3.0)(student, teacher, weight)
    assert loss.item() == pytest.approx(3 * expected, rel=1e-5)


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
    assert loss.log_scale.grad.abs() > 0


def test_alignment_scale_is_bounded_and_can_come_back():
    images, texts = unit(3, 8), unit(3, 8, seed=1)
    above, at = CrossModalAlignmentLoss(init_scale=1000.0), CrossModalAlignmentLoss(init_scale=100.0)
    value = above(images, texts)
    assert torch.equal(value, at(images, texts)) and above.scale.item() == pytest.approx(100, rel=1e-5)
    value.backward()
    assert above.log_scale.grad.abs() > 0


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


def test_the_relational_loss_is_a_divergence(pairs):
    student, teacher, captions = pairs
    both = [
        (rows(teacher, captions, 30.0), rows(student, captions, 9.0)),
        (rows(captions, teacher, 30.0), rows(captions, student, 9.0)),
    ]
    terms = [(p, q) for target, found in both for p_row, q_row in zip(target, found) for p, q in zip(p_row, q_row)]
    divergence = sum(p * math.log(p / q) for p, q in terms) / 6
    loss = ContrastiveRelationalLoss(teacher_scale=30.0, init_scale=9.0)
    assert loss(student, teacher, captions).item() == pytest.approx(divergence, rel=1e-5)
    same = ContrastiveRelationalLoss(teacher_scale=30.0, init_scale=30.0)
    assert same(teacher, teacher, captions).item() == pytest.approx(0, abs=1e-6)


def test_the_relational_loss_has_the_gradients_of_affinity_mimicking(pairs):
    """TinyCLIP's loss (Wu et al. 2023) is the cross-entropy of the same distributions."""
    gradients = []
    for mimicking in (False, True):
        loss, student = ContrastiveRelationalLoss(30.0, init_scale=9.0), pairs[0].clone().requires_grad_()
        both = loss.log_distributions(student, *pairs[1:])
        (sum(F.cross_entropy(q, p.exp()) for q, p in both) if mimicking else loss(student, *pairs[1:])).backward()
        gradients.append((student.grad, loss.log_scale.grad))
    torch.testing.assert_close(*gradients)
    assert gradients[0][0].abs().max() > 0.01


def test_sigmoid_asks_each_pair_alone(pairs):
    student, _, captions = pairs
    expected = 0.0
    for i, image in enumerate(student):
        for j, text in enumerate(captions):
            logit = 10 * float(image @ text) - 3
            expected += math.log(1 + math.exp(-logit if i == j else logit)) / 6
    assert SigmoidLoss(10.0, -3.0)(student, captions).item() == pytest.approx(expected, rel=1e-5)


PAIR_LOSSES = [
    CrossModalAlignmentLoss,
    InteractiveContrastiveLoss,
    ContrastiveRelationalLoss,
    SigmoidLoss,
]


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
    with pytest.raises(ValueError, match='init_scale: must be positive, got 0'):
        kind(init_scale=0)
