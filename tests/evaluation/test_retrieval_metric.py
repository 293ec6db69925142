import importlib.util
import json
import math
import re
import statistics
import warnings
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP

from kdeov_mm.evaluation import RetrievalMetric
from kdeov_mm.evaluation.report import make_rows


def brute_force(images, texts, owner, topk, depth=10):
    """Sort every query's candidates in a loop; of equal scores the wrong ones come first."""
    scores = (images.double() @ texts.double().T).mul(1e9).round()
    found = defaultdict(list)

    def judge(direction, right):  # of the candidates, in order
        for k in topk:
            found[f'{direction}/R@{k}'].append(any(right[:k]))
        found[f'{direction}/median_rank'].append(right.index(True) + 1)
        places = [i for i, is_right in enumerate(right[:depth]) if is_right]
        precision = sum((j + 1) / (i + 1) for j, i in enumerate(places))
        found[f'{direction}/mAP@{depth}'].append(precision / min(sum(right), depth))

    for j, i in enumerate(owner):
        order = sorted(range(len(images)), key=lambda x: (-scores[x, j].item(), x == i))
        judge('t2i', [x == i for x in order])
    for i in sorted(set(owner)):
        order = sorted(range(len(texts)), key=lambda y: (-scores[i, y].item(), owner[y] == i))
        judge('i2t', [owner[y] == i for y in order])
    return {
        name: math.floor(statistics.median(values)) if name.endswith('rank') else sum(values) / len(values)
        for name, values in found.items()
    }


def random_unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize('block_size', [1, 7, 512])
def test_equals_brute_force_with_ties(block_size):
    owner = [0, 0, 1, 2, 2, 2, 4, 5, 5, 6, 7, 7, 7, 7, 9]  # images 3 and 8 have no caption
    images = random_unit(10, 8)
    texts = F.normalize(images[owner] + 0.5 * random_unit(15, 8, seed=1), dim=-1)
    images[6], images[9] = images[5], images[5]  # twins in the gallery
    texts[8], texts[3] = texts[0], texts[7]  # one wording for two images, or twice
    texts[11] = texts[10]
    topk = (1, 2, 5, 10)
    found = RetrievalMetric.calculate(images, texts, torch.tensor(owner), topk, block_size)
    assert found == pytest.approx(brute_force(images, texts, owner, topk), abs=1e-12)
    assert 0 < found['t2i/R@1'] < 1 and 0 < found['i2t/R@1'] < 1


def test_an_image_with_more_captions_than_count():
    owner = [0] * 14 + [1] * 3 + [2]
    images, texts = random_unit(4, 8), random_unit(18, 8, seed=1)
    found = RetrievalMetric.calculate(images, texts, torch.tensor(owner))
    assert found == pytest.approx(brute_force(images, texts, owner, (1, 5, 10)), abs=1e-12)


def test_equals_torchmetrics():
    owner = torch.arange(60) // 3
    images, texts = random_unit(20, 16), random_unit(60, 16, seed=1)
    texts = F.normalize(texts + images[owner], dim=-1)
    found = RetrievalMetric.calculate(images, texts, owner)
    scores, right = texts @ images.T, owner[:, None] == torch.arange(20)
    for direction, scores, right in (('t2i', scores, right), ('i2t', scores.T, right.T)):
        query = torch.arange(len(scores))[:, None].expand_as(scores)
        for k in (1, 5, 10):
            expected = RetrievalHitRate(top_k=k)(scores.flatten(), right.flatten(), indexes=query.flatten())
            assert found[f'{direction}/R@{k}'] == pytest.approx(expected.item(), abs=1e-6)
    # Cut at 10, torchmetrics divides by the right answers found, not by those there are: compare where all are found.
    easy = F.normalize(0.9 * random_unit(60, 16, seed=1) + images[owner], dim=-1)
    found, scores = RetrievalMetric.calculate(images, easy, owner), images @ easy.T
    right = owner == torch.arange(20)[:, None]
    assert all(right[i, scores[i].topk(10).indices].sum() == 3 for i in range(20))
    query = torch.arange(20)[:, None].expand_as(scores)
    expected = RetrievalMAP()(scores.flatten(), right.flatten(), indexes=query.flatten()).item()
    assert found['i2t/mAP@10'] == pytest.approx(expected, abs=1e-6) and expected < 1


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = func(*args, **kwargs or {})
        for value in given if isinstance(given, (tuple, list)) else [given]:
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())
        return given


def test_no_full_matrix_is_in_memory():
    images, texts, owner = random_unit(300, 4), random_unit(1500, 4, seed=1), torch.arange(1500) // 5
    with LargestTensor() as largest:
        RetrievalMetric.calculate(images, texts, owner, block_size=16)
    assert largest.numel == 16 * 1500  # one block of images against all texts; the matrix has 300 * 1500


