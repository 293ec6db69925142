"""Compare models on benchmarks: accuracy, retrieval, detection, parameters, operations, latency.

    python tools/analysis_tools/compare.py configs/compare/shapes.py

The config lists models (name, checkpoint, and for each benchmark a config) and benchmarks (title, metrics to show).
Each pair is tested by tools/test.py, in a folder of its own; what was tested with the same config and checkpoint is not
tested again. Written are compare.md, compare.json and compare.png.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import torch
from kdeov_mm.benchmarks.cost import count_flops, count_parameters
from kdeov_mm.benchmarks.timing import Stages, time_interleaved
from kdeov_mm.datasets import prepare_data
from kdeov_mm.evaluation.pictures import GROUP_COLOURS, clean, save
from kdeov_mm.evaluation.report import TASKS, show
from kdeov_mm.utils import (
    InputError,
    interruptible,
    load_config,
    load_weights,
    resolve_checkpoint,
    user_errors,
)
from kdeov_mm.utils.config import first_test_dataloader
from kdeov_mm.utils.files import sha256, write_atomically
from kdeov_mm.utils.json_files import read_json
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmyolo.registry import DATASETS, HOOKS, MODELS

TEST = Path(__file__).resolve().parents[1] / 'test.py'
FIELDS = {'name', 'checkpoint', 'configs', 'reports', 'cfg_options'}
COSTS = ('parameters', 'gflops', 'image_size', 'embed_ms', 'predict_ms')
COLUMNS = dict(parameters='parameters', gflops='GFLOPs', embed_ms='network, ms', predict_ms='prediction, ms')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config with models and benchmarks')
    parser.add_argument('--out-dir', help='folder of all results; default: work_dirs/compare_<name of the config>')
    parser.add_argument('--repeats', type=int, default=30, help='rounds of the timing')
    parser.add_argument('--threads', type=int, default=1, help='threads of PyTorch while timing on the CPU')
    parser.add_argument('--device', default='cpu', help='where the models are timed, such as cpu or cuda:0')
    return parser.parse_args()


class Pair:
    """Describes one model on one benchmark.

    Args:
        model: Its entry in the config.
        benchmark: Name of the benchmark.
        spec: The benchmark's entry.
        out_dir: Folder of the comparison.

    Raises:
        InputError: If the config, the data or the checkpoint cannot be used.
    """

    def __init__(self, model: dict, benchmark: str, spec: dict, out_dir: Path) -> None:
        self.name, self.benchmark, self.data_root = model['name'], benchmark, spec.get('data_root')
        self.options = dict(model.get('cfg_options') or {})
        self.config = model['configs'][benchmark]
        self.work_dir = out_dir / '_'.join(model['name'].split()) / benchmark
        self.report = (model.get('reports') or {}).get(benchmark)
        if self.report and not Path(self.report).is_file():
            raise InputError(
                f'models: {self.name}: reports.{benchmark}: no file {self.report}; '
                'give the metrics.json of a report of tools/test.py'
            )
        self.cfg = load_config(self.config, self.options, self.data_root, str(self.work_dir))
        prepare_data(self.cfg, 'test')
        self.checkpoint = resolve_checkpoint(model['checkpoint']) if model.get('checkpoint') else None

    def build(self) -> torch.nn.Module:
        """Build the model with its weights, in inference mode."""
        init_default_scope(self.cfg.get('default_scope', 'mmyolo'))
        model = MODELS.build(self.cfg.model)
        if self.checkpoint:
            load_weights(model, self.checkpoint)
        return model.eval()

    def source(self) -> dict:
        """Return what the metrics depend on."""
        config = hashlib.sha256(self.cfg.pretty_text.encode()).hexdigest()
        return dict(config=config, checkpoint=self.checkpoint and sha256(self.checkpoint))

    def metrics(self) -> dict | None:
        """Return the metrics if they have been measured."""
        if self.report:
            return read_json(self.report, what=f'models: {self.name}: report')
        found, source = self.work_dir / 'report' / 'metrics.json', self.work_dir / 'source.json'
        if found.is_file() and source.is_file() and read_json(source) == self.source():
            return read_json(found, what='report')
        return None

    def test(self) -> bool:
        """Run tools/test.py; whether it succeeded."""
        (self.work_dir / 'source.json').unlink(missing_ok=True)  # until the new metrics are there
        command = [
            sys.executable,
            str(TEST),
            self.config,
            *([self.checkpoint] if self.checkpoint else []),
            '--work-dir',
            str(self.work_dir),
        ]
        command += ['--data-root', self.data_root] if self.data_root else []
        command += ['--cfg-options', *(f'{key}={value}' for key, value in self.options.items())] if self.options else []
        if subprocess.run(command).returncode:
            return False
        write_atomically(self.work_dir / 'source.json', json.dumps(self.source()) + '\n')
        return True


def read_pairs(cfg: Config, out_dir: Path) -> list[Pair]:
    """Read and check all pairs of the config.

    Raises:
        InputError: If a field is missing or unknown, or a pair cannot be tested.
    """
    if not cfg.get('models') or not cfg.get('benchmarks'):
        raise InputError(f'{cfg.filename}: needs models, a list, and benchmarks, a dict; see configs/compare/shapes.py')
    names = [model.get('name') for model in cfg.models]
    if None in names or len(set(names)) < len(names):
        raise InputError(f'models: each needs a name of its own, got {names}')
    pairs = []
    for model in cfg.models:
        if not model.get('configs') or set(model) - FIELDS:
            raise InputError(
                f'models: {model.name} must have configs, and may have {", ".join(sorted(FIELDS))}; '
                f'it has {", ".join(model)}'
            )
        for benchmark in model.configs:
            if benchmark not in cfg.benchmarks:
                raise InputError(
                    f'models: {model.name}: no benchmark {benchmark!r}; there are {", ".join(cfg.benchmarks)}'
                )
            pairs.append(Pair(model, benchmark, cfg.benchmarks[benchmark], out_dir))
    return pairs


def first_batch(pair: Pair, model: torch.nn.Module) -> dict:
    """Return the first test image, preprocessed, and set the model's vocabulary."""
    dataset = DATASETS.build(first_test_dataloader(pair.cfg).dataset)
    for hook in pair.cfg.get('custom_hooks') or []:
        if hook['type'] == 'VocabularyHook':
            hook = HOOKS.build(hook)
            hook.set_vocabulary(model, hook.test_names(dataset), dataset.metainfo.get('closed', False))
    return model.data_preprocessor(pseudo_collate([dataset[0]]), False)


