"""The report of a test run: flat metrics, one table, pictures."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import write_atomically
from kdeov_mm.utils.json_files import parse_json

from . import pictures

ROLES = ('student', 'teacher', 'chance')
TASKS = dict(
    zero_shot='Zero-shot classification',
    retrieval='Retrieval',
    retrieval_1k='Retrieval, mean of folds of 1,000 images',
    retrieval_batch='Retrieval within batches',
    ov='Open-vocabulary detection',
    ov_lvis='Open-vocabulary detection, LVIS',
    alone='Detection, each name asked alone',
    general='Detection, each general name asked alone',
    cifar10='CIFAR-10',
    cifar100='CIFAR-100',
    imagenet='ImageNet-1k',
    folder='Image folder',
)
MAX_CLASSES = 200  # that a report lists
LABELS = dict(
    top1='top-1',
    top3='top-3',
    top5='top-5',
    mean_per_class='mean per class',
    t2i='text to image',
    i2t='image to text',
    median_rank='median rank',
    false_alarms='false alarms',
    ECE='calibration error (ECE)',
    duplicates_per_name='duplicates, no suppression across names',
)


@dataclass
class Row:
    """Holds one row of the table: a task's metric for one group of classes or direction of retrieval."""

    task: str
    group: str
    metric: str
    values: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Student / teacher, where there is a teacher that is not at zero."""
        return self.values['student'] / self.values['teacher'] if self.values.get('teacher') else None

    def cells(self) -> list[str]:
        """Group, metric, student, teacher, student / teacher and chance as text."""
        shown = (self.values['student'], self.values.get('teacher'), self.ratio, self.values.get('chance'))
        names = [LABELS.get(name, name) for name in (self.group, self.metric)]
        return names + [show(value) for value in shown]


def show(value: float | None) -> str:
    """Format a number with three decimals, without rounding a positive one to zero; a dash for None."""
    if value is None:
        return '–'
    return '<0.001' if 0 < value < 0.0005 else f'{value:.3f}'


def make_rows(metrics: dict[str, float]) -> list[Row]:
    """Turn flat metrics into table rows, by task, then metric (retrieval: direction), then as they come.

    Keys are ``[{role}/]{task}/{group}/{metric}``; what has no student value or is not a number is left out.
    """
    rows: dict[tuple, Row] = {}
    for key, value in metrics.items():
        role, _, rest = key.partition('/')
        role, rest = (role, rest) if role in ROLES[1:] else ('student', key)
        if not isinstance(value, Real):
            continue
        task, _, name = rest.partition('/')
        group, _, metric = name.rpartition('/')
        row = rows.setdefault((task, group, metric), Row(task, group, metric))
        row.values[role] = value
    complete = [row for row in rows.values() if 'student' in row.values]

    def order(key, known=()):
        names = [*known, *dict.fromkeys(key(row) for row in complete if key(row) not in known)]
        return lambda row: names.index(key(row))

    task = order(lambda row: row.task, TASKS)
    section = order(lambda row: row.group if is_retrieval(row.task) else row.metric)
    return sorted(complete, key=lambda row: (task(row), section(row)))


def is_retrieval(task: str) -> bool:
    """Return whether a task is retrieval: ``retrieval`` or ``retrieval_...``."""
    return task.partition('_')[0] == 'retrieval'


def print_table(metrics: dict[str, float], name: str) -> None:
    """Print the final table."""
    table = Table(
        title=f'Results of {name}',
        box=box.ROUNDED,
        title_style='bold',
        header_style='bold',
        caption='ratio: student / teacher; chance: without any knowledge of the texts',
    )
    table.add_column('', no_wrap=True)
    table.add_column('metric', no_wrap=True)
    for column, style in (('student', 'bold'), ('teacher', None), ('ratio', None), ('chance', 'dim')):
        table.add_column(column, justify='right', style=style, no_wrap=True)
    task = None
    for row in make_rows(metrics):
        if row.task != task:
            table.add_section()
            table.add_row(f'[bold]{TASKS.get(row.task, row.task)}[/bold]')
            task = row.task
        table.add_row('  ' + row.cells()[0], *row.cells()[1:])
    Console().print(table)


def markdown(metrics: dict[str, float], name: str, files: Sequence[Path]) -> str:
    """Format the report as Markdown: table, pictures, tables of classes, links to other files beside it."""
    lines = [
        f'# Results of {name}',
        '',
        '| task | group | metric | student | teacher | student / teacher | chance |',
        '| --- ' * 3 + '| ---: ' * 4 + '|',
    ]
    lines += [f'| {" | ".join([TASKS.get(row.task, row.task)] + row.cells())} |' for row in make_rows(metrics)]
    for path in files:
        caption = path.stem.replace('_', ' ')
        lines += ['', f'![{caption}]({path.name})' if path.suffix == '.png' else f'[{caption}]({path.name})']
        if path.name.endswith('_per_class.csv'):
            lines += class_table(path)
    return '\n'.join(lines) + '\n'


def class_table(path: Path) -> list[str]:
    """Format a CSV file ``class,group,metrics...`` as a Markdown table; empty if it would be too long."""
    with open(path, encoding='utf-8', newline='') as file:
        header, *rows = csv.reader(file)
    if len(rows) > MAX_CLASSES:
        return []
    shown = [
        row[:2] + [value if value.isdigit() else show(float(value) if value else None) for value in row[2:]]
        for row in rows
    ]
    align = ['---'] * 2 + ['---:'] * (len(header) - 2)
    return ['', *(f'| {" | ".join(cells)} |' for cells in (header, align, *shown))]


def write_report(metrics: dict[str, float], out_dir: Path, name: str, drawers: Sequence = ()) -> Path:
    """Write ``metrics.json``, the pictures and ``report.md``, each whole or not at all.

    Args:
        metrics: Flat metrics.
        out_dir: Folder of the report; its parent is searched for the training's logs.
        name: Of the config, for headings.
        drawers: Metrics with a method ``draw(out_dir) -> list of paths``.

    Returns:
        Path: Of ``report.md``.
    """
    write_atomically(out_dir / 'metrics.json', json.dumps(metrics, indent=2, default=float) + '\n')
    files = []
    panels = group_panels(metrics)
    if panels:
        files.append(pictures.bars(panels, out_dir / 'groups.png'))
    for drawer in drawers:
        files += drawer.draw(out_dir)
    losses = read_losses(out_dir.parent)
    if losses:
        files.append(pictures.curves(losses, out_dir / 'losses.png'))
    return write_atomically(out_dir / 'report.md', markdown(metrics, name, files))


def group_panels(metrics: dict[str, float]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the data of the bar chart: ``{title: {bar group: {role: value}}}``."""
    panels: dict[str, dict[str, dict[str, float]]] = {}
    for row in make_rows(metrics):
        if row.metric == 'top1' or (row.task, row.metric) == ('ov', 'AP50'):
            title, bar = f'{TASKS.get(row.task, row.task)}, {LABELS.get(row.metric, row.metric)}', row.group
        elif is_retrieval(row.task) and row.metric.startswith('R@'):
            title, bar = f'{TASKS.get(row.task, row.task)}, {LABELS.get(row.group, row.group)}', row.metric
        elif row.task == 'ov_lvis':
            title, bar = f'{TASKS[row.task]}, {row.group}', row.metric
        else:
            continue
        panels.setdefault(title, {})[bar] = row.values
    return panels


def read_losses(work_dir: Path) -> dict[str, dict[int, float]]:
    """Losses of all training runs in a work dir, ``{name: {step: value}}``.

    A run that resumed, or began again, replaces what earlier runs logged from its first step on.
    """
    history: list[dict] = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        records = [record for record in map(parse_line, path.read_text().splitlines()) if 'loss' in record]
        if records:
            history = [record for record in history if record['step'] < records[0]['step']] + records
    names = dict.fromkeys(key for record in history for key in record if 'loss' in key)
    return {name: {record['step']: record[name] for record in history if name in record} for name in names}


def parse_line(line: str) -> dict:
    """Parse one line of a log; empty for an unfinished line of a killed run."""
    try:
        record = parse_json(line, 'log', finite=False)  # a loss may have been NaN
    except InputError:
        return {}
    return record if isinstance(record.get('step'), int) else {}