def test_ties_count_against():
    same = RetrievalMetric.calculate(torch.ones(4, 2), torch.ones(4, 2), torch.arange(4), (1, 3, 4))
    for direction in ('t2i', 'i2t'):
        values = {name.split('/')[1]: value for name, value in same.items() if name.startswith(direction)}
        assert values == {'R@1': 0, 'R@3': 0, 'R@4': 1, 'median_rank': 4, 'mAP@10': 1 / 4}


def test_chance_is_what_random_orders_reach():
    owner = torch.tensor([0, 0, 0, 1, 3, 3])
    exact = RetrievalMetric.chance(4, owner, (1, 3, 10))
    assert exact['t2i/R@1'] == 1 / 4 and exact['t2i/R@10'] == exact['i2t/R@10'] == 1
    assert exact['t2i/median_rank'] == 2 and exact['t2i/mAP@10'] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    generator = torch.Generator().manual_seed(0)
    hits, ranks, precisions = [], [], []
    for _ in range(4000):
        order = owner[torch.randperm(6, generator=generator)].tolist()
        for i in (0, 1, 3):
            places = [place for place, other in enumerate(order, 1) if other == i]
            hits.append(places[0] <= 3)
            ranks.append(places[0])
            precisions.append(sum(j / place for j, place in enumerate(places, 1)) / len(places))
    assert exact['i2t/R@3'] == pytest.approx(sum(hits) / len(hits), abs=0.02)
    assert exact['i2t/median_rank'] == statistics.median(ranks)
    assert exact['i2t/mAP@10'] == pytest.approx(sum(precisions) / len(precisions), abs=0.01)


def run(samples, **kwargs):
    metric = RetrievalMetric(text_encoder=dict(type='Fake'), **kwargs)
    metric.process(None, samples)
    return metric, metric.evaluate(len(samples))


@pytest.fixture
def real_samples(fake_text, coco_mini):
    """Real captions; what a picture's embedding is must come from somewhere: from noise around its captions'."""
    data = json.loads((coco_mini / 'annotations/captions_val2017.json').read_text())
    captions = defaultdict(list)
    for ann in data['annotations']:
        captions[ann['image_id']].append(ann['caption'])
    samples = []
    for i, image in enumerate(data['images']):
        mean = torch.stack([fake_text(text) for text in captions[image['id']]]).mean(0)
        samples.append(
            dict(
                img_id=image['id'],
                img_path=str(coco_mini / 'val2017' / image['file_name']),
                captions=captions[image['id']],
                image_embedding=F.normalize(mean + 0.9 * random_unit(32, seed=i), dim=0),
                teacher_embedding=F.normalize(mean + 0.4 * random_unit(32, seed=i), dim=0),
            )
        )
    assert len(samples) == 79 and all(len(sample['captions']) >= 5 for sample in samples)
    return samples


def stack(samples, fake_text):
    """Images (student's), texts, owner."""
    return (
        torch.stack([sample['image_embedding'] for sample in samples]),
        torch.stack([fake_text(text) for sample in samples for text in sample['captions']]),
        [i for i, sample in enumerate(samples) for _ in sample['captions']],
    )


def test_real_captions(fake_text, real_samples):
    metric, metrics = run(real_samples)
    _, texts, owner = stack(real_samples, fake_text)
    for role, field in (('', 'image_embedding'), ('teacher/', 'teacher_embedding')):
        images = torch.stack([sample[field] for sample in real_samples])
        for name, value in brute_force(images, texts, owner, (1, 5, 10)).items():
            assert metrics[f'{role}retrieval/{name}'] == pytest.approx(value, abs=1e-12)
    assert metrics['chance/retrieval/t2i/R@5'] == pytest.approx(5 / 79)
    assert metrics['chance/retrieval/i2t/R@1'] == pytest.approx(1 / 79, rel=0.05)
    for example in metric.examples:
        right = next(s['img_path'] for s in real_samples if example['query'] in s['captions'])
        found = [answer['img_path'] for answer in example['answers']]
        assert [answer['hit'] for answer in example['answers']] == [path == right for path in found]
        assert example['rank'] == found.index(right) + 1 if right in found else example['rank'] > len(found)


