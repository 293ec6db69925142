"""Measure the cost of a vocabulary: KDEOV-n, YOLO-World-n and YOLOv8n, interleaved (docs/benchmark_detector.md)."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from unittest.mock import patch

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import numpy as np
import torch
import torch.nn.functional as F
from kdeov_mm.benchmarks.timing import Stages, machine, time_interleaved
from kdeov_mm.evaluation.pictures import BLUE, INK, ORANGE, clean, save
from kdeov_mm.models import ClassEmbeddings
from kdeov_mm.text import Lexicon
from kdeov_mm.utils import InputError, interruptible, user_errors
from kdeov_mm.utils.files import write_atomically
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OURS, CLOSED, YOLO_WORLD, YOLOV8 = 'KDEOV-n', 'KDEOV-n, closed', 'YOLO-World-n', 'YOLOv8n'
STAGES = ('network', 'decode', 'post_processing')
SCORE_THR = 0.001


def parse_args(args: list[str] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--image-size', type=int, default=640, help='side of the image in pixels, a multiple of 32')
    parser.add_argument(
        '--vocabulary-sizes',
        type=int,
        nargs='+',
        default=[1, 80, 365, 1203, 10000],
        metavar='K',
        help='numbers of class names',
    )
    parser.add_argument(
        '--repeats', type=int, default=20, help='measured rounds; three for a detector that takes seconds'
    )
    parser.add_argument('--threads', type=int, help="threads of PyTorch on the CPU; default: PyTorch's choice")
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the GPU where there is one')
    parser.add_argument('--out-dir', default='work_dirs/benchmark_detector', help='folder of JSON and plot')
    parser.add_argument(
        '--skip-baselines',
        '--skip-rivals',  # the old spelling
        action='store_true',
        help='measure our detector only',
    )
    return parser.parse_args(args)


def check_args(args: argparse.Namespace) -> torch.device:
    """Check the options and make the output folder.

    Raises:
        InputError: If an option is out of range, or there is no such device.
    """
    if args.image_size < 32 or args.image_size % 32:
        raise InputError(f'--image-size {args.image_size}: must be a positive multiple of 32')
    args.vocabulary_sizes = sorted(set(args.vocabulary_sizes))
    for option in ('repeats', 'threads'):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise InputError(f'--{option} {value}: must be at least 1')
    if args.vocabulary_sizes[0] < 1:
        raise InputError(f'--vocabulary-sizes {args.vocabulary_sizes[0]}: must be at least 1')
    try:
        device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f'--device {args.device}: {str(error).splitlines()[0]}; use --device cpu') from None
    Path(args.out_dir).mkdir(parents=True, exist_ok=True)
    return device


def build(cfg: Config, device: torch.device) -> nn.Module:
    """Build a seeded, untrained detector.

    Its initial weights are PyTorch's own, without YOLO's prior that objects are rare: every box passes the score
    threshold, which is the most work there can be.
    """
    torch.manual_seed(0)
    cfg.model.test_cfg.score_thr = SCORE_THR
    return MODELS.build(cfg.model).eval().to(device)


def use_random_lexicon(cfg: Config, folder: Path) -> None:
    """Let the config's model read random embeddings of its lexicon's entries from a file in ``folder``."""
    entries = list(Lexicon.read(cfg.model.lexicon).entries)
    path = folder / 'lexicon.npy'
    np.save(path, np.random.default_rng(0).normal(size=(len(entries), cfg.model.embed_dims)).astype(np.float32))
    cfg.model.text_encoder = dict(type='PrecomputedTextEncoder', embeddings=str(path), names=entries)


def our_stages(model: nn.Module, images: Tensor, texts: Tensor, meta: dict, closed: bool = False) -> Stages:
    """Detection with ``texts`` ``[K, D]``, without the image embedding.

    ``closed`` scores them by a softmax over the K classes, instead of independently of each other.
    """
    head = model.bbox_head
    model.set_vocabulary(ClassEmbeddings([str(i) for i in range(len(texts))], texts), closed=closed)
    context, competitors = model.context, model.competitors
    return dict(
        network=lambda _: head.head_module.towers(model.extract_feat(images, context)),
        decode=lambda maps: head.candidates(*maps, texts, competitors)[0][:3],
        post_processing=lambda found: head.post_process(*found, meta, True),
    )


def yolo_stages(model: nn.Module, images: Tensor, texts: Tensor, meta: dict) -> Stages:
    """Detection with MMYOLO's YOLOv8Head; ``texts`` are set as the vocabulary of a model that has one."""
    head = model.bbox_head
    bank = None if texts is None else ClassEmbeddings([str(i) for i in range(len(texts))], texts)

    def network(_):
        if bank is not None:
            model.set_vocabulary(bank)
        return head(model.extract_feat(images))

    def decode(maps):
        held = []
        # MMYOLO decodes and suppresses in one method: it is stopped in between.
        with patch.object(head, '_bbox_post_process', lambda results, **_: held.append(results) or results[:0]):
            head.predict_by_feat(*maps, batch_img_metas=[meta])
        return held[0]

    def post_processing(found):
        found = head._bbox_post_process(found, head.test_cfg, img_meta=meta)
        found.bboxes = clip_boxes_to_image(found.bboxes, meta['ori_shape'])
        return found

    return dict(network=network, decode=decode, post_processing=post_processing)


