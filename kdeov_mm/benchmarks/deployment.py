"""Preparation, measurement and report of ``kdeov bench``, which compares exported networks with baselines."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import onnxruntime
import torch
from kdeov_mm.benchmarks.baselines import (
    DETECTORS,
    MOBILE,
    NETWORKS,
    OURS,
    VIT_B_16,
    VIT_B_32,
    YOLO,
    YOLO_RAW,
    Network,
    Towers,
)
from kdeov_mm.benchmarks.inference_engines import ENGINES, complexity, peak_memory, random_images
from kdeov_mm.benchmarks.timing import machine, time_interleaved
from kdeov_mm.deploy.export import write
from kdeov_mm.deploy.graphs import Detector
from kdeov_mm.deploy.kinds import RUNTIMES
from kdeov_mm.deploy.quantize import quantize
from kdeov_mm.evaluation.pictures import GROUP_COLOURS, INK, clean, save
from kdeov_mm.utils.errors import InputError, user_errors
from kdeov_mm.utils.files import write_atomically
from kdeov_mm.utils.json_files import read_json
from kdeov_mm.version import __version__
from matplotlib.figure import Figure
from torch import Tensor

MIN_ROUNDS, WARM_SECONDS = 3, 0.1
INT8 = dict(zip(('ort_int8', 'openvino_int8'), RUNTIMES))  # engine and what its file is written for
BARS = [  # (numerator, engine), (denominator, engine), at least or at most, bound
    *(
        ((peer, 'ort_fp32'), (OURS, 'ort_fp32'), 'at least', bound)
        for peer, bound in ((VIT_B_32, 15), (VIT_B_16, 40), (MOBILE, 7))
    ),
    *(
        ((OURS, one), (OURS, f'{runtime}_int8'), 'at least', 1.5)
        for one, runtime in (('ort_fp32', 'ort'), ('openvino', 'openvino'), ('ort_fp32', 'openvino'))
    ),
    *(
        ((DETECTORS[k], engine), (yolo, engine), 'at most', bound)
        for engine in ('ort_fp32', 'openvino')
        for yolo in (YOLO, YOLO_RAW)
        for k, bound in ((80, 1.15), (1203, 1.4))
    ),
]


def choose(args: argparse.Namespace) -> dict[str, Network]:
    """Check the options.

    Raises:
        InputError: If an option names an unknown model, or a GPU that PyTorch cannot use.
    """
    args.engines = args.engines or [name for name in ENGINES if name != 'cuda' or torch.cuda.is_available()]
    args.threads = args.threads or torch.get_num_threads()
    if 'cuda' in args.engines and not torch.cuda.is_available():
        raise InputError('--engines cuda: PyTorch can use no GPU; leave cuda out')
    for begin in args.models or ():
        if not any(name.startswith(begin) for name in NETWORKS):
            raise InputError(f'--models {begin}: no model begins so; the models are {", ".join(NETWORKS)}')
    args.batch_sizes = sorted(set(args.batch_sizes))
    return {
        name: network
        for name, network in NETWORKS.items()
        if args.models is None or name.startswith(tuple(args.models))
    }


def tell(text: str) -> str:
    """Print progress on stderr, and return it; the report is printed on stdout."""
    print(text, file=sys.stderr, flush=True)
    return text


def paths_of(name: str, folder: Path) -> dict[str, Path]:
    """Return a network's files."""
    stem = ''.join(c if c.isalnum() else '_' for c in name)
    return dict(
        {kind: folder / f'{stem}_{kind}.onnx' for kind in INT8},
        fp32=folder / f'{stem}.onnx',
        row=folder / f'{stem}.json',
    )


def prepare(name: str, network: Network, folder: Path, engines: Sequence[str], threads: int) -> dict:
    """Write a network's files, unless they exist, and return its row of constants: size, operations, memory."""
    files = paths_of(name, folder)
    made = dict(torch=torch.__version__, onnxruntime=onnxruntime.__version__, kdeov_mm=__version__)
    row = read_json(files['row']) if files['row'].is_file() else {}
    if row.get('made') != made:
        tell(f'{name}: writing {files["fp32"]}')
        module = network.make()
        parameters, macs = complexity(Towers(module) if isinstance(module, Detector) else module, network.size)
        write(
            module,
            dict(images=random_images(2, network.size)),
            (network.free,),
            network.outputs,
            files['fp32'],
            dict(benchmark=name),
        )
        for kind in INT8:
            files[kind].unlink(missing_ok=True)
        row = dict(
            model=name,
            size=network.size,
            parameters=parameters,
            macs=macs,
            made=made,
            fp32_mib=files['fp32'].stat().st_size / 2**20,
            peak_memory_mib=peak_memory(files['fp32'], network.size, threads),
        )
    for kind, runtime in INT8.items():
        if kind in engines and not files[kind].is_file():
            tell(f'{name}: writing {files[kind]}')
            quantize(
                files['fp32'], random_images(2, network.size).numpy(), files[kind], layers=network.int8, runtime=runtime
            )
        if files[kind].is_file():
            row['int8_mib'] = files[kind].stat().st_size / 2**20
    write_atomically(files['row'], json.dumps(row, indent=2) + '\n')
    return row


