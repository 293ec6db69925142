import json
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F

from kdeov_mm.evaluation import RetrievalMetric


def brute_force(images, texts, owner, topk):
    """Sort every query's candidates in a loop; of equal scores the wrong ones come first."""
    scores = (images.double() @ texts.double().T).mul(1e9).round()
    recall = defaultdict(list)
    for j, i in enumerate(owner):
        order = sorted(range(len(images)), key=lambda x: (-scores[x, j].item(), x == i))
        for k in topk:
            recall[f't2i/R@{k}'].append(i in order[:k])
    for i in sorted(set(owner)):
        order = sorted(range(len(texts)), key=lambda y: (-scores[i, y].item(), owner[y] == i))
        for k in topk:
            recall[f'i2t/R@{k}'].append(any(owner[y] == i for y in order[:k]))
    return {name: sum(hits) / len(hits) for name, hits in recall.items()}


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


def test_ties_count_against():
    same = RetrievalMetric.calculate(torch.ones(4, 2), torch.ones(4, 2), torch.arange(4), (1, 3, 4))
    assert same == {'t2i/R@1': 0, 't2i/R@3': 0, 't2i/R@4': 1, 'i2t/R@1': 0, 'i2t/R@3': 0, 'i2t/R@4': 1}


def test_chance_is_what_random_orders_reach():
    owner = torch.tensor([0, 0, 0, 1, 3, 3])
    exact = RetrievalMetric.chance(4, owner, (1, 3, 10))
    assert exact['t2i/R@1'] == 1 / 4 and exact['t2i/R@10'] == exact['i2t/R@10'] == 1
    generator = torch.Generator().manual_seed(0)
    hits = [[(owner[torch.randperm(6, generator=generator)[:3]] == i).any() for i in (0, 1, 3)]
            for _ in range(4000)]
    assert exact['i2t/R@3'] == pytest.approx(torch.tensor(hits).double().mean().item(), abs=0.02)


def run(samples, **kwargs):
    metric = RetrievalMetric(text_encoder=dict(type='Fake'), **kwargs)
    metric.process(None, samples)
    return metric, metric.evaluate(len(samples))


def test_real_captions(fake_text, coco_mini):
    data = json.loads((coco_mini / 'annotations/captions_val2017.json').read_text())
    captions = defaultdict(list)
    for ann in data['annotations']:
        captions[ann['image_id']].append(ann['caption'])
    samples, texts, owner = [], [], []
    for i, image in enumerate(data['images']):
        own = torch.stack([fake_text(text) for text in captions[image['id']]])
        samples.append(
            dict(
                img_id=image['id'],
                img_path=image['file_name'],
                captions=captions[image['id']],
                image_embedding=F.normalize(own.mean(0) + 0.9 * random_unit(32, seed=i), dim=0),
                teacher_embedding=F.normalize(own.mean(0) + 0.4 * random_unit(32, seed=i), dim=0)))
        texts += list(own)
        owner += [i] * len(own)
    assert len(samples) == 79 and len(texts) >= 5 * 79
    metric, metrics = run(samples, block_size=32)
    for role, field in (('', 'image_embedding'), ('teacher/', 'teacher_embedding')):
        images = torch.stack([sample[field] for sample in samples])
        for name, value in brute_force(images, torch.stack(texts), owner, (1, 5, 10)).items():
            assert metrics[f'{role}retrieval/{name}'] == pytest.approx(value, abs=1e-12)
    assert metrics['chance/retrieval/t2i/R@5'] == pytest.approx(5 / 79)
    assert metrics['chance/retrieval/i2t/R@1'] == pytest.approx(1 / 79, rel=0.05)
    for example in metric.examples:
        right = next(s['img_path'] for s in samples if example['query'] in s['captions'])
        assert [answer['hit']
                for answer in example['answers']] == [a['img_path'] == right for a in example['answers']]


@pytest.mark.parametrize('change, message', [
    (dict(image_embedding=torch.full((32, ), torch.nan)), r'1\.jpg: image_embedding holds NaN'),
    (dict(captions=None), r'1\.jpg: the data sample has no captions'),
    (dict(captions='a dog'), r'1\.jpg: captions must be non-empty strings'),
    (dict(captions=['a dog', ' ']), r'1\.jpg: captions must be non-empty strings'),
])
def test_bad_sample_is_named(fake_text, change, message):
    samples = [
        dict(img_id=i, img_path=f'{i}.jpg', captions=[f'text {i}'], image_embedding=random_unit(32))
        for i in range(3)
    ]
    samples[1].update(change)
    with pytest.raises(ValueError, match=message):
        run(samples)


def test_nothing_to_retrieve(fake_text):
    with pytest.raises(ValueError, match='no sample to evaluate'):
        run([])
    with pytest.raises(ValueError, match='none of the 1 images has a caption'):
        run([dict(img_id=0, captions=[], image_embedding=random_unit(32))])
