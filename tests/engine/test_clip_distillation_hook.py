"""What the distillation hook brings to a batch, computed again from the files by OpenCLIP itself."""

from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from mmyolo.registry import HOOKS, MODELS
from torch.utils.data import IterableDataset

from kdeov_mm.engine.hooks import CLIPDistillationHook
from kdeov_mm.models import TextBank
from kdeov_mm.models.clip import OnlineTargets
from kdeov_mm.utils import unwrap

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture
def cfg(demo_config):
    """The tiny demo, every image flipped, without a second process."""
    cfg = demo_config()
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.type == 'mmdet.RandomFlip':
            transform.prob = 1.0
    cfg.train_dataloader.num_workers = 0
    return cfg


@pytest.fixture
def runner(cfg):
    """What hooks see of a runner in its first epoch, with a vocabulary of three names."""
    model = MODELS.build(cfg.model)
    names = ['red circle', 'solid blue star', 'ring']
    model.set_vocabulary(TextBank.build(names, cfg.model.text_encoder))
    dataloader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    return SimpleNamespace(model=model, epoch=0, seed=0, train_dataloader=dataloader)


@pytest.fixture
def make_hook(cfg):
    return lambda **changes: HOOKS.build({**cfg.custom_hooks[1], **changes})


class Step(NamedTuple):
    """What a model sees of a training step."""

    hook: CLIPDistillationHook
    targets: OnlineTargets
    images: torch.Tensor
    samples: list

    def regions(self, boxes, texts):
        """Embeddings and objectness of all boxes in a row."""
        told = self.targets.region_targets(self.images, self.samples, boxes, texts)
        return (torch.cat(parts) for parts in zip(*told))


def take_step(runner, hook, batch=None):
    """Let a hook prepare a step."""
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    batch = batch or next(iter(runner.train_dataloader))
    hook.before_train_iter(runner, 0, batch)
    model = unwrap(runner.model)
    data = model.data_preprocessor(batch, training=True)
    return Step(hook, model.targets, data['inputs'], data['data_samples'])


@pytest.fixture
def step(runner, make_hook):
    """A step of the demo."""
    return take_step(runner, make_hook())


@pytest.fixture(scope='module')
def clip(tiny_teacher):
    """The teacher, loaded by OpenCLIP alone."""
    return open_clip.create_model('kdeov-shapes', pretrained=tiny_teacher).eval()