def discard(run: Callable, images: Tensor, _: object) -> None:
    """Run a network and discard the result, as a stage of the timing."""
    run(images)


def warm(call: Callable, _: object) -> None:
    """Run until the previous candidate's data have left the caches, and its busily waiting threads the cores."""
    end = time.perf_counter() + WARM_SECONDS
    call(None)
    while time.perf_counter() < end:
        call(None)


def first_runs(name: str, network: Network, batch: int, args: argparse.Namespace) -> tuple[dict, dict, float]:
    """Return a network's working runs as candidates, the errors of the others, and the seconds of a round."""
    files, images = paths_of(name, Path(args.out_dir)), random_images(batch, network.size)
    module = network.make() if {'eager', 'compiled', 'cuda'}.intersection(args.engines) else None
    candidates, failed, seconds = {}, {}, 0.0
    for engine in args.engines:
        tell(f'{name}, {engine}, batch {batch}: first run')
        try:
            call = partial(discard, ENGINES[engine](module, files, args.threads), images)
            call(None)
            stages = dict(warm=partial(warm, call), run=call) if batch == 1 else dict(run=call)
            took = time_interleaved({0: stages}, 1, device_of(args), warmup=0, progress=False)[0][0]
        except Exception as error:  # a failure of one network is reported and does not stop the others
            failed[engine] = tell(
                f'{name}, {engine}, batch {batch}: {type(error).__name__}: ' + ' '.join(str(error).split())[:200]
            )
            continue
        candidates[name, engine, batch], seconds = stages, seconds + sum(took.values())
    return candidates, failed, seconds


def device_of(args: argparse.Namespace) -> torch.device:
    """Return the device to synchronise."""
    return torch.device('cuda' if 'cuda' in args.engines else 'cpu')


def measure(names: Sequence[str], batch: int, args: argparse.Namespace, title: str) -> dict:
    """Time networks interleaved, or reuse earlier measurements.

    Returns:
        dict: ``rounds``, a list of model, engine, batch and the seconds of each round, and ``failed``.
    """
    which = paths_of(names[0], Path())['row'].stem if batch > 1 else 'together'
    path = Path(args.out_dir) / 'measured' / f'{which}_{batch}.json'
    asked = {(name, engine) for name in names for engine in args.engines}
    if path.is_file() and not args.again:
        found = read_json(path)
        if found.get('machine') == title and asked <= {tuple(row[:2]) for row in found.get('rounds', ())}:
            tell(f'{", ".join(names)}, batch {batch}: taken from {path}')
            return found
    candidates, failed, seconds = {}, {}, 0.0
    for name in names:
        torch.compiler.reset()  # the compiler limits the versions of a function, and networks have functions in common
        more, reasons, took = first_runs(name, NETWORKS[name], batch, args)
        candidates.update(more)
        failed.update({f'{name}, {engine}, batch {batch}': reason for engine, reason in reasons.items()})
        seconds += took
    repeats = min(args.repeats, max(MIN_ROUNDS, int(args.seconds * len(names) / max(seconds, 1e-9))))
    measured = {}
    if candidates:
        measured = time_interleaved(candidates, repeats, device_of(args), warmup=1 if batch == 1 else 0)
    found = dict(
        machine=title,
        failed=failed,
        rounds=[[*key, [each['run'] for each in rounds]] for key, rounds in measured.items()],
    )
    write_atomically(path, json.dumps(found) + '\n')
    return found


def summarise(measured: dict, sizes: dict[str, int]) -> list[dict]:
    """Return a row for each model, engine and batch: median and 95th percentile in ms, and images per second."""
    rows = []
    for (model, engine, batch), seconds in measured.items():
        p95 = quantiles(seconds, n=20, method='inclusive')[-1] if len(seconds) > 1 else seconds[0]
        rows.append(
            dict(
                model=model,
                engine=engine,
                batch=batch,
                size=sizes[model],
                p50_ms=1e3 * median(seconds),
                p95_ms=1e3 * p95,
                images_per_second=batch / median(seconds),
                rounds=len(seconds),
            )
        )
    return rows


def check_bars(measured: dict) -> list[dict]:
    """Compare the medians of the rounds' ratios at batch 1 with their targets."""
    results = []
    for (above, one), (below, other), direction, bound in BARS:
        keys = (above, one, 1), (below, other, 1)
        if all(key in measured for key in keys):
            ratio = median(a / b for a, b in zip(*(measured[key] for key in keys)))
            results.append(
                dict(
                    what=f'{above} ({one}) / {below} ({other})',
                    ratio=ratio,
                    promised=f'{direction} {bound}',
                    kept=ratio >= bound if direction == 'at least' else ratio <= bound,
                )
            )
    return results


