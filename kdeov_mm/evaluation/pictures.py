"""The pictures of the report. Colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from kdeov_mm.utils.files import atomic_path
from kdeov_mm.utils.images import read_image

if TYPE_CHECKING:
    from .reliability import Reliability

BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    '#0072B2',
    '#E69F00',
    '#009E73',
    '#CC79A7',
    '#56B4E9',
    '#D55E00',
    '#F0E442',
)
GREY = '#9A9A9A'
ROLE_COLOURS = dict(student=BLUE, teacher=ORANGE, chance=GREY)
GROUP_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW)
MAX_CONFUSION = 40  # rows that can still be read
INK = '#222222'
DPI = 110


def save(fig: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all."""
    with atomic_path(path) as partial:
        fig.savefig(partial, dpi=DPI, facecolor='white')
    return path


def clean(axes) -> None:
    """Only the axes that carry numbers."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(GREY)
    axes.tick_params(colors=INK, length=3)


def curves(losses: dict[str, dict[int, float]], path: Path) -> Path:
    """Draw each loss over training steps in a panel of its own.

    Args:
        losses: ``{name: {step: value}}``.
        path: File to write.
    """
    columns = min(3, len(losses))
    rows = -(-len(losses) // columns)
    fig = Figure(figsize=(4.2 * columns, 2.6 * rows), layout='constrained')
    for i, (name, points) in enumerate(losses.items(), 1):
        axes = fig.add_subplot(rows, columns, i)
        axes.plot(
            list(points),
            list(points.values()),
            color=INK if name == 'loss' else BLUE,
            linewidth=1.4,
            marker='o' if len(points) < 3 else None,
        )
        axes.set_title('total loss' if name == 'loss' else name, fontsize=10, loc='left')
        axes.set_xlabel('training step', fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis='y', color='#E5E5E5', linewidth=0.8)
        clean(axes)
    return save(fig, path)


def bars(panels: dict[str, dict[str, dict[str, float]]], path: Path) -> Path:
    """Draw student, teacher and chance side by side.

    Args:
        panels: ``{title: {bar group: {role: value in [0, 1]}}}``.
        path: File to write.
    """
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    fig = Figure(figsize=(6 * columns, 3.1 * rows + 0.3), layout='constrained')
    measured = {role for panel in panels.values() for values in panel.values() for role in values}
    shown = [role for role in ROLE_COLOURS if role in measured]
    for i, (title, panel) in enumerate(panels.items(), 1):
        axes = fig.add_subplot(rows, columns, i)
        roles = [role for role in shown if any(role in values for values in panel.values())]
        width = 0.8 / len(roles)
        for j, role in enumerate(roles):
            offset = (j - (len(roles) - 1) / 2) * width
            x = [k + offset for k, values in enumerate(panel.values()) if role in values]
            heights = [values[role] for values in panel.values() if role in values]
            drawn = axes.bar(x, heights, width * 0.92, color=ROLE_COLOURS[role])
            axes.bar_label(drawn, [f'{height:.2f}' for height in heights], fontsize=7.5, color=INK, padding=1)
        axes.set_xticks(range(len(panel)), list(panel), fontsize=9)
        axes.set_ylim(0, 1.08)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.tick_params(axis='y', labelsize=8)
        axes.set_title(title, fontsize=10.5, loc='left')
        axes.grid(axis='y', color='#E5E5E5', linewidth=0.8)
        axes.set_axisbelow(True)
        clean(axes)
    handles = [Rectangle((0, 0), 1, 1, color=ROLE_COLOURS[role]) for role in shown]
    fig.legend(handles, shown, loc='outside upper right', ncols=len(shown), frameon=False, fontsize=9)
    return save(fig, path)


def confusion_matrix(counts: np.ndarray, names: Sequence[str], path: Path) -> Path:
    """Draw a confusion matrix, rows normalised.

    Args:
        counts: ``[K, K]``, rows are the truth, columns the prediction.
        names: K names.
        path: File to write.
    """
    fraction = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.2 + 0.36 * len(names)
    fig = Figure(figsize=(size + 0.6, size), layout='constrained')
    axes = fig.add_subplot()
    image = axes.imshow(fraction, cmap='Blues', vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=50, ha='right', rotation_mode='anchor', fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel('predicted', fontsize=9)
    axes.set_ylabel('true', fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for i, j in zip(*np.nonzero(fraction >= 0.005)):
        colour = 'white' if fraction[i, j] > 0.5 else INK
        axes.text(j, i, f'{100 * fraction[i, j]:.0f}', ha='center', va='center', fontsize=7, color=colour)
    bar = fig.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label('fraction of the true class (cells: %)', fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return save(fig, path)


def confusion_overview(counts: np.ndarray, pairs: Sequence[tuple], path: Path) -> Path:
    """Draw a confusion matrix of many classes as a map, and its most frequent mistakes by name.

    Args:
        counts: ``[K, K]``, rows are the truth, columns the prediction.
        pairs: ``(true name, predicted name, images)``, most frequent first.
        path: File to write.
    """
    cells = min(len(counts), 200)  # a cell is then a few pixels wide
    edges = np.linspace(0, len(counts), cells + 1).astype(int)[:-1]
    blocks = np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1)
    fraction = blocks / np.maximum(blocks.sum(1, keepdims=True), 1)
    fig = Figure(figsize=(16, 7.6), layout='constrained')
    left, right = fig.subplots(1, 2, width_ratios=[1.15, 1])
    image = left.imshow(
        fraction,
        cmap='Blues',
        norm=PowerNorm(0.5, 0, 1),
        extent=(0, len(counts), len(counts), 0),
        interpolation='nearest',
    )
    left.set_xlabel('predicted class (number)', fontsize=9)
    left.set_ylabel('true class (number)', fontsize=9)
    left.tick_params(labelsize=8, length=0)
    left.spines[:].set_color(GREY)
    merged = '' if cells == len(counts) else f' ({len(counts)} classes in {cells} groups of neighbours)'
    left.set_title(f'Confusion matrix{merged}', fontsize=10.5, loc='left')
    bar = fig.colorbar(image, ax=left, fraction=0.04, pad=0.02, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
    bar.set_label('fraction of the true class', fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    names = [f'{ellipsize(true, 32)} → {ellipsize(predicted, 32)}' for true, predicted, _ in pairs]
    drawn = right.barh(range(len(pairs)), [count for *_, count in pairs], color=ORANGE)
    right.bar_label(drawn, fontsize=8, color=INK, padding=2)
    right.set_yticks(range(len(pairs)), names, fontsize=8, parse_math=False)
    right.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    right.set_xticks([])
    right.set_title('Most confused: true → predicted, images' if pairs else 'No mistakes', fontsize=10.5, loc='left')
    clean(right)
    right.spines['bottom'].set_visible(False)
    return save(fig, path)


def show_image(axes, img_path: str | BinaryIO) -> None:
    """Show an image file, by its path or opened, turned as its EXIF data say, without axes."""
    source = img_path if isinstance(img_path, str) else img_path.read()
    axes.imshow(read_image(source), interpolation='bilinear')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def frame(axes, bbox: Sequence[float], **style) -> None:
    """Draw a box, xywh in pixels."""
    axes.add_patch(Rectangle(bbox[:2], *bbox[2:], fill=False, **style))


def name_box(axes, found: dict, colour: str, size: float = 7) -> None:
    """Draw a box with its name and score, ``dict(bbox, name, score)``."""
    frame(axes, found['bbox'], edgecolor=colour, linewidth=2)
    x, y, width, _ = found['bbox']
    left = x + width / 2 < sum(axes.get_xlim()) / 2  # names grow towards the middle
    axes.text(
        x if left else x + width,
        max(y, 0),
        f'{ellipsize(found["name"], 60)} {found["score"]:.2f}',
        color=INK if colour in (YELLOW, SKY) else 'white',
        fontsize=size,
        ha='left' if left else 'right',
        va='bottom' if y > 0.05 * axes.get_ylim()[0] else 'top',
        clip_on=True,
        parse_math=False,
        bbox=dict(facecolor=colour, edgecolor='none', pad=1, alpha=0.9),
    )


def reliability(panels: 'dict[str, Reliability]', path: Path) -> Path:
    """Draw reliability diagrams: the precision of each bin of scores over its mean score, and the bin's detections.

    Args:
        panels: Reliability by title.
        path: File to write.
    """
    fig = Figure(figsize=(3.3 * len(panels), 4), layout='constrained')
    grid = fig.subplots(2, len(panels), squeeze=False, sharex=True, height_ratios=[3, 1])
    for (title, item), (upper, lower) in zip(panels.items(), grid.T):
        filled, width = item.count > 0, 1 / len(item.count)
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle='--')
        upper.plot(item.score[filled], item.precision[filled], color=BLUE, linewidth=1.4, marker='o', markersize=4)
        upper.set_ylim(-0.02, 1.02)
        upper.set_title(f'{title}: ECE {item.error:.3f}', fontsize=10.5, loc='left')
        lower.bar((np.arange(len(item.count)) + 0.5) * width, item.count, 0.92 * width, color=SKY)
        lower.set_yscale('symlog', linthresh=1)
        lower.set_xlabel('score', fontsize=9)
        for axes in (upper, lower):
            axes.tick_params(labelsize=8)
            axes.grid(axis='y', color='#E5E5E5', linewidth=0.8)
            axes.set_axisbelow(True)
            clean(axes)
    grid[0, 0].set_ylabel('precision', fontsize=9)
    grid[1, 0].set_ylabel('detections', fontsize=9)
    return save(fig, path)


RETRIEVAL_TITLE = 'Text to image: the images nearest to each text; framed: the image it was written for'


def retrieval_grid(examples: list[dict], path: Path, title: str = RETRIEVAL_TITLE) -> Path:
    """Draw one line for each query: the text, then the images found, best first, hits framed.

    Args:
        examples: ``dict(query, answers=[dict(img_path, score, hit)], rank)``; a path may be an opened file; rank is
            that of the right image, None where there is none.
        path: File to write.
        title: Over the picture.
    """
    columns = max(len(example['answers']) for example in examples)
    fig = Figure(figsize=(2.9 + 1.7 * columns, 1.85 * len(examples) + 0.4), layout='constrained')
    grid = fig.add_gridspec(len(examples), columns + 1, width_ratios=[1.6] + [1] * columns)
    for row, example in enumerate(examples):
        axes = fig.add_subplot(grid[row, 0])
        axes.axis('off')
        axes.text(
            0.98,
            0.5,
            f'“{ellipsize(example["query"], 130)}”',
            ha='right',
            va='center',
            fontsize=9.5,
            color=INK,
            wrap=True,
            parse_math=False,
        )
        rank = example.get('rank')
        if rank is not None:
            axes.text(
                0.98,
                0.02,
                f'right image: rank {rank:,}',
                ha='right',
                va='bottom',
                fontsize=8,
                color=BLUE if rank <= len(example['answers']) else RED,
            )
        for column, answer in enumerate(example['answers'], 1):
            axes = fig.add_subplot(grid[row, column])
            show_image(axes, answer['img_path'])
            axes.set_title(
                f'{"✓ " if answer["hit"] else ""}{answer["score"]:.2f}',
                fontsize=8.5,
                pad=3,
                color=BLUE if answer['hit'] else GREY,
                fontweight='bold' if answer['hit'] else 'normal',
            )
            if answer['hit']:
                axes.spines[:].set(visible=True, color=BLUE, linewidth=4)
    fig.suptitle(title, fontsize=10, color=INK)
    return save(fig, path)


def caption_list(examples: list[dict], path: Path) -> Path:
    """Draw one line for each image: the image, then the texts found, best first, its own ones marked.

    Args:
        examples: ``dict(img_path, answers=[dict(text, score, hit)])``.
        path: File to write.
    """
    fig = Figure(figsize=(9.5, 1.75 * len(examples) + 0.4), layout='constrained')
    grid = fig.add_gridspec(len(examples), 2, width_ratios=[1, 4])
    for row, example in enumerate(examples):
        show_image(fig.add_subplot(grid[row, 0]), example['img_path'])
        axes = fig.add_subplot(grid[row, 1])
        axes.axis('off')
        lines = len(example['answers'])
        for line, answer in enumerate(example['answers']):
            hit = answer['hit']
            axes.text(
                0,
                1 - (line + 0.5) / lines,
                f'{"✓" if hit else "  "} {answer["score"]:.2f}  {ellipsize(" ".join(answer["text"].split()), 95)}',
                va='center',
                fontsize=8.5,
                parse_math=False,
                color=BLUE if hit else INK,
                fontweight='bold' if hit else 'normal',
            )
    title = 'Image to text: the texts nearest to each image; marked: those written for it'
    fig.suptitle(title, fontsize=10, color=INK)
    return save(fig, path)


def detections(examples: list[dict], groups: Sequence[str], title: str, path: Path) -> Path:
    """Draw predicted boxes with names and scores, coloured by group, over thin ground truth.

    Args:
        examples: ``dict(img_path, truth=[dict(bbox, name)], found=[dict(bbox, name, group, score)])``; boxes
            are xywh in pixels.
        groups: Names of all groups; their order gives their colours.
        title: Over the picture.
        path: File to write.
    """
    colours = dict(zip(groups, GROUP_COLOURS * (1 + len(groups) // len(GROUP_COLOURS))))
    columns = min(4, len(examples))
    rows = -(-len(examples) // columns)
    fig = Figure(figsize=(3.3 * columns, 3.3 * rows + 0.7), layout='constrained')
    for i, example in enumerate(examples, 1):
        axes = fig.add_subplot(rows, columns, i)
        show_image(axes, example['img_path'])
        for truth in example['truth']:
            for start, colour in ((0, 'black'), (3, 'white')):  # seen on dark and light alike
                frame(axes, truth['bbox'], edgecolor=colour, linewidth=0.9, linestyle=(start, (3, 3)))
        for found in reversed(example['found']):  # the best on top
            name_box(axes, found, colours[found['group']])
    handles = [Line2D([], [], color=colour, linewidth=2.5) for colour in colours.values()]
    handles.append(Line2D([], [], color='black', linewidth=0.9, linestyle=(0, (3, 3))))
    labels = [*colours, 'ground truth']
    fig.legend(handles, labels, loc='outside lower center', ncols=len(handles), frameon=False, fontsize=9)
    fig.suptitle(title, fontsize=11, color=INK)
    return save(fig, path)


def ellipsize(text: str, length: int) -> str:
    """At most ``length`` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + '…'