def embed_image(clip, image):
    """The embedding ``[D]`` of an RGB image in [0, 1], ``[3, 64, 64]``."""
    mean, std = (
        torch.tensor(value).view(3, 1, 1) for value in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        return F.normalize(clip.encode_image(((image - mean) / std)[None])[0], dim=-1)


def embed_texts(clip, texts):
    with torch.no_grad():
        return F.normalize(clip.encode_text(open_clip.get_tokenizer('kdeov-shapes')(texts)), dim=-1)


def test_the_teacher_sees_the_augmented_images(step, clip):
    expected = []
    for sample in step.samples:
        assert sample.flip
        image = cv2.cvtColor(cv2.imread(sample.img_path), cv2.COLOR_BGR2RGB)[:, ::-1].copy()
        expected.append(embed_image(clip, torch.from_numpy(image).permute(2, 0, 1).float() / 255))
    expected = torch.stack(expected)
    found = torch.stack(step.targets.image_targets(step.images, step.samples))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (expected - expected.roll(1, 0)).norm(dim=-1).min() > 1e-3  # the images are told apart


@pytest.mark.parametrize('epoch', [0, 1])
def test_captions_are_embedded_in_turn(runner, make_hook, clip, epoch):
    runner.epoch = epoch
    step = take_step(runner, make_hook())
    captioned = [sample for sample in step.samples if sample.captions]
    assert 0 < len(captioned) < len(step.samples)
    targets = step.targets.caption_targets(step.samples)
    assert [target is not None for target in targets] == [bool(sample.captions) for sample in step.samples]
    expected = embed_texts(clip, [sample.captions[epoch % len(sample.captions)] for sample in captioned])
    found = torch.stack([target for target in targets if target is not None])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_captions_at_random_are_a_function_of_seed_epoch_and_image(runner, make_hook, clip):
    hook = make_hook(caption_choice='random')
    hook.before_train(runner)
    dataset = runner.train_dataloader.dataset
    infos = [info for info in map(dataset.get_data_info, range(len(dataset))) if info['captions']]

    def choose(seed, epoch):
        runner.seed, runner.epoch = seed, epoch
        samples = [DetDataSample(metainfo=dict(img_path=info['img_path'], captions=info['captions'])) for info in infos]
        hook.before_train_epoch(runner)
        found = torch.stack(runner.model.targets.caption_targets(samples))
        expected = torch.stack([embed_texts(clip, info['captions']) for info in infos])
        distance = (found[:, None] - expected).norm(dim=-1)
        assert distance.min(1).values.max() < 1e-5
        return distance.argmin(1).tolist()

    choices = [choose(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert choices[0] == choose(0, 0) and len(set(map(tuple, choices))) == 3
    assert all(0 < sum(choice) < len(choice) for choice in choices)  # images take theirs independently


def test_captions_of_a_stream_are_embedded_as_they_come(runner, make_hook, clip):
    class Stream(IterableDataset):
        """Knows no data infos."""

        __iter__ = None

    batch = next(iter(runner.train_dataloader))
    runner.train_dataloader = SimpleNamespace(dataset=Stream())
    step = take_step(runner, make_hook(), batch)
    targets = step.targets.caption_targets(step.samples)
    expected = embed_texts(clip, [sample.captions[0] for sample in step.samples if sample.captions])
    found = torch.stack([target for target in targets if target is not None])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_an_image_of_another_size_is_embedded_without_the_batchs_padding(runner, step):
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 40), (30, 64), (64, 64)]
    inputs = [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    samples = step.samples[:3]
    for sample, size in zip(samples, sizes):
        sample.set_metainfo(dict(img_shape=size))
    seen = runner.model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)['inputs']
    assert seen.shape == (3, 3, 64, 64)
    teacher = step.hook.teacher
    for target, image in zip(step.targets.image_targets(seen, samples), inputs):
        expected = teacher.encode_image(image[None].flip(1).float() / 255)[0]
        torch.testing.assert_close(target, expected, atol=1e-5, rtol=0)
    boxes = [torch.tensor([[0.0, 0.0, 30.0, 30.0]])] * 3
    told = step.targets.region_targets(seen, samples, boxes, runner.model.texts)
    regions = torch.cat([each.embeddings for each in told])
    expected = teacher.encode_regions(seen, [torch.tensor([[0.0, 0.0, 30.0, 30.0]])] * 3)
    torch.testing.assert_close(regions, expected, atol=1e-5, rtol=0)


def test_a_region_is_an_object_if_the_vocabulary_beats_the_background(runner, step, clip):
    boxes = [torch.tensor([[4.0, 4.0, 40.0, 30.0], [20.0, 10.0, 60.0, 60.0]]), torch.zeros(0, 4)]
    boxes += [torch.tensor([[0.0, 0.0, 64.0, 64.0]])] * (len(step.samples) - 2)
    embeddings, probability = step.regions(boxes, runner.model.texts)
    parts = [step.hook.teacher.encode_regions(image[None], [box]) for image, box in zip(step.images, boxes)]
    torch.testing.assert_close(embeddings, torch.cat(parts), atol=1e-5, rtol=0)

    assert probability.shape == (len(embeddings),) and (probability >= 0).all() and (probability <= 1).all()
    names = [f'a photo of a {name}.' for name in runner.model.vocabulary]
    texts = embed_texts(clip, names + ['an empty background', 'nothing but a background'])
    scale = clip.logit_scale.exp().item()
    for embedding, found in zip(embeddings, probability):
        weights = [torch.exp(scale * (embedding @ text)).item() for text in texts]
        assert found.item() == pytest.approx(sum(weights[: len(names)]) / sum(weights), abs=1e-4)


def test_a_batch_without_any_region(runner, step):
    embeddings, probability = step.regions([torch.zeros(0, 4)] * len(step.samples), runner.model.texts)
    assert embeddings.shape == (0, 128) and probability.shape == (0,)


def test_a_wrapped_model_is_taught_too(runner, make_hook):
    """Distributed training hides the student's attributes behind a wrapper."""
    student = runner.model
    runner.model = torch.nn.DataParallel(student)
    step = take_step(runner, make_hook())
    assert step.targets is student.targets and step.targets.teacher is step.hook.teacher
    _, probability = step.regions([torch.tensor([[0.0, 0.0, 30.0, 30.0]])] * len(step.samples), student.texts)
    assert probability.isfinite().all()


def test_without_alignment_captions_are_left_alone(runner, make_hook):
    del runner.model.loss_image.losses['align']
    step = take_step(runner, make_hook())
    assert any(sample.captions for sample in step.samples)
    assert step.targets.caption_targets(step.samples) == [None] * len(step.samples)


def test_without_regions_the_head_is_left_alone(runner, make_hook):
    step = take_step(runner, make_hook(regions=False))
    boxes = [torch.zeros(0, 4)] * len(step.samples)
    told = step.targets.region_targets(step.images, step.samples, boxes, runner.model.texts)
    assert told == [None] * len(step.samples) and not step.targets.proposals


@pytest.mark.parametrize('epoch', [0, 1, 2])
def test_proposals_are_shown_from_an_epoch_on(runner, make_hook, epoch):
    runner.epoch = epoch
    assert take_step(runner, make_hook(proposals_from_epoch=1)).targets.proposals == (epoch >= 1)


def test_an_unknown_choice_of_captions_is_refused(make_hook):
    with pytest.raises(ValueError, match="'turn'.*'random'.*'first'"):
        make_hook(caption_choice='first')


def test_regions_need_a_text_encoder(cfg, runner, make_hook):
    teacher = runner.model.text_encoder.teacher
    runner.model = MODELS.build(dict(cfg.model, text_encoder=None))
    with pytest.raises(ValueError, match=r'model\.text_encoder'):
        make_hook(teacher=teacher).before_train(runner)


def test_ready_embeddings_do_not_name_a_teacher(cfg, runner, make_hook, tmp_path):
    np.save(tmp_path / 'e.npy', np.eye(2, 128))
    encoder = dict(type='PrecomputedTextEncoder', embeddings=str(tmp_path / 'e.npy'), names=['a', 'b'])
    runner.model = MODELS.build(dict(cfg.model, text_encoder=encoder))
    with pytest.raises(ValueError, match='teacher.*PrecomputedTextEncoder'):
        make_hook(regions=False).before_train(runner)


def test_a_teacher_of_another_dimension_is_refused(cfg, runner, make_hook):
    runner.model = MODELS.build(dict(cfg.model, embed_dims=64))
    with pytest.raises(ValueError, match=r'model\.embed_dims=64.*model\.embed_dims=128'):
        make_hook().before_train(runner)


def test_test_batches_are_embedded(runner, make_hook):
    hook = make_hook()
    hook.before_test_epoch(runner)
    batch = next(iter(runner.train_dataloader))
    hook.before_test_iter(runner, 0, batch)
    assert ['teacher_embedding' in sample for sample in batch['data_samples']] == [True] * 8


def test_the_teachers_time_is_not_told_as_that_of_loading(cfg):
    """``data_time`` ends where IterTimerHook's ``before_train_iter`` does."""
    names = [type(hook).__name__ for hook in Runner.from_cfg(cfg).hooks]
    assert names.index('IterTimerHook') < names.index('CLIPDistillationHook')
