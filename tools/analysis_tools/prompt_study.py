"""Which prompt is best: zero-shot classification with several sets of templates, in one table.

    python tools/analysis_tools/prompt_study.py configs/zero_shot/kdeov_yolov8n_cifar10.py CHECKPOINT
    python tools/analysis_tools/prompt_study.py CONFIG CHECKPOINT --templates none "a photo of a {}" mine.txt

Images are embedded once, whatever the number of sets. The table goes to prompt_study.md and .json in the work dir.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
from kdeov_mm.engine.hooks import FirstStep
from kdeov_mm.cli.test import add_test_options
from kdeov_mm.engine.testing import build_test_runner, load_test_config
from kdeov_mm.text import resolve_templates
from kdeov_mm.utils import InputError, interruptible, parse_launched, user_errors
from kdeov_mm.utils.files import write_atomically
from mmengine.config import Config
from mmengine.dist import is_main_process

DEFAULT = ('none', 'a photo of a {}', 'a fuzzy photo of a {}', 'openai_imagenet_80')
SHOWN = dict(top1='top-1', top5='top-5', mean_per_class='mean per class')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_test_options(parser)
    parser.add_argument(
        '--templates',
        nargs='+',
        default=DEFAULT,
        metavar='SET',
        help='none, single, openai_imagenet_7, openai_imagenet_80, vild, a file with one template a '
        'line, or a template with {}; default: %(default)s',
    )
    return parse_launched(parser)


def study(cfg: Config, templates: Sequence[str]) -> list[str]:
    """Give each data set a metric for every set of templates, ``{prefix}:{number}``, and no other.

    Returns:
        list: The prefixes of the config's own metrics.

    Raises:
        InputError: If the config has no ZeroShotMetric.
    """
    given = cfg.get('test_evaluator') or []
    several = isinstance(cfg.test_dataloader, (list, tuple))
    parts = [part if isinstance(part, (list, tuple)) else [part] for part in (given if several else [given])]
    evaluators, loaders, names = [], [], []
    for part, loader in zip(parts, cfg.test_dataloader if several else [cfg.test_dataloader]):
        for metric in part:
            if metric['type'] == 'ZeroShotMetric':
                name = metric.get('prefix') or 'zero_shot'
                names.append(name)
                loaders.append(loader)
                evaluators.append(
                    [
                        dict(metric, templates=each, prefix=f'{name}:{number}', per_class=True)
                        for number, each in enumerate(templates)
                    ]
                )
    if not evaluators:
        raise InputError(
            f'test_evaluator: {cfg.filename} has no ZeroShotMetric, whose prompts could be compared; give '
            'a config such as those in configs/zero_shot'
        )
    cfg.test_dataloader, cfg.test_evaluator = loaders, evaluators
    cfg.test_cfg = dict(type='CachedTestLoop')
    cfg.default_hooks.pop('report', None)
    return names


def read_table(metrics: dict[str, float], names: Sequence[str], templates: Sequence[str]) -> list[dict]:
    """Read one row for each set of templates: name, number of templates, and metrics of each data set."""
    rows = []
    for number, each in enumerate(templates):
        values = {name: {key: metrics.get(f'{name}:{number}/all/{key}') for key in SHOWN} for name in names}
        rows.append(dict(templates=each, number=len(resolve_templates(each)), **values))
    return rows


def markdown(rows: list[dict], names: Sequence[str]) -> str:
    """Format the table, with the best of each column in bold."""
    columns = [(name, key) for name in names for key in SHOWN if rows[0][name][key] is not None]
    best = {(name, key): max(row[name][key] for row in rows) for name, key in columns}
    lines = [
        '| templates | number | ' + ' | '.join(f'{name} {SHOWN[key]}' for name, key in columns) + ' |',
        '| --- | ---: |' + ' ---: |' * len(columns),
    ]
    for row in rows:
        cells = [
            f'**{row[name][key]:.4f}**' if row[name][key] == best[name, key] else f'{row[name][key]:.4f}'
            for name, key in columns
        ]
        lines.append(f'| {row["templates"]} | {row["number"]} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


@interruptible()
def main() -> None:
    args = parse_args()
    with user_errors():
        for each in args.templates:
            resolve_templates(each)
        cfg = load_test_config(args)
        names = study(cfg, args.templates)
        runner = build_test_runner(cfg)
        runner.register_hook(first := FirstStep())
    with user_errors(until=first):
        metrics = runner.test()
    if is_main_process():
        rows = read_table(metrics, names, args.templates)
        table = markdown(rows, names)
        write_atomically(Path(cfg.work_dir) / 'prompt_study.json', json.dumps(rows, indent=1) + '\n')
        written = write_atomically(Path(cfg.work_dir) / 'prompt_study.md', table)
        print(f'{table}\n{written}')


if __name__ == '__main__':
    main()
