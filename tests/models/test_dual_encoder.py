"""The teacher's own training: its loss against OpenCLIP's and against loops, and a few steps."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from mmyolo.registry import MODELS
from open_clip.loss import ClipLoss

from kdeov_mm.models.dual_encoder import contrastive_loss


@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(0)
    return [F.normalize(torch.randn(6, 16, generator=generator), dim=-1) for _ in range(2)]


@pytest.mark.parametrize('scale', [1.0, 14.0, 100.0])
def test_without_equal_captions_it_is_clips_loss(pairs, scale):
    images, texts = pairs
    expected = ClipLoss()(images, texts, torch.tensor(scale))
    torch.testing.assert_close(contrastive_loss(images, texts, torch.tensor(scale), torch.eye(6)), expected)


def test_equal_captions_share_the_target(pairs):
    images, texts = pairs
    captions = ['a', 'b', 'a', 'c', 'b', 'a']
    texts = texts[[0, 1, 0, 3, 1, 0]]
    same = torch.tensor([[a == b for b in captions] for a in captions]).float()
    scale, total = 7.0, 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i in range(6):
            logits = [scale * float(rows[i] @ columns[j]) for j in range(6)]
            log_sum = math.log(sum(map(math.exp, logits)))
            alike = [j for j in range(6) if captions[j] == captions[i]]
            total -= sum(logits[j] - log_sum for j in alike) / len(alike) / 12
    assert contrastive_loss(images, texts, torch.tensor(scale), same).item() == pytest.approx(total, abs=1e-5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='OpenCLIPDualEncoder',
            model_name='kdeov-shapes',
            data_preprocessor=dict(type='mmdet.DetDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True),
        )
    )


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(256, (3, 64, 64), generator=generator, dtype=torch.uint8) for _ in range(6)]
    samples = [
        DetDataSample(metainfo=dict(captions=[caption], img_shape=(64, 64)))
        for caption in ('a red star', 'a blue ring', 'a red star', 'a moon', 'a fish', 'a heart')
    ]
    return dict(inputs=inputs, data_samples=samples)


def test_steps_lower_the_loss_of_a_fixed_batch(model, batch):
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
    losses = [model.train_step(batch, wrapper)['loss_contrastive'].item() for _ in range(4)]
    assert losses[-1] < losses[0] - 0.1


def test_the_loss_is_that_of_the_batchs_captions(model, batch):
    model.eval()
    data = model.data_preprocessor(batch, True)
    captions = [sample.captions[0] for sample in batch['data_samples']]
    with torch.no_grad():
        loss = model(**data, mode='loss')['loss_contrastive']
        images, texts = model.encode_image(data['inputs']), model.encode_text(captions)
        same = torch.eye(6)
        same[0, 2] = same[2, 0] = 1
        expected = contrastive_loss(images, texts, model.clip.logit_scale.exp(), same)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(6))


def test_the_learnt_scale_stays_below_its_bound(model, batch):
    with torch.no_grad():
        model.clip.logit_scale.fill_(9.0)
    model(**model.data_preprocessor(batch, True), mode='loss')
    assert model.clip.logit_scale.exp().item() == pytest.approx(100.0, rel=1e-5)


def test_prediction_embeds_the_images(model, batch):
    model.eval()
    with torch.no_grad():
        found = model.test_step(batch)
        expected = model.encode_image(torch.stack(batch['inputs']).flip(1).float() / 255)
    torch.testing.assert_close(torch.stack([sample.image_embedding for sample in found]), expected)


def test_images_of_another_size_are_resized(model):
    model.eval()
    image = F.interpolate(torch.rand(1, 3, 4, 4), 64, mode='bicubic').clamp(0, 1)
    with torch.no_grad():
        small = model.encode_image(image)
        large = model.encode_image(F.interpolate(image, 128, mode='bicubic').clamp(0, 1))
        other = model.encode_image(image.flip(1))
    assert (small - large).norm() < 0.2 * (small - other).norm()


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match='kdeov-shape'):
        MODELS.build(dict(type='OpenCLIPDualEncoder', model_name='kdeov-shap'))