def make_stages(model: torch.nn.Module, inputs: torch.Tensor, samples: list) -> Stages:
    """Return the timed stages: the network alone, and the whole prediction of a test."""
    return dict(embed=lambda _: model(inputs, mode='tensor'), predict=lambda _: model(inputs, samples, mode='predict'))


def measure_costs(pairs: list[Pair], models: dict[str, torch.nn.Module], device: torch.device, repeats: int) -> dict:
    """Measure size, operations and interleaved latency of each model on the first image of its first benchmark."""
    costs, stages = {}, {}
    for pair in pairs:
        if pair.name in costs:
            continue
        model = models[pair.name]
        batch = first_batch(pair, model)
        inputs = batch['inputs']
        costs[pair.name] = dict(
            parameters=count_parameters(model, lambda: model(inputs, batch['data_samples'], mode='predict')),
            gflops=count_flops(model, inputs) / 1e9,
            image_size=list(inputs.shape[-2:]),
        )
        stages[pair.name] = make_stages(model.to(device), inputs.to(device), batch['data_samples'])
    for name, rounds in time_interleaved(stages, repeats, device).items():
        for stage in ('embed', 'predict'):
            times = [1e3 * seconds[stage] for seconds in rounds]
            costs[name].update({f'{stage}_ms': median(times), f'{stage}_p95_ms': quantiles(times, n=20)[-1]})
    return costs


def read_costs(path: Path) -> dict:
    """Read what an earlier run has timed; {} if there was none.

    Raises:
        InputError: If the file is damaged.
    """
    if not path.is_file():
        return {}
    timed = read_json(path, what='costs')
    costs = timed.get('costs')
    costs = list(costs.values()) if isinstance(costs, dict) else [None]
    if not all(isinstance(cost, dict) and set(COSTS) <= set(cost) for cost in costs):
        raise InputError(f'costs "{path}": expected {", ".join(COSTS)} of each model; run with --time-again')
    return timed


def markdown(cfg: Config, results: dict) -> str:
    """Format the report."""
    rows = results['models']
    lines = [
        '# Comparison',
        '',
        f'Timed on {results["device"]}, batch 1, medians of rounds in which the models take '
        'turns. Parameters are those that a prediction meets; GFLOPs those of the network alone, a multiplication '
        'with its addition as one.',
        '',
        f'| model | input | {" | ".join(COLUMNS.values())} |',
        '| --- | --- |' + ' ---: |' * len(COLUMNS),
    ]
    for name, row in rows.items():
        cost = row['cost']
        cells = [
            f'{cost["parameters"] / 1e6:.2f} M',
            f'{cost["gflops"]:.3f}',
            f'{cost["embed_ms"]:.2f}',
            f'{cost["predict_ms"]:.2f}',
        ]
        lines.append(f'| {name} | {" x ".join(map(str, cost["image_size"]))} | {" | ".join(cells)} |')
    for benchmark, spec in cfg.benchmarks.items():
        keys = shown_metrics(spec, benchmark, rows)
        lines += [
            '',
            f'## {spec.get("title", benchmark)}',
            '',
            f'| model | {" | ".join(keys)} |',
            '| --- |' + ' ---: |' * len(keys),
        ]
        for name, row in rows.items():
            metrics = row['metrics'].get(benchmark)
            if metrics is not None:
                lines.append(f'| {name} | {" | ".join(show(metrics.get(key)) for key in keys)} |')
    return '\n'.join([*lines, '', '![accuracy against latency](compare.png)']) + '\n'


