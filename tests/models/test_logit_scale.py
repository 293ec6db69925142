"""The logit scale of the head, the losses and the dual encoder."""

import math

import pytest
import torch
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from kdeov_mm.models.clip import ClassEmbeddings
from kdeov_mm.models.logit_scale import LogitScaleMixin
from kdeov_mm.models.losses import CrossModalAlignmentLoss
from kdeov_mm.utils import InputError, load_weights


class Scaled(LogitScaleMixin, nn.Module):
    def __init__(self, init_scale=10.0, size=()):
        super().__init__()
        self.init_logit_scale(init_scale, size)


@pytest.mark.parametrize('init_scale', [0.0, -1.0, math.nan])
def test_a_scale_is_positive(init_scale):
    with pytest.raises(ValueError, match='init_scale'):
        Scaled(init_scale)


def test_it_is_bounded_from_the_start():
    assert Scaled(1000.0, (2,)).scale.tolist() == pytest.approx([100.0, 100.0], rel=1e-5)
    unbounded = type('Unbounded', (Scaled,), dict(max_logit_scale=math.inf))
    assert unbounded(1000.0).scale.item() == pytest.approx(1000.0, rel=1e-5)


def test_it_is_bounded_and_keeps_its_gradient():
    module = Scaled(10.0, (2,))
    with torch.no_grad():
        module.logit_scale.fill_(9.0)
    module.clamp_logit_scale()
    assert module.scale.tolist() == pytest.approx([100.0, 100.0], rel=1e-5)
    module.scale.sum().backward()
    assert module.logit_scale.grad.tolist() == pytest.approx([100.0, 100.0], rel=1e-5)


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, _load_checkpoint_to_model])
def test_weights_with_the_old_name_load(load):
    model = nn.Sequential(Scaled(), CrossModalAlignmentLoss())
    load(model, {'0.log_scale': torch.tensor(1.5), '1.log_scale': torch.tensor(2.5)})
    assert [part.logit_scale.item() for part in model] == [1.5, 2.5]
    load(model, {'0.log_scale': torch.tensor(9.0), '1.log_scale': torch.tensor(2.5)})
    assert model[0].scale.item() == pytest.approx(100.0, rel=1e-5)  # as the head of version 0.1 computed
    assert set(model.state_dict()) == {'0.logit_scale', '1.logit_scale'}


@pytest.mark.parametrize('value', [torch.tensor(math.nan), torch.tensor([1.0, 2.0])], ids=['NaN', 'shape'])
def test_weights_with_the_old_name_are_checked(value, tmp_path):
    path = str(tmp_path / 'old.pth')
    torch.save(dict(state_dict={'0.log_scale': value, '1.log_scale': torch.tensor(1.0)}), path)
    with pytest.raises(InputError, match='logit_scale'):
        load_weights(nn.Sequential(Scaled(), Scaled()), path)


def test_the_heads_scale_is_bounded_in_training_and_can_come_back(build_student, make_samples, texts):
    model = build_student().train()
    model.set_vocabulary(ClassEmbeddings([str(i) for i in range(len(texts))], texts))
    with torch.no_grad():
        model.bbox_head.logit_scale.fill_(9.0)
    losses = model.loss(torch.rand(2, 3, 64, 64), make_samples(2))
    assert model.bbox_head.scale.item() == pytest.approx(100.0, rel=1e-5)
    losses['loss_text'].backward()
    assert model.bbox_head.logit_scale.grad.abs() > 0