def make_candidates(image_size: int, sizes: list[int], device: torch.device, baselines: bool) -> dict[tuple, Stages]:
    """Build the candidates ``{(model, K): stages}``."""
    init_default_scope('mmyolo')
    ours = Config.fromfile(CONFIGS / 'kdeov_yolov8n_ov-coco.py')
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, image_size, image_size, generator=generator).to(device)
    meta = dict(ori_shape=(image_size, image_size), img_shape=(image_size, image_size), scale_factor=(1.0, 1.0))
    texts = {
        k: F.normalize(torch.randn(k, ours.model.embed_dims, generator=generator), dim=1).to(device) for k in sizes
    }
    with tempfile.TemporaryDirectory() as folder:
        use_random_lexicon(ours, Path(folder))
        model = build(ours, device)
        found = {
            (name, k): our_stages(model, images, texts[k], meta, closed)
            for name, closed in ((OURS, False), (CLOSED, True))
            for k in sizes
        }
    if baselines:
        cfg = Config.fromfile(CONFIGS / 'baselines' / 'yolo-world-n.py')
        cfg.model.update(embed_dims=ours.model.embed_dims, lexicon=None)  # the vocabulary conditions the neck
        model = build(cfg, device)
        found.update({(YOLO_WORLD, k): yolo_stages(model, images, texts[k], meta) for k in sizes})
        model = build(get_config('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py'), device)
        found[YOLOV8, 80] = yolo_stages(model, images, None, meta)
    return found


@torch.no_grad()
def count_candidates(stages: Stages) -> int:
    """Boxes, one for each name they may have, that enter non-maximum suppression."""
    found = stages['decode'](stages['network'](None))
    return len(found[0]) if isinstance(found, tuple) else len(found)


def summarise(measured: dict[tuple, list[dict[str, float]]], counts: dict[tuple, int]) -> list[dict]:
    """Medians in milliseconds, one row for each model and K; end to end is the median of the rounds' sums."""
    return [
        dict(
            model=model,
            names=k,
            **{stage: 1e3 * median(seconds[stage] for seconds in rounds) for stage in STAGES},
            end_to_end=1e3 * median(sum(seconds.values()) for seconds in rounds),
            boxes_to_nms=counts[model, k],
            rounds=len(rounds),
        )
        for (model, k), rounds in measured.items()
    ]


