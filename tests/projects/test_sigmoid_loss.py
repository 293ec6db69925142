"""The sigmoid loss, against plain loops."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kdeov_mm.utils import load_config
from projects.sigmoid_loss.sigmoid_loss import SigmoidLoss

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pairs():
    """Student and captions ``[6, 8]``."""
    generator = torch.Generator().manual_seed(0)
    return [F.normalize(torch.randn(6, 8, generator=generator), dim=-1) for _ in range(2)]


def test_each_pair_is_asked_alone(pairs):
    student, captions = pairs
    expected = 0.0
    for i, image in enumerate(student):
        for j, text in enumerate(captions):
            logit = 10 * float(image @ text) - 3
            expected += math.log(1 + math.exp(-logit if i == j else logit)) / 6
    assert SigmoidLoss(10.0, -3.0)(student, captions).item() == pytest.approx(expected, rel=1e-5)
    assert SigmoidLoss(10.0, -3.0, 2.0)(student, captions).item() == pytest.approx(2 * expected, rel=1e-5)


def test_scale_and_bias_are_learnt_and_no_pair_is_accepted(pairs):
    loss, student = SigmoidLoss(init_scale=300.0), pairs[0].clone().requires_grad_()
    loss(student, pairs[1]).backward()
    assert all(parameter.grad.abs() > 0 for parameter in loss.parameters()) and student.grad.abs().sum() > 0
    assert loss.scale.item() == pytest.approx(300, rel=1e-5)  # it has no upper bound
    assert SigmoidLoss()(student[:0], pairs[1][:0]).item() == 0


def test_the_config_trains_it_in_place_of_infonce():
    cfg = load_config(str(ROOT / 'projects/sigmoid_loss/kdeov_yolov8n_pretrain_sigmoid.py'))
    assert {loss.type for loss in cfg.model.loss_image.losses.values() if loss} == {
        'DistillationLoss',
        'SimilarityDistillationLoss',
        'SigmoidLoss',
    }
