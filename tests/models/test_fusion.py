"""Text-guided fusion: identity at the start, order-invariant, and FiLM folds."""

import pytest
import torch

from kdeov_mm.deploy import fold_film
from kdeov_mm.models import CrossAttentionFusion, FiLMFusion, TextBank

FUSIONS = [FiLMFusion, CrossAttentionFusion]


def features(batch=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, channels, size, size, generator=generator) for channels, size in ((8, 8), (16, 4), (24, 2))
    ]


def build(kind, trained=False, **kwargs):
    torch.manual_seed(0)
    fusion = kind([8, 16, 24], 32, **kwargs)
    if trained:
        for parameter in fusion.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return fusion


@pytest.mark.parametrize('kind', FUSIONS)
def test_identity_at_initialisation_and_without_texts(kind):
    feats, texts = features(), torch.randn(5, 32)
    for out, x in zip(build(kind)(feats, texts), feats):
        assert torch.equal(out, x)
    for out, x in zip(build(kind)(features(4), *sets()), features(4)):
        assert torch.equal(out, x)
    for out, x in zip(build(kind, trained=True)(feats, None), feats):
        assert out is x


def assert_same(a, b):
    """Equal to a millionth of the largest value."""
    torch.testing.assert_close(a, b, atol=1e-6 * float(a.abs().max()), rtol=0)


def sets():
    """Sets of texts of 5, 3, 1 and 0 for four images: padded ``[4, 5, D]``, mask ``[4, 5]``."""
    texts = torch.randn(4, 5, 32, generator=torch.Generator().manual_seed(1))
    return texts, torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None]


@pytest.mark.parametrize('kind', FUSIONS)
def test_guidance_acts_and_ignores_the_order_of_the_vocabulary(kind):
    fusion, feats, texts = build(kind, trained=True), features(), torch.randn(5, 32)
    guided, permuted = fusion(feats, texts), fusion(feats, texts[[3, 1, 4, 0, 2]])
    for x, a, b in zip(feats, guided, permuted):
        assert not torch.allclose(x, a, atol=1e-2)
        assert_same(a, b)


@pytest.mark.parametrize('kind', FUSIONS)
def test_a_set_for_each_image_is_what_each_image_alone_would_get(kind):
    fusion, (texts, mask) = build(kind, trained=True), sets()
    feats = features(4)
    guided = fusion(feats, texts, mask)
    order = torch.stack([torch.randperm(5, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    permuted = fusion(feats, texts.gather(1, order[..., None].expand_as(texts)), mask.gather(1, order))
    for i, number in enumerate(mask.sum(1)):
        alone = [x[i : i + 1] for x in feats]
        if number:
            alone = fusion(alone, texts[i, :number])
        for a, b, c in zip(alone, guided, permuted):
            assert_same(a, b[i : i + 1])
            assert_same(a, c[i : i + 1])


@pytest.mark.parametrize('kind', FUSIONS)
def test_one_set_and_a_mask_for_each_image(kind):
    fusion, (texts, mask), feats = build(kind, trained=True), sets(), features(4)
    for a, b in zip(fusion(feats, texts[0], mask), fusion(feats, texts[:1].expand(4, -1, -1), mask)):
        assert torch.equal(a, b)


@pytest.mark.parametrize('kind', FUSIONS)
@pytest.mark.parametrize('garbage', [1e4, float('inf'), float('nan')])
def test_padding_has_no_influence_and_no_gradient(kind, garbage):
    fusion, (texts, mask), feats = build(kind, trained=True), sets(), features(4)

    def run(padding):
        padded = texts.masked_fill(~mask[..., None], padding).requires_grad_()
        fusion.zero_grad()
        out = fusion(feats, padded, mask)
        sum(x.square().sum() for x in out).backward()
        return out, padded.grad, [parameter.grad for parameter in fusion.parameters()]

    (clean, _, expected), (out, grad, found) = run(0.0), run(garbage)
    for a, b in zip([*clean, *expected], [*out, *found]):
        assert torch.equal(a, b) and a.isfinite().all()
    assert (grad[~mask] == 0).all() and (grad[mask] != 0).any()


@pytest.mark.parametrize('kind', FUSIONS)
@pytest.mark.parametrize(
    'texts, mask, named',
    [
        (torch.randn(5, 31), None, r'class_embeddings.*\[K, 32\]'),
        (torch.randn(0, 32), None, 'K > 0'),
        (torch.randn(3, 5, 32), None, r'\[2, K, 32\]'),
        (torch.randn(32), None, 'class_embeddings'),
        (torch.randn(5, 32), torch.ones(2, 4, dtype=torch.bool), r'mask.*\[2, 5\]'),
        (torch.randn(5, 32), torch.ones(2, 5), 'float32'),
    ],
)
def test_shapes_that_do_not_fit_are_named(kind, texts, mask, named):
    with pytest.raises(ValueError, match=named):
        build(kind)(features(), texts, mask)


@pytest.mark.parametrize('neck', ['YOLOv8PAFPN', 'YOLOv5PAFPN'])
@pytest.mark.parametrize('settings', [dict(background=0.0), dict(lexicon=None, background=None)])
def test_folded_film_detects_the_same(build_student, make_samples, texts, neck, settings):
    """The context is the lexicon, or without one the vocabulary."""
    model = build_student(**{'neck.type': neck}, **settings).eval()
    torch.manual_seed(3)
    for parameter in model.fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    model.set_vocabulary(TextBank([str(i) for i in range(5)], texts))
    folded = fold_film(model)
    assert folded.fusion is None and model.fusion is not None
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        guided, unguided = model.extract_feat(images, model.context), model.extract_feat(images)
        assert max((a - b).abs().max() for a, b in zip(guided, unguided)) > 1e-3
        for a, b in zip(guided, folded.extract_feat(images)):
            torch.testing.assert_close(b, a, atol=1e-4, rtol=1e-4)
        plain, deployed = model.predict(images, make_samples(2)), folded.predict(images, make_samples(2))
    for a, b in zip(plain, deployed):
        torch.testing.assert_close(a.pred_instances.scores, b.pred_instances.scores, atol=1e-4, rtol=0)
        assert len(a.pred_instances)


def test_folding_says_what_it_needs(build_student):
    with pytest.raises(ValueError, match='vocabulary'):
        fold_film(build_student(lexicon=None, background=None))
    with pytest.raises(TypeError, match='FiLMFusion'):
        fold_film(build_student(fusion=None))