def ratios(measured: dict[tuple, list[dict[str, float]]]) -> dict[str, float]:
    """Compute medians of the rounds' ratios for the measured vocabularies."""
    pairs = {
        f'{OURS} at 80 names / {CLOSED}': ((OURS, 80), (CLOSED, 80), STAGES),
        f'{OURS} at 1203 names / {CLOSED}': ((OURS, 1203), (CLOSED, 1203), STAGES),
        f'{OURS} at 1203 names / {OURS} at 80': ((OURS, 1203), (OURS, 80), STAGES),
        f'{OURS} at 10000 names / {OURS} at 80': ((OURS, 10000), (OURS, 80), STAGES),
        f'{OURS} at 80 names / network of {YOLOV8}': ((OURS, 80), (YOLOV8, 80), STAGES[:1]),
        f'{YOLO_WORLD} at 80 names / {OURS}': ((YOLO_WORLD, 80), (OURS, 80), STAGES),
        f'{YOLO_WORLD} at 1203 names / {OURS}': ((YOLO_WORLD, 1203), (OURS, 1203), STAGES),
    }
    return {
        name: median(sum(x.values()) / sum(y[stage] for stage in stages) for x, y in zip(measured[a], measured[b]))
        for name, (a, b, stages) in pairs.items()
        if a in measured and b in measured
    }


def format_table(rows: list[dict]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        '| model | names | network | decode | post-processing | end to end | boxes to NMS |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    for row in rows:
        cells = [f'{row[stage]:.1f}' for stage in (*STAGES, 'end_to_end')]
        lines.append(f'| {row["model"]} | {row["names"]:,} | {" | ".join(cells)} | {row["boxes_to_nms"]:,} |')
    return '\n'.join(lines)


def plot(rows: list[dict], title: str, path: Path) -> Path:
    """Cost against K, both logarithmic: end to end solid, the network alone dashed."""
    fig = Figure(figsize=(7, 4.4), layout='constrained')
    axes = fig.add_subplot()
    for model, colour in ((OURS, BLUE), (YOLO_WORLD, ORANGE), (YOLOV8, INK)):
        points = [row for row in rows if row['model'] == model]
        for stage, style, label in (('end_to_end', '-', 'end to end'), ('network', '--', 'network alone')):
            values = [row[stage] for row in points]
            if model == YOLOV8 and points:  # its classes are fixed: a level to compare with
                axes.axhline(
                    values[0], color=colour, linestyle=style, linewidth=1, label=f'{model}, 80 classes, {label}'
                )
            elif points:
                axes.plot(
                    [row['names'] for row in points],
                    values,
                    color=colour,
                    linestyle=style,
                    marker='o',
                    markersize=4,
                    linewidth=1.8,
                    label=f'{model}, {label}',
                )
    names = sorted({row['names'] for row in rows})
    axes.set(xscale='log', yscale='log')
    axes.set_xticks(names, [f'{k:,}' for k in names])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
    axes.minorticks_off()
    axes.set_xlabel('names in the vocabulary')
    axes.set_ylabel('ms an image')
    axes.grid(axis='y', color='#E5E5E5', linewidth=0.8)
    axes.set_title(title, fontsize=10, loc='left')
    axes.legend(frameon=False, fontsize=8.5)
    clean(axes)
    return save(fig, path)


@interruptible()
def main(args: list[str] = None) -> None:
    args = parse_args(args)
    with user_errors():
        device = check_args(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    print('building the detectors', file=sys.stderr)
    candidates = make_candidates(args.image_size, args.vocabulary_sizes, device, not args.skip_baselines)
    counts = {key: count_candidates(stages) for key, stages in candidates.items()}
    measured = time_interleaved(candidates, args.repeats, device)
    rows = summarise(measured, counts)
    title = f'{args.image_size} px, batch 1, {machine(device)}, eager PyTorch {torch.__version__}'
    result = dict(
        device=machine(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        image_size=args.image_size,
        score_thr=SCORE_THR,
        unit='ms',
        rows=rows,
        ratios=ratios(measured),
    )
    out_dir = Path(args.out_dir)
    written = [
        write_atomically(out_dir / 'benchmark.json', json.dumps(result, indent=2) + '\n'),
        plot(rows, title, out_dir / 'benchmark.png'),
    ]
    print(f'{title}; milliseconds\n\n{format_table(rows)}\n')
    for name, ratio in result['ratios'].items():
        print(f'{name}: {ratio:.2f}')
    print('\nwritten: ' + ', '.join(map(str, written)))


if __name__ == '__main__':
    main()
