"""What the deployed networks cost beside other people's, in one run, in turns (docs/deploy.md).

    python tools/benchmark.py                      # every engine there is, batches of 1, 8 and 64
    python tools/benchmark.py --engines ort_fp32 ort_int8 --batch-sizes 1 --models KDEOV "CLIP ViT-B/32"
"""
import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Callable, Dict, List, Optional, Tuple

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import onnxruntime
import open_clip
import torch
import torch.nn.functional as F
from kdeov_mm.deploy.engines import ENGINES, complexity, peak_memory, random_images
from kdeov_mm.deploy.export import FOUND, IMAGES, write
from kdeov_mm.deploy.graphs import Detector, ImageEncoder, fold_norms
from kdeov_mm.deploy.quantize import ENCODER, quantize
from kdeov_mm.deploy.timing import machine, time_in_turns
from kdeov_mm.evaluation.pictures import GROUP_COLOURS, INK, clean, save
from kdeov_mm.models import TextBank
from kdeov_mm.utils import InputError, user_errors
from kdeov_mm.utils.files import write_atomically
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS
from timm.utils import reparameterize_model
from torch import Tensor, nn

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'kdeov_yolov8n_ov-coco.py'
OURS, YOLO = 'KDEOV-n encoder', 'YOLOv8n, network only'
DETECTORS = {k: f'KDEOV-n detector, {k:,} names' for k in (80, 1203)}


@dataclass
class Network:
    """What is compared: how to make it in inference mode, the side of its input in pixels, the names of its outputs,
    and the operators that its INT8 file computes in eight bits."""

    make: Callable[[], nn.Module]
    size: int
    outputs: Tuple[str, ...] = ('embeddings', )
    int8: Tuple[str, ...] = ('Conv', )


class Embedding(nn.Module):
    """An OpenCLIP model's image encoder, as it is deployed: norms folded where its author provides that."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        model = open_clip.create_model(name).eval()
        self.visual = reparameterize_model(model.visual) if name.startswith('MobileCLIP') else model.visual
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.visual(images), dim=-1)


class Towers(nn.Module):
    """A detector up to its post-processing, whose work is counted; what follows is below a hundredth of it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.backbone, self.neck, self.layers = detector.backbone, detector.neck, detector.layers

    def forward(self, images: Tensor) -> tuple:
        return self.layers.towers(self.neck(self.backbone(images)))


class BareYOLO(nn.Module):
    """A YOLOv8 up to what its decoding begins with: class logits and box distances of each level."""

    def __init__(self) -> None:
        super().__init__()
        init_default_scope('mmyolo')
        torch.manual_seed(0)
        model = MODELS.build(get_config('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py').model)
        self.backbone, self.neck = fold_norms(model.backbone), fold_norms(model.neck)
        self.head = fold_norms(model.bbox_head.head_module)

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        scores, boxes = self.head(self.neck(self.backbone(images)))
        return (*scores, *boxes)


def build_ours(names: int = 0) -> nn.Module:
    """Our network, untrained: with YOLO's prior left out, every candidate passes the threshold, the most work."""
    init_default_scope('mmyolo')
    cfg = Config.fromfile(CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    if not names:
        return ImageEncoder(model)
    texts = F.normalize(torch.randn(names, cfg.embed_dims, generator=torch.Generator().manual_seed(0)), dim=1)
    model.set_vocabulary(TextBank([str(k) for k in range(names)], texts))
    return Detector(model)


TRANSFORMER = ('MatMul', 'Gemm', 'Conv')
NETWORKS = {
    OURS: Network(build_ours, 224, int8=ENCODER),
    'MobileCLIP2-S0': Network(lambda: Embedding('MobileCLIP2-S0'), 256),
    'CLIP RN50': Network(lambda: Embedding('RN50'), 224),
    'CLIP ViT-B/32': Network(lambda: Embedding('ViT-B-32'), 224, int8=TRANSFORMER),
    'CLIP ViT-B/16': Network(lambda: Embedding('ViT-B-16'), 224, int8=TRANSFORMER),
    YOLO: Network(BareYOLO, 640, tuple(f'{what}{level}' for what in ('scores', 'boxes') for level in range(3))),
    **{name: Network(lambda k=k: build_ours(k), 640, FOUND) for k, name in DETECTORS.items()},
}
BARS = [  # (numerator, engine), (denominator, engine), at least or at most, bound
    *(((peer, 'ort_fp32'), (OURS, 'ort_fp32'), 'at least', bound)
      for peer, bound in (('CLIP ViT-B/32', 15), ('CLIP ViT-B/16', 40), ('MobileCLIP2-S0', 7))),
    ((OURS, 'ort_fp32'), (OURS, 'ort_int8'), 'at least', 1.5),
    *(((DETECTORS[k], engine), (YOLO, engine), 'at most', bound)
      for engine in ('ort_fp32', 'openvino') for k, bound in ((80, 1.15), (1203, 1.4))),
]


def parse_args(args: List[str] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', metavar='NAME', help='those whose names begin so; default: all')
    engines = [name for name in ENGINES if name != 'cuda' or torch.cuda.is_available()]
    parser.add_argument('--engines', nargs='+', choices=list(ENGINES), default=engines, metavar='ENGINE',
                        help=f'of {", ".join(ENGINES)}; default: {" ".join(engines)}')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 8, 64], metavar='B', help='default: 1 8 64')
    parser.add_argument('--repeats', type=int, default=30, help='rounds that count; what takes seconds gets three')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='of every engine on the CPU')
    parser.add_argument('--out-dir', default='work_dirs/benchmark', help='folder of JSON, Markdown, plot, ONNX files')
    return parser.parse_args(args)


