"""The score of a class name in a place does not depend on the other class names."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdeov_mm.models import ClassEmbeddings
from kdeov_mm.models.post_processing import independent_probability

NAMES = ['striped red star', 'red star', 'star', 'solid blue circle', 'dog', 'dotted green fish', 'circle']


@pytest.fixture
def model(build_student):
    model = build_student().eval()
    model.test_cfg.update(nms_pre=10_000, classes_per_box=10_000, score_thr=0.0)
    model.bbox_head.test_cfg.update(nms_pre=10_000, classes_per_box=10_000, score_thr=0.0)
    torch.nn.init.normal_(model.fusion.modulation.weight, std=0.1)
    return model


@torch.no_grad()
def score_maps(model, images, names, others=()):
    """Scores of each class name at each prior: ``{name: [B, N]}``."""
    embed = lambda names: ClassEmbeddings.build(names, model.text_encoder)  # noqa: E731
    model.set_vocabulary(embed(names), embed(others) if others else None)
    feats = model.fuse_and_neck(model.backbone(images), model.context)
    objectness, _, features = model.bbox_head.head_module.towers(feats)
    objectness = torch.cat([level.flatten(1) for level in objectness], 1).sigmoid()
    flat = torch.cat([level.flatten(2) for level in features], 2).transpose(1, 2)
    maps = torch.stack([model.bbox_head.probability(f, model.class_embeddings, model.competitors) for f in flat])
    return {name: (objectness * maps[..., k]).sqrt() for k, name in enumerate(names)}


def test_scores_are_equal_for_subsets_supersets_and_orders(model):
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    together = score_maps(model, images, NAMES)
    rng = np.random.default_rng(0)
    asked = [[name] for name in NAMES] + [
        rng.permutation(NAMES)[: rng.integers(1, len(NAMES) + 1)].tolist() for _ in range(10)
    ]
    for names in asked:
        for name, scores in score_maps(model, images, names).items():
            assert (scores - together[name]).abs().max() <= 1e-5
    assert max(scores.std() for scores in together.values()) > 1e-4


def test_detections_of_a_name_are_those_when_it_is_asked_alone(model, make_samples):
    model.bbox_head.test_cfg.update(max_per_img=100_000)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def detect(names):
        model.set_vocabulary(ClassEmbeddings.build(names, model.text_encoder))
        with torch.no_grad():
            return model.predict(images, make_samples(1))[0]

    together = detect(NAMES)
    for k, name in enumerate(NAMES):
        alone, found = detect([name]), together.pred_instances[together.pred_instances.labels == k]
        torch.testing.assert_close(alone.pred_instances.scores, found.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.pred_instances.bboxes, found.bboxes, atol=1e-3, rtol=0)
        assert alone.presence[0] == pytest.approx(together.presence[k].item(), abs=1e-5)
        assert alone.presence[0] == pytest.approx(alone.pred_instances.scores.max().item(), abs=1e-6)


def test_others_compete(model):
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alone, rivalled = (score_maps(model, images, ['dog'], others)['dog'] for others in ((), ('wolf',)))
    assert (rivalled <= alone).all() and (rivalled < alone).any()


def test_the_probability_is_its_formula():
    rng = np.random.default_rng(0)
    logits, rivals = rng.normal(0, 20, (5, 3)), rng.normal(0, 20, (5, 4))
    competes, background = np.array([[1, -1, 0, 1], [-1, -1, 1, 0], [1, 1, 1, 1]]), 3.0
    found = independent_probability(
        *(torch.tensor(x, dtype=torch.float32) for x in (logits, rivals, competes > 0, competes < 0)), background
    )
    for m in range(5):
        for k in range(3):
            own = np.exp([logits[m, k], *rivals[m, competes[k] < 0]]).mean()
            expected = own / (own + np.exp(rivals[m, competes[k] > 0]).sum() + math.exp(background))
            assert found[m, k].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize('gap', [50.0, 90.0, 200.0])
def test_a_far_better_entry_that_does_not_compete_changes_nothing(gap):
    """Where the lexicon's best entry is a kind of the name, its exponential must not swallow the others."""
    logits, competes = torch.zeros(1, 1), torch.tensor([[0.0, 1.0]])
    found = independent_probability(logits, torch.tensor([[gap, -15.0]]), competes, torch.zeros(1, 2), 1.0)
    assert found.item() == pytest.approx(1 / (1 + math.exp(1) + math.exp(-15)), abs=1e-5)


