"""Text-guided fusion: identity at the start, order-invariant, and FiLM folds."""
import pytest
import torch

from kdeov_mm.deploy import fold_film
from kdeov_mm.models import CrossAttentionFusion, FiLMFusion, TextBank

FUSIONS = [FiLMFusion, CrossAttentionFusion]


def features():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, size, size, generator=generator) for channels, size in ((8, 8), (16, 4), (24, 2))]


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
    for out, x in zip(build(kind, trained=True)(feats, None), feats):
        assert out is x


@pytest.mark.parametrize('kind', FUSIONS)
def test_guidance_acts_and_ignores_the_order_of_the_vocabulary(kind):
    fusion, feats, texts = build(kind, trained=True), features(), torch.randn(5, 32)
    guided, permuted = fusion(feats, texts), fusion(feats, texts[[3, 1, 4, 0, 2]])
    for x, a, b in zip(feats, guided, permuted):
        assert not torch.allclose(x, a, atol=1e-2)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_cross_attention_at_chosen_levels_only():
    feats = features()
    out = build(CrossAttentionFusion, trained=True, levels=[2])(feats, torch.randn(5, 32))
    assert out[0] is feats[0] and out[1] is feats[1] and not torch.equal(out[2], feats[2])
    with pytest.raises(ValueError, match='levels'):
        build(CrossAttentionFusion, levels=[3])


@pytest.mark.parametrize('neck', ['YOLOv8PAFPN', 'YOLOv5PAFPN'])
def test_folded_film_detects_the_same(build_student, make_samples, texts, neck):
    changes = {'neck.type': neck}
    model = build_student(**changes).eval()
    torch.manual_seed(3)
    for parameter in model.fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    model.set_vocabulary(TextBank([str(i) for i in range(5)], texts))
    folded = fold_film(model)
    assert folded.fusion is None and model.fusion is not None
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for guided, unguided, fold in zip(model.extract_feat(images, model.texts), model.extract_feat(images),
                                          folded.extract_feat(images)):
            assert not torch.allclose(guided, unguided, atol=1e-3)
            torch.testing.assert_close(fold, guided, atol=1e-4, rtol=1e-4)
        plain, deployed = model.predict(images, make_samples(2)), folded.predict(images, make_samples(2))
    for a, b in zip(plain, deployed):
        torch.testing.assert_close(a.pred_instances.scores, b.pred_instances.scores, atol=1e-4, rtol=0)


def test_folding_says_what_it_needs(build_student):
    with pytest.raises(ValueError, match='vocabulary'):
        fold_film(build_student())
    with pytest.raises(TypeError, match='FiLMFusion'):
        fold_film(build_student(fusion=None))