def choose(args: argparse.Namespace) -> Dict[str, Network]:
    """Check the options.

    Raises:
        InputError: One is out of range, or names nothing that there is.
    """
    for option in ('repeats', 'threads'):
        if getattr(args, option) < 1:
            raise InputError(f'--{option} {getattr(args, option)}: must be at least 1')
    if min(args.batch_sizes) < 1:
        raise InputError(f'--batch-sizes {min(args.batch_sizes)}: must be at least 1')
    if 'cuda' in args.engines and not torch.cuda.is_available():
        raise InputError('--engines cuda: there is no GPU that PyTorch can use')
    for begin in args.models or ():
        if not any(name.startswith(begin) for name in NETWORKS):
            raise InputError(f'--models {begin}: begins none of {", ".join(NETWORKS)}')
    args.batch_sizes = sorted(set(args.batch_sizes))
    return {name: network for name, network in NETWORKS.items()
            if args.models is None or name.startswith(tuple(args.models))}


def prepare(name: str, network: Network, out_dir: Path, engines: List[str], threads: int) -> Tuple[dict, dict]:
    """A network's row of constants, and its ways to run ``{engine: run}``; the files are written once."""
    print(f'preparing {name}', file=sys.stderr)
    module, stem = network.make(), ''.join(c if c.isalnum() else '_' for c in name)
    files = {'fp32': out_dir / f'{stem}.onnx', 'int8': out_dir / f'{stem}_int8.onnx'}
    parameters, macs = complexity(Towers(module) if isinstance(module, Detector) else module, network.size)
    write(module, dict(images=random_images(2, network.size)), (input_dims(network), ), network.outputs,
          files['fp32'], dict(benchmark=name))
    if 'ort_int8' in engines:
        quantize(files['fp32'], random_images(2, network.size).numpy(), files['int8'], op_types=network.int8)
    row = dict(model=name, size=network.size, parameters=parameters, macs=macs, **{
        f'{kind}_mib': file.stat().st_size / 2**20 for kind, file in files.items() if file.is_file()},
        peak_memory_mib=peak_memory(files['fp32'], network.size, threads))
    return row, {engine: ENGINES[engine](module, files, threads) for engine in engines}


def input_dims(network: Network) -> Dict[int, str]:
    """The free dimensions of the input: other people's encoders have one size."""
    return IMAGES if network.make is build_ours or network.size == 640 else {0: 'batch'}


def discard(run: Callable, images: Tensor, _: object) -> None:
    """Run a network, as a stage of the timing."""
    run(images)


def summarise(measured: dict, sizes: Dict[str, int]) -> List[dict]:
    """Median and 95th percentile in milliseconds of a batch, and images a second, of each model, engine and batch."""
    rows = []
    for (model, engine, batch), rounds in measured.items():
        seconds = [each['run'] for each in rounds]
        p95 = quantiles(seconds, n=20, method='inclusive')[-1] if len(seconds) > 1 else seconds[0]
        rows.append(dict(model=model, engine=engine, batch=batch, size=sizes[model], p50_ms=1e3 * median(seconds),
                         p95_ms=1e3 * p95, images_per_second=batch / median(seconds), rounds=len(seconds)))
    return rows


def check_bars(measured: dict) -> List[dict]:
    """The ratios that are promised, at batch 1; medians of the rounds' ratios."""
    results = []
    for (above, one), (below, other), direction, bound in BARS:
        keys = (above, one, 1), (below, other, 1)
        if all(key in measured for key in keys):
            ratio = median(a['run'] / b['run'] for a, b in zip(*(measured[key] for key in keys)))
            results.append(dict(
                what=f'{above} ({one}) / {below} ({other})', ratio=ratio, promised=f'{direction} {bound}',
                kept=ratio >= bound if direction == 'at least' else ratio <= bound))
    return results