@pytest.mark.skipif(importlib.util.find_spec('clip_benchmark') is None, reason='clip-benchmark is not installed')
def test_equals_clip_benchmark(fake_text, real_samples):
    from clip_benchmark.metrics import zeroshot_retrieval

    class Model:
        encode_image = staticmethod(lambda images: images)
        encode_text = staticmethod(lambda tokens: torch.stack([fake_text(all_texts[i]) for i in tokens.tolist()]))

    all_texts = sorted({text for sample in real_samples for text in sample['captions']})
    batches = [
        (torch.stack([sample['image_embedding'] for sample in batch]), [sample['captions'] for sample in batch])
        for batch in (real_samples[i : i + 32] for i in range(0, 79, 32))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        expected = zeroshot_retrieval.evaluate(
            Model,
            batches,
            lambda texts: torch.tensor([all_texts.index(text) for text in texts]),
            'cpu',
            amp=False,
            recall_k_list=[1, 5, 10],
        )
    _, metrics = run(real_samples)
    for ours, theirs in (('t2i', 'image'), ('i2t', 'text')):
        for k in (1, 5, 10):
            assert metrics[f'retrieval/{ours}/R@{k}'] == pytest.approx(
                expected[f'{theirs}_retrieval_recall@{k}'], abs=1e-6
            )


def test_folds_are_galleries_of_their_own(fake_text, real_samples):
    metric, metrics = run(real_samples, fold_size=26, prefix='retrieval_26')
    folds = [real_samples[:27], real_samples[27:53], real_samples[53:]]
    expected = [brute_force(*stack(fold, fake_text), (1, 5, 10)) for fold in folds]
    for name in expected[0]:
        mean = sum(fold[name] for fold in expected) / 3
        assert metrics[f'retrieval_26/{name}'] == pytest.approx(mean, abs=1e-12)
    assert metrics['chance/retrieval_26/t2i/R@1'] == pytest.approx((1 / 27 + 2 / 26) / 3)
    assert metric.num_folds(12) == 1 and {row.task for row in make_rows(metrics)} == {'retrieval_26'}


def test_a_fold_without_captions_asks_nothing(fake_text):
    samples = [
        dict(img_id=i, img_path=f'{i}.jpg', captions=[f'text {i}'] * (i < 2), image_embedding=random_unit(32))
        for i in range(4)
    ]
    _, metrics = run(samples, fold_size=2)
    assert metrics['chance/retrieval/t2i/R@1'] == 1 / 2


def test_queries_of_ones_own(fake_text, real_samples, tmp_path):
    known = real_samples[7]['captions'][2]
    metric, _ = run(real_samples, queries=[known, 'a red bus at night'], num_answers=4)
    first, second = metric.examples
    assert first['query'] == known and first['rank'] >= 1 and second['rank'] is None
    assert not any(answer['hit'] for answer in second['answers']) and len(second['answers']) == 4
    image, texts = metric.image_examples[-1], {text for sample in real_samples[-1:] for text in sample['captions']}
    assert image['img_path'] == real_samples[-1]['img_path']
    assert [answer['hit'] for answer in image['answers']] == [answer['text'] in texts for answer in image['answers']]
    files = metric.draw(tmp_path)
    assert [path.name for path in files] == ['retrieval_grid.png', 'retrieval_captions.png']
    assert all(path.stat().st_size > 1000 for path in files)


@pytest.mark.parametrize(
    'options, value',
    [
        (dict(fold_size=0), 'fold_size.*0'),
        (dict(num_answers=0), 'num_answers.*0'),
        (dict(queries='a dog'), "queries.*'a dog'"),
        (dict(queries=[]), r'queries.*\[\]'),
    ],
)
def test_bad_options(options, value):
    with pytest.raises(ValueError, match=value):
        RetrievalMetric(text_encoder={}, **options)


def test_a_damaged_text_encoder_is_named(fake_text, monkeypatch, real_samples):
    monkeypatch.setattr(RetrievalMetric, 'embed', lambda self, texts: torch.full((len(texts), 32), torch.nan))
    with pytest.raises(ValueError, match=f'NaN.*{re.escape(repr(real_samples[0]["captions"][0]))}'):
        run(real_samples)


@pytest.mark.parametrize(
    'change, field',
    [
        (dict(image_embedding=torch.full((32,), torch.nan)), 'image_embedding'),
        (dict(captions=None), 'captions'),
        (dict(captions='a dog'), 'captions'),
        (dict(captions=['a dog', ' ']), 'captions'),
    ],
)
def test_bad_sample_is_named(fake_text, change, field):
    samples = [
        dict(img_id=i, img_path=f'{i}.jpg', captions=[f'text {i}'], image_embedding=random_unit(32)) for i in range(3)
    ]
    samples[1].update(change)
    with pytest.raises(ValueError, match=rf'1\.jpg.*{field}'):
        run(samples)


def test_nothing_to_retrieve(fake_text):
    with pytest.raises(ValueError, match='sample'):
        run([])
    with pytest.raises(ValueError, match=r'\b1 images\b.*caption'):
        run([dict(img_id=0, captions=[], image_embedding=random_unit(32))])
