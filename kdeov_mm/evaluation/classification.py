"""Classification measured from scores: ranks, predictions, averages over classes, and the files that show them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from kdeov_mm.utils.files import atomic_path

from . import pictures
from .base import pessimistic_rank

AVERAGES = dict(precision=multiclass_precision, recall=multiclass_recall, f1=multiclass_f1_score)


def rank_labels(scores: Tensor, labels: Tensor, duplicates: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the rank of the true class and the predicted class of each image.

    Ties count against the true class: a class with an equal score ranks before it and is predicted. Only of duplicate
    class names, whose scores are always equal, the first one is predicted, as argmax does.

    Args:
        scores: float64 ``[N, K]``.
        labels: int64 ``[N]`` in [0, K).
        duplicates: int64 ``[K]``, the first class of the same name; None where all names differ.

    Returns:
        tuple: Rank (0 is first) and prediction, int64 ``[N]``.
    """
    classes = torch.arange(scores.shape[1])
    own = classes == labels[:, None]
    if duplicates is not None:
        own |= (duplicates == duplicates[labels][:, None]) & (classes > labels[:, None])
    rank = pessimistic_rank(scores, scores.gather(1, labels[:, None])[:, 0], own)
    best_other = scores.masked_fill(own, -torch.inf).argmax(1)
    return rank, torch.where(rank == 0, labels, best_other)


def topk_accuracy(ranks: Tensor, labels: Tensor, groups: dict[str, Tensor], topk: Sequence[int]) -> dict[str, float]:
    """Top-k accuracy of each group that has images.

    Args:
        ranks, labels: int64 ``[N]``.
        groups: Name to bool mask over classes, ``[K]``.
        topk: The values of k.

    Returns:
        dict: ``{group}/top{k}`` to accuracy in [0, 1].
    """
    members = {name: torch.as_tensor(mask)[labels] for name, mask in groups.items()}
    return {
        f'{name}/top{k}': (ranks[member] < k).double().mean().item()
        for name, member in members.items()
        if member.any()
        for k in topk
    }


def class_averages(predictions: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    """Averages in which each class counts the same, in [0, 1].

    ``mean_per_class`` is the mean accuracy of the classes that have images (the balanced accuracy, or mean per-class
    recall). ``precision``, ``recall`` and ``f1`` are torchmetrics' macro averages: classes without images that are
    predicted count there, with zero; classes that are neither count nowhere.

    Args:
        predictions, labels: int64 ``[N]`` in [0, K).
        num_classes: K.
    """
    accuracy = class_values(predictions, labels, num_classes)['accuracy']
    num_classes = max(num_classes, 2)  # torchmetrics knows no task of one class; an absent second one changes nothing
    return dict(
        mean_per_class=accuracy[labels.unique()].double().mean().item(),
        **{
            name: function(predictions, labels, num_classes, average='macro').item()
            for name, function in AVERAGES.items()
        },
    )


def class_values(predictions: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """``images`` (how many), ``accuracy``, ``precision`` and ``f1`` of each class, ``[K]``; arguments as above."""
    functions = dict(accuracy=multiclass_accuracy, precision=multiclass_precision, f1=multiclass_f1_score)
    values = {
        name: function(predictions, labels, max(num_classes, 2), average='none')[:num_classes]
        for name, function in functions.items()
    }
    return dict(images=labels.bincount(minlength=num_classes), **values)


def confusion(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Counts ``[K, K]``: rows are the truth, columns the prediction."""
    return multiclass_confusion_matrix(predictions, labels, max(num_classes, 2))[:num_classes, :num_classes]


def confused_pairs(counts: Tensor, limit: int) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes ``(truth, prediction, images)``; ties are in the classes' order.

    Args:
        counts: ``[K, K]``, see :func:`confusion`.
        limit: How many at most.
    """
    wrong = counts.clone().fill_diagonal_(0).flatten()
    order = wrong.argsort(descending=True, stable=True)[:limit].tolist()
    return [(*divmod(i, len(counts)), int(wrong[i])) for i in order if wrong[i]]


def write_csv(path: Path, rows: Iterator[Sequence]) -> Path:
    """Write a CSV file, whole or not at all."""
    with atomic_path(path) as partial, open(partial, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows(rows)
    return path


def write_class_files(
    predictions: Tensor,
    labels: Tensor,
    names: Sequence[str],
    groups: Sequence[str],
    task: str,
    out_dir: Path,
    num_pairs: int = 100,
) -> list[Path]:
    """Write what is known of each class as ``{task}_*.csv``: per class, confusion matrix, most confused pairs.

    Args:
        predictions, labels: int64 ``[N]`` in [0, K).
        names: Of the K classes.
        groups: Of each of the K classes.
        task: First part of the files' names.
        out_dir: Folder for them.
        num_pairs: Pairs at most.
    """
    values = class_values(predictions, labels, len(names))
    counts = confusion(predictions, labels, len(names))
    images = values.pop('images').tolist()
    rows = [
        [name, group, count, *(f'{value[i]:.6f}' if count else '' for value in values.values())]
        for i, (name, group, count) in enumerate(zip(names, groups, images))
    ]
    pairs = [
        [names[truth], names[predicted], count, f'{count / images[truth]:.6f}']
        for truth, predicted, count in confused_pairs(counts, num_pairs)
    ]
    return [
        write_csv(out_dir / f'{task}_per_class.csv', [['class', 'group', 'images', *values], *rows]),
        write_csv(
            out_dir / f'{task}_confusion.csv',
            [['true / predicted', *names], *([name, *row] for name, row in zip(names, counts.tolist()))],
        ),
        write_csv(
            out_dir / f'{task}_confused_pairs.csv', [['true', 'predicted', 'images', 'fraction of true'], *pairs]
        ),
    ]


def draw_confusion(predictions: Tensor, labels: Tensor, names: Sequence[str], path: Path) -> list[Path]:
    """Draw the confusion matrix with numbers, or as an overview where classes are many; nothing for a single class."""
    if len(names) < 2:
        return []
    counts = confusion(predictions, labels, len(names))
    if len(names) <= pictures.MAX_CONFUSION:
        return [pictures.confusion_matrix(counts.numpy(), names, path)]
    pairs = [(names[truth], names[predicted], count) for truth, predicted, count in confused_pairs(counts, 30)]
    return [pictures.confusion_overview(counts.numpy(), pairs, path)]