def format_report(title: str, constants: List[dict], rows: List[dict], bars: List[dict]) -> str:
    """The report in Markdown."""
    engines = list(dict.fromkeys(row['engine'] for row in rows))
    batches = sorted({row['batch'] for row in rows})
    found = {(row['model'], row['engine'], row['batch']): row for row in rows}
    lines = [f'# Benchmark\n\n{title}\n\n| model | pixels | parameters, M | multiply-accumulates, G | file, MiB '
             '| INT8 file, MiB | peak memory, MiB |', '| --- | ---: | ---: | ---: | ---: | ---: | ---: |']
    for row in constants:
        int8 = f'{row["int8_mib"]:.1f}' if 'int8_mib' in row else ''
        lines.append(f'| {row["model"]} | {row["size"]} | {row["parameters"] / 1e6:.1f} | {row["macs"] / 1e9:.2f} | '
                     f'{row["fp32_mib"]:.1f} | {int8} | {row["peak_memory_mib"]:.0f} |')
    tables = [('Milliseconds of one image, median (95th percentile)', 1, '{p50_ms:.1f} ({p95_ms:.1f})')]
    tables += [(f'Images a second, batch {batch}', batch, '{images_per_second:.1f}') for batch in batches]
    for heading, batch, pattern in tables:
        lines += [f'\n## {heading}\n', f'| model | {" | ".join(engines)} |', '| --- |' + ' ---: |' * len(engines)]
        for row in constants:
            cells = [found.get((row['model'], engine, batch)) for engine in engines]
            lines.append(f'| {row["model"]} | '
                         + ' | '.join(pattern.format(**cell) if cell else '' for cell in cells) + ' |')
    if bars:
        lines += ['\n## Ratios at batch 1\n', '| what | ratio | promised | kept |', '| --- | ---: | --- | --- |']
        lines += [f'| {bar["what"]} | {bar["ratio"]:.2f} | {bar["promised"]} | {"yes" if bar["kept"] else "no"} |'
                  for bar in bars]
    return '\n'.join(lines) + '\n'


def plot(rows: List[dict], title: str, path: Path) -> Optional[Path]:
    """Milliseconds of one image, a line for each model and a mark for each engine."""
    rows = [row for row in rows if row['batch'] == min(row['batch'] for row in rows)]
    models, engines = ([*dict.fromkeys(row[key] for row in rows)] for key in ('model', 'engine'))
    fig = Figure(figsize=(8, 1.4 + 0.42 * len(models)), layout='constrained')
    axes = fig.add_subplot()
    for engine, colour in zip(engines, GROUP_COLOURS):
        points = [row for row in rows if row['engine'] == engine]
        axes.plot([row['p50_ms'] / row['batch'] for row in points], [models.index(row['model']) for row in points],
                  'o', color=colour, label=engine, markersize=6.5, alpha=0.9)
    axes.set(xscale='log', xlabel='ms an image (median)')
    axes.set_yticks(range(len(models)), models, color=INK)
    axes.invert_yaxis()
    axes.grid(axis='both', color='#E5E5E5', linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:,g}')
    axes.set_title(title, fontsize=9, loc='left')
    axes.legend(frameon=False, fontsize=8.5, loc='center left', bbox_to_anchor=(1, 0.5))
    clean(axes)
    return save(fig, path)


def main(args: List[str] = None) -> None:
    args = parse_args(args)
    with user_errors():
        networks = choose(args)
        out_dir = Path(args.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    constants, candidates = [], {}
    for name, network in networks.items():
        row, runs = prepare(name, network, out_dir, args.engines, args.threads)
        constants.append(row)
        for batch in args.batch_sizes:
            images = random_images(batch, network.size)
            for engine, run in runs.items():  # the run before brings the caches back from the neighbour
                call = partial(discard, run, images)
                candidates[name, engine, batch] = dict(warm=call, run=call)
    device = torch.device('cuda' if 'cuda' in args.engines else 'cpu')
    measured = time_in_turns(candidates, args.repeats, device)
    rows, bars = summarise(measured, {name: network.size for name, network in networks.items()}), check_bars(measured)
    title = (f'{machine(torch.device("cpu"))}{", " + machine(device) if device.type == "cuda" else ""}; PyTorch '
             f'{torch.__version__}, ONNX Runtime {onnxruntime.__version__}')
    report = format_report(title, constants, rows, bars)
    result = dict(machine=title, threads=args.threads, networks=constants, rows=rows, bars=bars)
    written = [write_atomically(out_dir / 'benchmark.json', json.dumps(result, indent=2) + '\n'),
               write_atomically(out_dir / 'benchmark.md', report), plot(rows, title, out_dir / 'benchmark.png')]
    print(report)
    print('written: ' + ', '.join(map(str, written)))


if __name__ == '__main__':
    main()