def format_report(title: str, constants: list[dict], rows: list[dict], bars: list[dict], failed: dict[str, str]) -> str:
    """Format the report in Markdown."""
    engines = list(dict.fromkeys(row['engine'] for row in rows))
    batches = sorted({row['batch'] for row in rows})
    found = {(row['model'], row['engine'], row['batch']): row for row in rows}
    lines = [
        f'# Benchmark\n\n{title}\n\n| model | pixels | parameters, M | multiply-accumulates, G | file, MiB '
        '| INT8 file, MiB | peak memory, MiB |',
        '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ]
    for row in constants:
        int8 = f'{row["int8_mib"]:.1f}' if 'int8_mib' in row else ''
        lines.append(
            f'| {row["model"]} | {row["size"]} | {row["parameters"] / 1e6:.1f} | {row["macs"] / 1e9:.2f} | '
            f'{row["fp32_mib"]:.1f} | {int8} | {row["peak_memory_mib"]:.0f} |'
        )
    tables = [('Milliseconds of one image, median (95th percentile)', 1, '{p50_ms:.1f} ({p95_ms:.1f})')]
    tables += [(f'Images a second, batch {batch}', batch, '{images_per_second:.1f}') for batch in batches]
    for heading, batch, pattern in tables if rows else ():
        lines += [f'\n## {heading}\n', f'| model | {" | ".join(engines)} |', '| --- |' + ' ---: |' * len(engines)]
        for row in constants:
            cells = [found.get((row['model'], engine, batch)) for engine in engines]
            lines.append(
                f'| {row["model"]} | ' + ' | '.join(pattern.format(**cell) if cell else '' for cell in cells) + ' |'
            )
    if bars:
        lines += ['\n## Ratios at batch 1\n', '| what | ratio | target | met |', '| --- | ---: | --- | --- |']
        lines += [
            f'| {bar["what"]} | {bar["ratio"]:.2f} | {bar["promised"]} | {"yes" if bar["kept"] else "no"} |'
            for bar in bars
        ]
    if failed:
        lines += ['\n## What failed\n', *(f'- {reason}' for reason in failed.values())]
    return '\n'.join(lines) + '\n'


def plot(rows: list[dict], title: str, path: Path) -> Path | None:
    """Plot the milliseconds of one image, with a line for each model and a mark for each engine."""
    rows = [row for row in rows if row['batch'] == min(row['batch'] for row in rows)]
    models, engines = ([*dict.fromkeys(row[key] for row in rows)] for key in ('model', 'engine'))
    fig = Figure(figsize=(8, 1.4 + 0.42 * len(models)), layout='constrained')
    axes = fig.add_subplot()
    for engine, colour in zip(engines, GROUP_COLOURS):
        points = [row for row in rows if row['engine'] == engine]
        axes.plot(
            [row['p50_ms'] / row['batch'] for row in points],
            [models.index(row['model']) for row in points],
            'o',
            color=colour,
            label=engine,
            markersize=6.5,
            alpha=0.9,
        )
    axes.set(xscale='log', xlabel='ms an image (median)')
    axes.set_yticks(range(len(models)), models, color=INK)
    axes.invert_yaxis()
    axes.grid(axis='both', color='#E5E5E5', linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:,g}')
    axes.set_title(title, fontsize=9, loc='left')
    axes.legend(frameon=False, fontsize=8.5, loc='center left', bbox_to_anchor=(1, 0.5))
    clean(axes)
    return save(fig, path)


def run(args: argparse.Namespace) -> None:
    """Measure what the options of ``kdeov bench`` ask for, and write the report."""
    with user_errors():
        networks = choose(args)
        out_dir = Path(args.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    title, device = machine(torch.device('cpu')), device_of(args)
    title += (
        f'{", " + machine(device) if device.type == "cuda" else ""}; PyTorch {torch.__version__}, '
        f'ONNX Runtime {onnxruntime.__version__}'
    )
    constants, failed, measured = [], {}, {}
    for name, network in networks.items():
        try:
            constants.append(prepare(name, network, out_dir, args.engines, args.threads))
        except Exception as error:  # reported; does not stop the others
            failed[name] = tell(f'{name}: {type(error).__name__}: ' + ' '.join(str(error).split())[:200])
    names = [row['model'] for row in constants]
    if args.prepare_only:
        if 'compiled' in args.engines:
            args.engines = ['compiled']
            for name in names:
                first_runs(name, networks[name], 1, args)
        return
    for batch in args.batch_sizes:
        # For the ratios all networks and engines are interleaved with single images; else the engines of one network.
        for group in ([names] if batch == 1 else [[name] for name in names]) if names else []:
            found = measure(group, batch, args, title)
            failed.update(found['failed'])
            measured.update(
                {
                    (model, engine, size): seconds
                    for model, engine, size, seconds in found['rounds']
                    if model in names and engine in args.engines
                }
            )
    rows, bars = summarise(measured, {name: network.size for name, network in networks.items()}), check_bars(measured)
    report = format_report(title, constants, rows, bars, failed)
    result = dict(machine=title, threads=args.threads, networks=constants, rows=rows, bars=bars, failed=failed)
    written = [
        write_atomically(out_dir / 'benchmark.json', json.dumps(result, indent=2) + '\n'),
        write_atomically(out_dir / 'benchmark.md', report),
    ]
    picture = plot(rows, title, out_dir / 'benchmark.png') if rows else None
    if picture:
        written.append(picture)
    print(report)
    print('written: ' + ', '.join(map(str, written)))
