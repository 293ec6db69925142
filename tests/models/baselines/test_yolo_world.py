"""YOLO-World: the paper's formulas, its size, and that it trains and predicts."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import Runner
from mmyolo.registry import MODELS
from torch import nn

from kdeov_mm.models import TextBank
from kdeov_mm.models.baselines.yolo_world import ImagePoolingAttention, TextGuidedCSPLayer

CONFIG = 'configs/baselines/yolo-world-n.py'


def bank(texts):
    return TextBank([str(i) for i in range(len(texts))], texts)


@pytest.fixture
def model(texts):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.set_vocabulary(bank(texts))
    return model.eval()


@torch.no_grad()
def test_max_sigmoid_attention_is_the_papers():
    torch.manual_seed(0)
    layer, x, texts = TextGuidedCSPLayer(16, 16, embed_dims=6).eval(), torch.randn(2, 16, 3, 4), torch.randn(2, 5, 6)
    seen = []
    layer.final_conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    layer(x, texts)
    last, guided = seen[0][:, -16:-8], seen[0][:, -8:]
    for b in range(2):
        for row in range(3):
            for column in range(4):
                pixel = last[b, :, row, column]
                best = max(float(layer.guide(text) @ pixel) for text in texts[b]) / math.sqrt(8)
                torch.testing.assert_close(guided[b, :, row, column], pixel * torch.tensor(best).sigmoid())


@torch.no_grad()
def test_image_pooling_attention_equals_pytorchs_attention():
    torch.manual_seed(0)
    layer = ImagePoolingAttention([4, 8, 16], embed_dims=32, attn_dims=32, num_heads=4)
    reference = nn.MultiheadAttention(32, 4, batch_first=True)
    parts = layer.query[1], layer.key[1], layer.value[1]
    reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    reference.out_proj.load_state_dict(layer.output.state_dict())
    texts, feats = torch.randn(2, 5, 32), [torch.randn(2, c, s, s) for c, s in ((4, 12), (8, 6), (16, 3))]
    patches = torch.cat(
        [
            linear(F.max_pool2d(x, x.shape[-1] // 3).flatten(2).transpose(1, 2))
            for linear, x in zip(layer.levels, feats)
        ],
        1,
    )
    normed = layer.key[0](patches)  # key and value norms still have the same weights
    expected = texts + reference(layer.query[0](texts), normed, normed)[0]
    assert patches.shape == (2, 27, 32)
    torch.testing.assert_close(layer(texts, feats), expected)


@torch.no_grad()
def test_logits_are_scaled_and_shifted_cosines(model, texts):
    module = model.bbox_head.head_module
    module.shift.copy_(torch.tensor([1.0, 2.0, 3.0]))
    feats = [torch.randn(1, c, s, s) for c, s in ((64, 8), (128, 4), (256, 2))]
    logits = module(feats, 2 * texts)[0]
    for level, (x, logit) in enumerate(zip(feats, logits)):
        cosine = F.cosine_similarity(module.cls_preds[level](x)[0, :, None], texts.T[:, :, None, None], dim=0)
        torch.testing.assert_close(logit[0], cosine / 0.07 + level + 1, atol=1e-5, rtol=1e-4)


def test_the_small_model_has_as_many_parameters_as_the_paper_says():
    cfg = Config.fromfile(CONFIG).model
    for node in (cfg.backbone, cfg.neck, cfg.bbox_head.head_module):
        node.widen_factor = 0.5
    cfg.embed_dims = 512
    number = sum(p.numel() for p in MODELS.build(cfg).parameters())
    assert number == pytest.approx(13e6, rel=0.05)  # table 2: YOLO-World-S without its text encoder


def test_it_predicts_names_of_the_vocabulary_in_use(model, make_samples, texts):
    for number in (5, 1):
        model.set_vocabulary(bank(texts[:number]), closed=True)
        with torch.no_grad():
            found = model.predict(torch.rand(1, 3, 64, 64), make_samples(1))[0].pred_instances
        assert len(found) > 0 and set(found.labels.tolist()) <= set(range(number))


def test_with_a_lexicon_names_may_be_asked_alone(model, make_samples, texts, monkeypatch):
    lexicon = F.normalize(torch.randn(7, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    monkeypatch.setattr(type(model), 'lexicon_embeddings', lexicon)
    model.bbox_head.test_cfg.update(score_thr=0.0, nms=dict(type='nms', iou_threshold=1.0), max_per_img=100_000)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def ask(rows, **options):
        model.set_vocabulary(bank(rows), **options)
        with torch.no_grad():
            return model.predict(images, make_samples(1))[0]

    together = ask(texts)
    assert together.presence.shape == (len(texts),)
    for k in range(len(texts)):
        alone = ask(texts[k : k + 1])
        scores = together.pred_instances.scores[together.pred_instances.labels == k]
        torch.testing.assert_close(alone.pred_instances.scores, scores, atol=1e-6, rtol=0)
        assert alone.presence[0] == pytest.approx(scores.max().item(), abs=1e-6)
        assert alone.presence[0] == pytest.approx(together.presence[k].item(), abs=1e-6)
    closed = ask(texts, closed=True)
    assert 'presence' not in closed and (closed.pred_instances.scores - together.pred_instances.scores).abs().max() > 0


def test_the_lexicon_is_not_used_in_training(model, texts, monkeypatch):
    monkeypatch.setattr(type(model), 'lexicon_embeddings', None)
    assert model.train().extract_feat(torch.rand(1, 3, 64, 64))[1] is model.class_embeddings


def test_a_vocabulary_of_another_dimension_is_refused(model):
    with pytest.raises(ValueError, match=r'\(K, 128\)'):
        model.set_vocabulary(bank(torch.ones(2, 64)))


def test_it_learns_a_batch_by_heart(model, make_samples, texts):
    model.train()
    torch.manual_seed(0)
    images, samples = torch.rand(2, 3, 64, 64), make_samples(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(12):
        losses = model.loss(images, samples)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        history.append(total.item())
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_dfl'}
    assert history[-1] < 0.7 * history[0]


def test_its_config_trains_and_tests_on_the_demos_data(demo_config):
    cfg = demo_config(epochs=1, config=CONFIG)
    runner = Runner.from_cfg(cfg)
    before = runner.model.bbox_head.head_module.logit_scale.detach().clone()
    runner.train()
    assert not torch.equal(runner.model.bbox_head.head_module.logit_scale.detach(), before)
    metrics = runner.test()
    assert {'ov/base/AP50', 'ov/novel/AP50'} <= set(metrics)
