import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_precision

from kdeov_mm.evaluation import ZeroShotMetric

CLASSES = [f'class {i}' for i in range(12)]
META = dict(
    classes=CLASSES,
    groups=['base'] * 6 + ['novel'] * 4 + ['unseen'] * 2,
    supercategories=[f'kind {i % 3}' for i in range(12)],
)


def make_samples(fake_text, count=300, noise=1.2, teacher_noise=0.4):
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i in range(count):
        label = i % 10  # no image of the unseen classes
        text = fake_text(CLASSES[label])
        noisy = [
            F.normalize(text + scale * torch.randn(32, generator=generator) / 32**0.5 * 2, dim=0)
            for scale in (noise, teacher_noise)
        ]
        samples.append(
            dict(img_id=i, img_path=f'{i}.jpg', gt_label=label, image_embedding=noisy[0], teacher_embedding=noisy[1])
        )
    return samples


def run(samples, meta=META, **kwargs):
    metric = ZeroShotMetric(text_encoder=dict(type='Fake'), **kwargs)
    metric.dataset_meta = meta
    for start in range(0, len(samples), 7):
        metric.process(None, samples[start : start + 7])
    return metric, metric.evaluate(len(samples))


def test_equals_torchmetrics_in_each_group(fake_text):
    samples = make_samples(fake_text)
    _, metrics = run(samples)
    texts = torch.stack([fake_text(name) for name in CLASSES])
    labels = torch.tensor([sample['gt_label'] for sample in samples])
    for role, field in (('', 'image_embedding'), ('teacher/', 'teacher_embedding')):
        scores = torch.stack([sample[field] for sample in samples]) @ texts.T
        for group, member in (('all', labels >= 0), ('base', labels < 6), ('novel', labels >= 6)):
            for k in (1, 5):
                expected = multiclass_accuracy(scores[member], labels[member], 12, average='micro', top_k=k).item()
                assert metrics[f'{role}zero_shot/{group}/top{k}'] == pytest.approx(expected, abs=1e-6)
                assert metrics[f'chance/zero_shot/{group}/top{k}'] == pytest.approx(k / 12)
    assert 0.1 < metrics['zero_shot/all/top1'] < metrics['teacher/zero_shot/all/top1']
    assert not any('unseen' in key for key in metrics), 'a group without images has no accuracy'


def test_ties_count_against():
    images, groups = torch.ones(4, 2), {'all': torch.ones(3, dtype=torch.bool)}
    same = ZeroShotMetric.calculate(images, torch.ones(3, 2), torch.tensor([0, 1, 2, 0]), groups, topk=(1, 2, 3))
    assert same == {'all/top1': 0, 'all/top2': 0, 'all/top3': 1}
    zeros = ZeroShotMetric.calculate(
        torch.zeros(4, 2), torch.eye(3)[:, :2], torch.zeros(4, dtype=torch.long), groups, (1,)
    )
    assert zeros == {'all/top1': 0}


def test_one_class(fake_text):
    samples = [dict(sample, gt_label=0) for sample in make_samples(fake_text, 3)]
    _, metrics = run(samples, dict(classes=['class 0']))
    assert metrics['zero_shot/all/top1'] == metrics['chance/zero_shot/all/top5'] == 1


def test_without_teacher_and_with_prefix(fake_text):
    samples = make_samples(fake_text, 20)
    for sample in samples:
        del sample['teacher_embedding']
    _, metrics = run(samples, prefix='cifar10', topk=(1, 3))
    assert {key.split('/')[0] for key in metrics} == {'cifar10', 'chance'}
    assert 'chance/cifar10/novel/top3' in metrics


@pytest.mark.parametrize(
    'change, field',
    [
        (dict(image_embedding=torch.full((32,), torch.nan)), 'image_embedding'),
        (dict(teacher_embedding=torch.full((32,), torch.inf)), 'teacher_embedding'),
        (dict(image_embedding=None), 'image_embedding'),
        (dict(teacher_embedding=None), 'teacher_embedding'),
        (dict(image_embedding=torch.ones(32, 2)), r'image_embedding.*\[D\]'),
        (dict(gt_label=None), 'gt_label'),
        (dict(gt_label=12), r'gt_label.*\[0, 12\)'),
    ],
)
def test_bad_sample_is_named(fake_text, change, field):
    samples = make_samples(fake_text, 20)
    samples[5].update(change)
    with pytest.raises(ValueError, match=field) as error:
        run(samples)
    assert '5.jpg' in str(error.value)