@pytest.mark.parametrize('gap', [5.0, 90.0, 200.0])
def test_a_kind_of_a_name_shows_the_name(gap):
    competes, hyponyms = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    found = independent_probability(torch.zeros(1, 1), torch.tensor([[gap, 2.0]]), competes, hyponyms, 1.0)
    expected = 1 / (1 + (math.exp(2) + math.exp(1)) / ((1 + math.exp(gap)) / 2))
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_an_entry_of_the_same_meaning_changes_nothing():
    logits, rivals = torch.tensor([[3.0]]), torch.tensor([[3.0, 4.0]])
    double = independent_probability(logits, rivals, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), 1.0)
    assert double.item() == pytest.approx(1 / (1 + math.exp(1) + math.exp(-2)), abs=1e-6)


def test_nan_is_not_hidden():
    nan, zeros = torch.tensor([[float('nan')]]), torch.zeros(1, 2)
    found = independent_probability(nan, zeros, torch.ones(1, 2), zeros, 0.0)
    assert found.isnan().all()


def test_no_lexicon_leaves_the_background(build_student):
    model = build_student(lexicon=None, background=0.5).eval()
    images = torch.rand(1, 3, 64, 64)
    scores = score_maps(model, images, ['dog'])['dog']
    assert model.context is None and ((scores > 0) & (scores < 1)).all()


@pytest.mark.parametrize('changes', [dict(background=None), dict(background=1.5)])
def test_settings_that_do_not_fit_are_refused(build_student, changes):
    with pytest.raises(ValueError, match='background'):
        build_student(**changes)


def test_without_background_classes_compete_with_each_other(build_student, texts):
    model = build_student(lexicon=None, background=None).eval()
    model.set_vocabulary(ClassEmbeddings([str(i) for i in range(len(texts))], texts))
    features = torch.randn(9, model.bbox_head.head_module.embed.in_features)
    with torch.no_grad():
        probability = model.bbox_head.probability(features, model.class_embeddings, model.competitors)
    torch.testing.assert_close(probability.sum(1), torch.ones(9))
    assert model.context is model.class_embeddings


def test_a_closed_vocabulary_is_that_of_a_model_without_background(model, build_student, make_samples):
    vocabulary = ClassEmbeddings.build(NAMES, model.text_encoder)
    published = build_student(lexicon=None, background=None).eval()
    published.load_state_dict(model.state_dict())
    published.bbox_head.test_cfg.update(model.bbox_head.test_cfg)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = []
    for each, options in ((published, {}), (model, dict(closed=True))):
        each.set_vocabulary(vocabulary, **options)
        with torch.no_grad():
            found.append(each.predict(images, make_samples(2)))
    for expected, closed in zip(*found):
        assert 'presence' not in closed
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(expected.pred_instances[key], closed.pred_instances[key])
    model.set_vocabulary(vocabulary)
    with torch.no_grad():
        assert model.predict(images, make_samples(2))[0].presence.shape == (len(NAMES),)
    with pytest.raises(ValueError, match='others'):
        model.set_vocabulary(vocabulary, vocabulary, closed=True)


def test_competitors_follow_the_vocabulary_and_the_device(model):
    embed = lambda names: ClassEmbeddings.build(names, model.text_encoder)  # noqa: E731
    model.set_vocabulary(embed(['star', 'dog']), embed(['wolf']))
    count = len(model.lexicon)
    assert model.competitors.competes.shape == (2, count + 1)
    assert model.competitors.competes[:, -1].tolist() == [1, 1]
    assert model.competitors.competes.sum(1).tolist() == [count + 1 - 30, count + 1]
    hyponyms = model.competitors.hyponyms.to_dense()
    assert hyponyms.sum(1).tolist() == [30, 0] and not (hyponyms * model.competitors.competes).any()
    assert torch.equal(model.competitors.roles, model.competitors.competes - hyponyms)
    assert model.double().competitors.embeddings.dtype == torch.float64
    norms = F.normalize(model.competitors.embeddings, dim=1)
    torch.testing.assert_close(norms, model.competitors.embeddings)
    model.set_vocabulary(embed(['star']))
    assert model.competitors.competes.shape == (1, count)


def test_others_need_a_background(build_student, texts):
    vocabulary = ClassEmbeddings([str(i) for i in range(len(texts))], texts)
    with pytest.raises(ValueError, match='others'):
        build_student(lexicon=None, background=None).set_vocabulary(vocabulary, vocabulary)