def shown_metrics(spec: dict, benchmark: str, rows: dict) -> list[str]:
    """Return the metrics that the config chooses, else all of the models, without teacher and chance."""
    if spec.get('metrics'):
        return list(spec['metrics'])
    found = [key for row in rows.values() for key in row['metrics'].get(benchmark) or {}]
    return [key for key in dict.fromkeys(found) if key.split('/')[0] not in ('teacher', 'chance')]


def plot(cfg: Config, results: dict, path: Path) -> Path:
    """Plot each metric against the latency of the network or of the whole prediction."""
    rows = results['models']
    panels = [
        (benchmark, key) for benchmark, spec in cfg.benchmarks.items() for key in shown_metrics(spec, benchmark, rows)
    ]
    columns = min(3, len(panels))
    fig = Figure(figsize=(4.3 * columns, 3.2 * -(-len(panels) // columns) + 0.5), layout='constrained')
    colours = {name: GROUP_COLOURS[i % len(GROUP_COLOURS)] for i, name in enumerate(rows)}
    for i, (benchmark, key) in enumerate(panels, 1):
        axes = fig.add_subplot(-(-len(panels) // columns), columns, i)
        stage = 'predict_ms' if key.startswith(('ov', 'alone')) else 'embed_ms'
        values = {name: (row['metrics'].get(benchmark) or {}).get(key) for name, row in rows.items()}
        points = {name: (rows[name]['cost'][stage], value) for name, value in values.items() if value is not None}
        for place, (name, point) in enumerate(sorted(points.items(), key=lambda item: -item[1][1])):
            axes.scatter(*point, s=45, color=colours[name], zorder=3)
            axes.annotate(
                f'{point[1]:.2f}',
                point,
                xytext=(0, -15 if place % 2 else 7),
                textcoords='offset points',
                ha='center',
                fontsize=8,
                color=colours[name],
            )
        task, _, rest = key.partition('/')
        axes.set_title(
            f'{cfg.benchmarks[benchmark].get("title", benchmark)}\n{TASKS.get(task, task)}, {rest}',
            fontsize=8.5,
            loc='left',
        )
        axes.set_xlabel(f'{COLUMNS[stage]} an image', fontsize=8)
        axes.set_xlim(0, 1.2 * max([x for x, _ in points.values()], default=1.0))
        axes.set_ylim(0, 1.15 * max([y for _, y in points.values() if y], default=1.0))
        axes.tick_params(labelsize=8)
        axes.grid(color='#E5E5E5', linewidth=0.8)
        clean(axes)
    handles = [fig.axes[0].scatter([], [], s=55, color=colour) for colour in colours.values()]
    fig.legend(handles, list(colours), loc='outside upper center', ncols=len(handles), frameon=False, fontsize=9)
    return save(fig, path)


@interruptible()
def main() -> None:
    args = parse_args()
    out_dir = Path(args.out_dir or Path('work_dirs', f'compare_{Path(args.config).stem}'))
    with user_errors():
        if args.repeats < 2:
            raise InputError(f'--repeats {args.repeats}: must be at least 2')
        if not Path(args.config).is_file():
            raise InputError(f'config file not found: {args.config}')
        cfg = Config.fromfile(args.config)
        pairs = read_pairs(cfg, out_dir)
        models = {pair.name: pair.build() for pair in pairs}  # complains before any test
        kept = out_dir / 'cost.json'  # delete it to time all models again
        timed = read_costs(kept)
        untested = [pair for pair in pairs if pair.metrics() is None]
    failed = []
    for pair in untested:
        print(f'testing {pair.name} on {pair.benchmark}', file=sys.stderr)
        failed += [] if pair.test() else [f'{pair.name} on {pair.benchmark}']
    torch.set_num_threads(args.threads)
    key = json.dumps([[pair.name, pair.source()] for pair in pairs] + [args.device, args.threads])
    if timed.get('key') != key:
        timed = dict(key=key, costs=measure_costs(pairs, models, torch.device(args.device), args.repeats))
        write_atomically(kept, json.dumps(timed) + '\n')
    where = f'{args.device}, {args.threads} thread(s)' if args.device == 'cpu' else args.device
    results = dict(device=where, models={})
    for pair in pairs:
        row = results['models'].setdefault(pair.name, dict(cost=timed['costs'][pair.name], metrics={}))
        row['metrics'][pair.benchmark] = pair.metrics()
    write_atomically(out_dir / 'compare.json', json.dumps(results, indent=2) + '\n')
    plot(cfg, results, out_dir / 'compare.png')
    text = markdown(cfg, results)
    print(text + f'\nwritten: {write_atomically(out_dir / "compare.md", text)}')
    if failed:
        sys.exit(
            f'error: these tests failed, see above, and are missing: {", ".join(failed)}; '
            'run the same command again to repeat them'
        )


if __name__ == '__main__':
    main()
