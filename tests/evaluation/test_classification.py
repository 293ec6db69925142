import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import multiclass_accuracy

from kdeov_mm.evaluation import ClassificationMetric
from kdeov_mm.evaluation.classification import class_averages, confused_pairs, confusion, rank_labels

sklearn = pytest.importorskip('sklearn.metrics')


def draw(images=500, classes=12, seed=0):
    """Scores that are often right; the last class has no images."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes - 1, (images,), generator=generator)
    scores = torch.randn(images, classes, generator=generator, dtype=torch.float64)
    scores[torch.arange(images), labels] += 1.5
    return scores, labels


def test_averages_equal_sklearn():
    scores, labels = draw()
    _, predictions = rank_labels(scores, labels)
    assert predictions.tolist() == scores.argmax(1).tolist()
    values = class_averages(predictions, labels, 12)
    assert values['mean_per_class'] == pytest.approx(sklearn.balanced_accuracy_score(labels, predictions), abs=1e-6)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        labels, predictions, average='macro', zero_division=0
    )
    for name, expected in (('precision', precision), ('recall', recall), ('f1', f1)):
        assert values[name] == pytest.approx(expected, abs=1e-6)
    assert values['recall'] < values['mean_per_class'], 'a class without images was predicted'
    assert (
        confusion(predictions, labels, 12).tolist()
        == sklearn.confusion_matrix(labels, predictions, labels=range(12)).tolist()
    )


def test_ties_are_mistakes_whatever_the_order():
    scores, labels = torch.ones(3, 4, dtype=torch.float64), torch.tensor([0, 1, 3])
    rank, predictions = rank_labels(scores, labels)
    assert rank.tolist() == [3, 3, 3] and predictions.tolist() == [1, 0, 0]
    near = torch.tensor([[0.5, 0.5 + 1e-12], [0.5 + 1e-12, 0.5]], dtype=torch.float64)
    assert rank_labels(near, torch.tensor([0, 0]))[1].tolist() == [1, 1], 'rounding decides nothing'


def test_namesakes_are_told_apart_as_by_argmax():
    scores, labels = draw()
    scores[:, 7] = scores[:, 3]
    namesakes = torch.arange(12)
    namesakes[7] = 3
    rank, predictions = rank_labels(scores, labels, namesakes)
    assert predictions.tolist() == scores.argmax(1).tolist()
    assert (rank == 0).tolist() == (predictions == labels).tolist()
    assert (predictions[labels == 3] == 3).any() and not (predictions[labels == 7] == 7).any()


def brute_force_pairs(predictions, labels):
    counts = {}
    for truth, predicted in zip(labels.tolist(), predictions.tolist()):
        if truth != predicted:
            counts[truth, predicted] = counts.get((truth, predicted), 0) + 1
    return sorted(((*pair, count) for pair, count in counts.items()), key=lambda item: (-item[2], item[:2]))


def test_confused_pairs_equal_brute_force():
    scores, labels = draw(60)
    predictions = scores.argmax(1)
    expected = brute_force_pairs(predictions, labels)
    assert confused_pairs(confusion(predictions, labels, 12), 10) == expected[:10]
    assert confused_pairs(confusion(labels, labels, 12), 10) == []


def run(scores, labels, classes, **kwargs):
    metric = ClassificationMetric(**kwargs)
    metric.dataset_meta = dict(classes=classes)
    metric.process(
        None,
        [
            dict(img_path=f'{i}.jpg', gt_label=label, pred_score=score.float())
            for i, (label, score) in enumerate(zip(labels.tolist(), scores))
        ],
    )
    return metric, metric.evaluate(len(labels))


def test_metric_of_a_classifier(tmp_path):
    scores, labels = draw()
    names = [f'class {i}' for i in range(12)]
    metric, values = run(scores, labels, names, topk=(1, 3, 5), per_class=True)
    for k in (1, 3, 5):
        expected = multiclass_accuracy(scores, labels, 12, average='micro', top_k=k).item()
        assert values[f'classification/all/top{k}'] == pytest.approx(expected, abs=1e-6)
    assert values['chance/classification/all/top3'] == 0.25
    files = {path.name: path for path in metric.draw(tmp_path)}
    assert list(files) == [
        'classification_confusion.png',
        'classification_per_class.csv',
        'classification_confusion.csv',
        'classification_confused_pairs.csv',
    ]
    rows = list(csv.reader(files['classification_per_class.csv'].open()))
    report = sklearn.classification_report(
        labels, scores.argmax(1), labels=range(12), target_names=names, output_dict=True, zero_division=0
    )
    assert rows[0] == ['class', 'group', 'images', 'accuracy', 'precision', 'f1'] and len(rows) == 13
    for name, group, images, *numbers in rows[1:-1]:
        expected = report[name]
        assert int(images) == expected['support'] and group == 'all'
        assert [float(n) for n in numbers] == pytest.approx(
            [expected[key] for key in ('recall', 'precision', 'f1-score')], abs=1e-5
        )
    assert rows[-1] == ['class 11', 'all', '0', '', '', ''], 'no images, no accuracy'
    rows = list(csv.reader(files['classification_confusion.csv'].open()))
    assert (
        rows[0][1:] == names
        and [[int(n) for n in row[1:]] for row in rows[1:]]
        == sklearn.confusion_matrix(labels, scores.argmax(1), labels=range(12)).tolist()
    )
    rows = list(csv.reader(files['classification_confused_pairs.csv'].open()))
    truth, predicted, count = brute_force_pairs(scores.argmax(1), labels)[0]
    assert rows[1][:3] == [names[truth], names[predicted], str(count)]
    assert float(rows[1][3]) == pytest.approx(count / (labels == truth).sum().item(), abs=1e-6)


def test_one_class(tmp_path):
    metric, values = run(torch.ones(3, 1), torch.zeros(3, dtype=torch.long), ['a'], per_class=True)
    assert {value for key, value in values.items()} == {1.0}
    assert [path.suffix for path in metric.draw(tmp_path)] == ['.csv'] * 3


def test_a_thousand_classes_stay_readable(tmp_path):
    scores, labels = draw(3000, 1000)
    names = ['missile'] * 2 + [f'a rather long class name, number {i}' for i in range(998)]
    metric, _ = run(scores, labels, names, per_class=True)
    files = metric.draw(tmp_path)
    with Image.open(files[0]) as picture:
        assert 1200 < picture.width < 2500 and np.asarray(picture.convert('L')).std() > 5
    header = next(csv.reader(files[2].open()))
    assert header[1:3] == ['missile', 'missile (1)'] and len(set(header)) == 1001


@pytest.mark.parametrize(
    'change, field',
    [
        (dict(pred_score=torch.tensor([0.0, torch.nan])), r'pred_score'),
        (dict(pred_score=None), r'pred_score'),
        (dict(pred_score=torch.ones(3)), r'pred_score.*\[3\].*\b2\b'),
        (dict(gt_label=2), r'gt_label.*\[0, 2\)'),
        (dict(gt_label=None), r'gt_label'),
    ],
)
def test_bad_sample_is_named(change, field):
    samples = [dict(img_path=f'{i}.jpg', gt_label=i % 2, pred_score=torch.rand(2)) for i in range(4)]
    samples[2].update(change)
    metric = ClassificationMetric()
    metric.dataset_meta = dict(classes=['a', 'b'])
    with pytest.raises(ValueError, match=rf'2\.jpg.*{field}'):
        metric.process(None, samples)
        metric.evaluate(4)


def test_empty_split():
    metric = ClassificationMetric()
    metric.dataset_meta = dict(classes=['a', 'b'])
    with pytest.raises(ValueError, match='sample'):
        metric.evaluate(0)
