"""The composition of losses."""

import pytest
import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import nn

from kdeov_mm.models import CrossModalAlignmentLoss, DistillationLoss, FeatureAlignmentLoss, SimilarityDistillationLoss

ALL = dict(
    distill=dict(type='DistillationLoss', loss_weight=2.0),
    similarity=dict(type='SimilarityDistillationLoss'),
    align=dict(type='CrossModalAlignmentLoss', init_scale=10.0),
    icl=dict(type='InteractiveContrastiveLoss'),
)


@pytest.fixture
def student(texts):
    return texts.flip(1)[:4].clone().requires_grad_()


def test_each_loss_gets_what_it_lists(student, texts):
    """Images without a caption count in the losses that need none."""
    captions = [texts[0], None, texts[2], None]
    found = FeatureAlignmentLoss({name: ALL[name] for name in ('distill', 'similarity', 'align')})(
        student, texts, list(texts[:4]), captions
    )
    cosines = sorted(float(student[i] @ texts[i]) for i in range(4))
    expected = dict(
        teacher_cosine=sum(cosines) / 4,
        teacher_cosine_p5=cosines[0] + 0.15 * (cosines[1] - cosines[0]),  # between ranks 0 and 1 of 0 to 3
        loss_distill=DistillationLoss(2.0)(student, texts[:4]).item(),
        loss_similarity=SimilarityDistillationLoss()(student, texts[:4], texts).item(),
        loss_align=CrossModalAlignmentLoss(10.0)(student[[0, 2]], texts[[0, 2]]).item(),
        align_temperature=0.1,
    )
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('captioned', [0, 1, 4])
def test_any_number_of_captions_trains(student, texts, captioned):
    loss = FeatureAlignmentLoss(ALL)
    found = loss(student, texts, list(texts[:4]), list(texts[:captioned]) + [None] * (4 - captioned))
    assert [name for name in found if 'loss' in name] == [f'loss_{name}' for name in ALL]
    sum(value for name, value in found.items() if 'loss' in name).backward()
    assert student.grad.isfinite().all() and student.grad.abs().sum() > 0
    assert not any(value.requires_grad for name, value in found.items() if 'loss' not in name)


def test_without_a_teacher_only_its_losses_are_left_out(student, texts):
    found = FeatureAlignmentLoss(ALL)(student, texts, [None] * 4, list(texts[:4]))
    assert set(found) == {'loss_align', 'align_temperature'}


def test_a_loss_is_taken_out_by_none(student, texts):
    loss = FeatureAlignmentLoss({**ALL, 'align': None})
    assert 'align' not in loss.losses and loss.inputs == {'student', 'teacher', 'captions', 'vocabulary'}
    assert FeatureAlignmentLoss(dict(distill=ALL['distill'])).inputs == {'student', 'teacher'}


@MODELS.register_module()
class AsksTooMuch(nn.Module):
    inputs = ('student', 'labels')


@pytest.mark.parametrize(
    'losses, named',
    [
        (dict(), 'losses'),
        (dict(align=None), r"losses.*\['align'\]"),
        (dict(mine=dict(type='AsksTooMuch')), r"losses\.mine.*AsksTooMuch.*\('student', 'labels'\)"),
        (dict(mine=dict(type='mmdet.L1Loss')), r'losses\.mine.*L1Loss.*\(\)'),
    ],
)
def test_what_cannot_be_composed_is_refused(losses, named):
    with pytest.raises(ValueError, match=named):
        FeatureAlignmentLoss(losses)


@pytest.mark.parametrize('missing', range(4))
def test_an_image_without_a_target_has_fewer_losses(student, texts, missing):
    """The others' losses are those of a batch without it, whichever image it is."""
    loss = FeatureAlignmentLoss(ALL)
    captions, teacher = list(texts[1:5]), list(texts[:4])
    teacher[missing] = None
    found = loss(student, texts, teacher, captions)
    rest = [row for row in range(4) if row != missing]
    expected = loss(student[rest], texts, [teacher[row] for row in rest], [captions[row] for row in rest])
    for name, value in found.items():
        if name.startswith('loss_') and 'teacher' in loss.losses[name.removeprefix('loss_')].inputs:
            torch.testing.assert_close(value, expected[name])
    torch.testing.assert_close(found['teacher_cosine'], expected['teacher_cosine'])
    everything = loss(student, texts, list(texts[:4]), captions)
    assert found.keys() == everything.keys()
    torch.testing.assert_close(found['loss_align'], everything['loss_align'])  # has a caption, and needs no teacher


def test_what_a_loss_needs_is_named(student, texts):
    with pytest.raises(ValueError, match=r'losses\.similarity.*VocabularyHook'):
        FeatureAlignmentLoss(dict(similarity=ALL['similarity']))(student, texts[:0], list(texts[:4]))


def test_mixed_precision_does_not_round_the_losses():
    """A cosine of 0.999 and one of 1.001 are the same in bfloat16, and a scale of 100 multiplies the difference."""
    loss = MODELS.build(
        dict(
            type='FeatureAlignmentLoss',
            losses=dict(
                similarity=dict(type='SimilarityDistillationLoss'),
                align=dict(type='CrossModalAlignmentLoss', init_scale=100.0),
            ),
        )
    )
    generator = torch.Generator().manual_seed(0)
    student, teacher, captions, vocabulary = (
        F.normalize(torch.randn(n, 16, generator=generator), dim=-1) for n in (4, 4, 4, 7)
    )
    expected = loss(student, vocabulary, list(teacher), list(captions))
    with torch.autocast('cpu', torch.bfloat16):
        assert loss(student, vocabulary, list(teacher), list(captions)) == expected
