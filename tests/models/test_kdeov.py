"""The student's contracts."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmyolo.registry import MODELS

from kdeov_mm.models import TextBank
from kdeov_mm.models.clip import OnlineTargets


def bank(texts):
    return TextBank([str(i) for i in range(len(texts))], texts)


@pytest.mark.parametrize('config', ['configs/kdeov_yolov8n.py', 'configs/kdeov_yolov5s.py'])
def test_image_embedding_is_normalised_and_never_depends_on_the_vocabulary(texts, config):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model).eval()
    torch.nn.init.normal_(model.fusion.modulation.weight)
    images = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        before = model.encode_image(images)
        model.set_vocabulary(bank(texts))
        after = model.encode_image(images)
    assert before.shape == (3, 128) and before.dtype == torch.float32
    torch.testing.assert_close(before.norm(dim=-1), torch.ones(3))
    assert torch.equal(before, after)


def test_training_step_reaches_every_part(build_student, make_samples, texts):
    model = build_student(text_dropout=0.0).train()
    model.set_vocabulary(bank(texts))
    samples = make_samples(4)
    for i, sample in enumerate(samples):
        sample.teacher_embedding = texts[i]
        sample.caption_embedding = texts[i]
        sample.gt_instances.teacher = texts[[0] * len(sample.gt_instances)]
    losses = model.loss(torch.rand(4, 3, 64, 64), samples)
    assert set(losses) == {
        'teacher_cosine',
        'teacher_cosine_p5',
        'loss_distill',
        'loss_similarity',
        'loss_align',
        'align_temperature',
        'loss_obj',
        'loss_bbox',
        'loss_dfl',
        'loss_text',
        'loss_region',
        'loss_region_similarity',
        'found_objects',
    }
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # FiLM's hidden layer feeds a layer whose weights start at zero: its gradient is zero, but it is there.
    assert silent == []


def test_a_batch_without_any_object_gives_finite_losses(build_student, make_samples, texts):
    model = build_student().train()
    model.set_vocabulary(bank(texts))
    losses = model.loss(torch.rand(2, 3, 64, 64), make_samples(3)[1:])
    assert all(torch.as_tensor(value).isfinite() for value in losses.values())
    sum(losses.values()).backward()


def test_prediction_boxes_are_in_original_pixels_inside_the_image(build_student, make_samples, texts):
    model = build_student(background=0.0).eval()
    model.set_vocabulary(bank(texts))
    samples = make_samples(1)
    samples[0].set_metainfo(dict(ori_shape=(32, 16), scale_factor=(2.0, 2.0), img_shape=(64, 32)))
    with torch.no_grad():
        found = model.predict(torch.rand(1, 3, 64, 64), samples)[0].pred_instances
    assert len(found) > 0 and found.labels.max() < 5
    assert (found.bboxes >= 0).all() and (found.bboxes[:, 2] <= 16).all() and (found.bboxes[:, 3] <= 32).all()
    assert (found.scores[:-1] >= found.scores[1:]).all() and found.scores.max() <= 1


def test_one_name_is_a_vocabulary(build_student, make_samples, texts):
    model = build_student().eval()
    model.set_vocabulary(bank(texts[:1]))
    with torch.no_grad():
        found = model.predict(torch.rand(1, 3, 64, 64), make_samples(1))[0].pred_instances
    assert (found.labels == 0).all()


@pytest.mark.parametrize(
    'names, embeddings, named',
    [
        (['a', 'b'], torch.ones(3, 128), r'\b2\b'),
        (['a'], torch.ones(1, 64), r'\(1, 128\)'),
        (['a'], torch.full((1, 128), float('nan')), 'NaN'),
        (['a'], torch.ones(1, 128, dtype=torch.long), 'int64'),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(build_student, names, embeddings, named):
    with pytest.raises(ValueError, match=named):
        build_student().set_vocabulary(TextBank(names, embeddings))


def test_neither_teacher_nor_vocabulary_is_in_the_checkpoint(build_student, texts):
    model = build_student()
    keys = set(model.state_dict())
    model.set_vocabulary(bank(texts))
    model.distill_from(OnlineTargets(torch.nn.Linear(1, 1)))
    assert set(model.state_dict()) == keys
    assert {key.split('.')[0] for key in keys} == {'backbone', 'fusion', 'neck', 'projector', 'bbox_head', 'loss_image'}


@pytest.mark.parametrize('update_buffers', [False, True])
def test_weights_are_averaged_whatever_the_vocabulary(build_student, texts, update_buffers):
    model = build_student()
    runner = SimpleNamespace(model=model, iter=0, epoch=0)
    hook = EMAHook(update_buffers=update_buffers, momentum=0.5)
    hook.before_run(runner)
    start = model.projector.layers[0].weight.clone()
    for runner.iter in range(2):
        model.set_vocabulary(bank(texts[: 3 + runner.iter]))
        with torch.no_grad():
            model.projector.layers[0].weight.add_(1.0)
        hook.after_train_iter(runner, runner.iter)
    hook.before_val_epoch(runner)
    torch.testing.assert_close(model.projector.layers[0].weight, start + 1.5)  # the first step only copies
    assert torch.equal(model.texts, texts[:4])
    hook.after_val_epoch(runner)
    torch.testing.assert_close(model.projector.layers[0].weight, start + 2)


def test_the_vocabulary_goes_where_the_model_goes(build_student, texts):
    model = build_student()
    model.set_vocabulary(bank(texts))
    assert model.double().texts.dtype == torch.float64
    assert model.to('meta').texts.is_meta and dict(model.named_buffers()).get('texts') is None
