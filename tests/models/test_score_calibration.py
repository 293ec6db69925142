"""The calibration of scores lies in the weights, and an uncalibrated model is as it was."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from kdeov_mm.models import ClassEmbeddings
from kdeov_mm.models.calibration import ScoreCalibration
from kdeov_mm.models.post_processing import platt_scale
from kdeov_mm.utils import load_weights

FITTED = dict(scale=2.5, bias=-1.5, threshold=0.4, background=0.25)


def test_the_map_is_its_formula_and_keeps_the_ends():
    scores = torch.linspace(0.001, 0.999, 500)
    for scale, bias in ((0.5, 1.0), (1.0, -2.0), (3.0, -2.5)):
        expected = torch.sigmoid(scale * torch.logit(scores.double()) + bias)
        found = platt_scale(scores, scale, bias)
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-4)
        assert (found.diff() >= 0).all()
        ends = platt_scale(torch.tensor([0.0, 1.0, float('nan')]), scale, bias)
        assert ends[:2].tolist() == [0, 1] and ends[2].isnan()
    assert torch.equal(platt_scale(scores, 1.0, 0.0), scores)


def test_weights_without_calibration_are_as_before(build_student, tmp_path, recwarn):
    model = build_student()
    assert not [name for name in model.state_dict() if 'calibration' in name]
    found = model.load_state_dict(model.state_dict())
    assert not found.missing_keys and not found.unexpected_keys
    assert model.background == 0.55 and model.calibration.threshold == 0.3 and not model.calibration.calibrated
    model.calibration.set(**FITTED)
    model.load_state_dict(build_student().state_dict())
    assert model.background == 0.55 and not model.calibration.calibrated


def test_a_calibration_travels_with_the_weights(build_student, tmp_path):
    model = build_student()
    model.calibration.set(**FITTED)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / 'a.safetensors')
    assert load_file(tmp_path / 'a.safetensors')['calibration.scale'].shape == ()
    for name in ('a.pth', 'a.safetensors'):
        other = build_student(seed=1)
        load_weights(other, str(tmp_path / name))
        assert {key: getattr(other.calibration, key) for key in FITTED} == pytest.approx(FITTED, abs=1e-6)
        assert other.background == pytest.approx(0.25) and other.calibration.calibrated


def test_only_a_calibration_of_the_same_scores_counts(build_student):
    model = build_student()
    model.calibration.set(**FITTED)
    for changes in (dict(calibrated=False), dict(lexicon=None, background=None)):
        other = build_student(**changes)
        found = other.load_state_dict(model.state_dict())
        assert not found.missing_keys and not found.unexpected_keys
        assert not other.calibration.calibrated and other.background == changes.get('background', 0.55)


def test_training_ends_a_calibration(build_student, make_samples, texts):
    model = build_student(seed=0).train()
    model.set_vocabulary(ClassEmbeddings([str(i) for i in range(len(texts))], texts))
    model.calibration.set(**FITTED)
    model.loss(torch.rand(2, 3, 64, 64), make_samples(2))
    assert not model.calibration.calibrated and model.background == 0.55


@pytest.mark.parametrize('name, value', [('scale', 0.0), ('bias', float('nan')), ('threshold', 1.5), ('background', 2)])
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f'calibration.{name}'):
        ScoreCalibration(0.5).set(**{**FITTED, name: value})


@torch.no_grad()
def test_detections_are_those_of_raw_scores_with_calibrated_ones(build_student, make_samples):
    model = build_student().eval()
    model.set_vocabulary(ClassEmbeddings.build(['star', 'dog', 'red circle'], model.text_encoder))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    (raw,) = model.predict(images, make_samples(1))
    model.calibration.set(**{**FITTED, 'background': 0.55})
    (found,) = model.predict(images, make_samples(1))
    assert len(raw.pred_instances) and torch.equal(found.pred_instances.bboxes, raw.pred_instances.bboxes)
    assert torch.equal(found.pred_instances.labels, raw.pred_instances.labels)
    for mine, theirs in ((found.pred_instances.scores, raw.pred_instances.scores), (found.presence, raw.presence)):
        torch.testing.assert_close(mine, torch.sigmoid(2.5 * torch.logit(theirs) - 1.5), atol=1e-6, rtol=1e-4)
    assert found.score_threshold == 0.4 and raw.score_threshold == 0.3