def test_bad_setup(fake_text):
    with pytest.raises(ValueError, match='sample'):
        run([])
    with pytest.raises(ValueError, match='classes'):
        run(make_samples(fake_text, 2), {})
    with pytest.raises(ValueError, match=r'groups.*\b2\b.*\b12\b'):
        run(make_samples(fake_text, 2), dict(classes=CLASSES, groups=['base', 'novel']))
    with pytest.raises(ValueError, match=r'\b16\b.*\b32\b'):
        run([dict(sample, image_embedding=torch.ones(16)) for sample in make_samples(fake_text, 2)])


def test_confusion_matrix_counts_by_supercategory(fake_text, tmp_path, monkeypatch):
    metric, metrics = run(make_samples(fake_text))
    drawn = []
    monkeypatch.setattr(
        'kdeov_mm.evaluation.pictures.confusion_matrix', lambda counts, names, path: drawn.append((counts, names))
    )
    metric.draw(tmp_path)
    counts, names = drawn[0]
    assert names == ['kind 0', 'kind 1', 'kind 2']
    expected = torch.zeros(3, 3)
    for truth, predicted in zip(metric.labels.tolist(), metric.predictions['student'].tolist()):
        expected[truth % 3, predicted % 3] += 1
    assert counts.tolist() == expected.tolist()


def test_groups_are_shown_in_one_order(fake_text):
    groups = ['novel', 'rare'] + ['unseen', 'base'] * 5
    _, metrics = run(make_samples(fake_text, 20), dict(classes=CLASSES, groups=groups), topk=[1])
    shown = [key.split('/')[1] for key in metrics if key.startswith('zero_shot')]
    assert shown == ['all', 'base', 'novel', 'unseen', 'rare']


def test_per_class_adds_averages_and_files(fake_text, tmp_path):
    samples = make_samples(fake_text)
    plain = run(samples)[1]
    metric, metrics = run(samples, per_class=True)
    assert {key: value for key, value in metrics.items() if key in plain} == plain
    texts = torch.stack([fake_text(name) for name in CLASSES])
    labels = torch.tensor([sample['gt_label'] for sample in samples])
    for role, field in (('', 'image_embedding'), ('teacher/', 'teacher_embedding')):
        predictions = (torch.stack([sample[field] for sample in samples]) @ texts.T).argmax(1)
        right = torch.stack([(predictions == labels)[labels == label].double().mean() for label in range(10)])
        assert metrics[f'{role}zero_shot/all/mean_per_class'] == pytest.approx(right.mean().item(), abs=1e-6)
        expected = multiclass_precision(predictions, labels, 12, average='macro').item()
        assert metrics[f'{role}zero_shot/all/precision'] == pytest.approx(expected, abs=1e-6)
    assert metrics['chance/zero_shot/all/mean_per_class'] == 1 / 12
    assert [path.name for path in metric.draw(tmp_path)] == [
        'zero_shot_confusion.png',
        'zero_shot_per_class.csv',
        'zero_shot_confusion.csv',
        'zero_shot_confused_pairs.csv',
    ]
    assert 'class 3,base,30,' in (tmp_path / 'zero_shot_per_class.csv').read_text()


def test_of_classes_of_one_name_the_first_is_predicted(fake_text):
    classes = ['class 0', 'class 1', 'class 0']  # as "missile" and "sunglasses" of ImageNet
    samples = [
        dict(img_path=f'{i}.jpg', gt_label=label, image_embedding=fake_text(classes[label]))
        for i, label in enumerate([0, 1, 2, 0])
    ]
    metric, metrics = run(samples, dict(classes=classes), topk=(1, 2))
    assert metric.predictions['student'].tolist() == [0, 1, 0, 0]
    assert (metrics['zero_shot/all/top1'], metrics['zero_shot/all/top2']) == (0.75, 1)


def test_blocks_change_nothing(fake_text, monkeypatch):
    samples = make_samples(fake_text)
    expected = run(samples, per_class=True)[1]
    monkeypatch.setattr('kdeov_mm.evaluation.zero_shot_metric.BLOCK', 7)
    assert run(samples, per_class=True)[1] == expected
