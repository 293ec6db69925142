"""Print one Markdown table of several runs' reports: mean over the runs of a row, and their least and greatest value.

    python tools/analysis_tools/summarize.py "all of it=work_dirs/full-1,work_dirs/full-2" \\
        "no proposals=work_dirs/noprop-1" --metrics ov/base/AP50 ov/novel/AP50

A metric divided by the teacher's is named METRIC:teacher, as in zero_shot/novel/top1:teacher.
"""

import argparse
from pathlib import Path
from statistics import mean

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError, interruptible, user_errors
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json
from kdeov_mm.utils.records import are_numbers

METRICS = [
    'ov/base/AP50',
    'ov/recombined/AP50',
    'ov/novel/AP50',
    'ov/unseen/AP50',
    'zero_shot/base/top1',
    'zero_shot/novel/top1',
    'retrieval/t2i/R@1',
]


def read_runs(text: str) -> tuple:
    """Read the name of a row and the metrics of its runs from ``NAME=FOLDER,FOLDER``."""
    name, equals, folders = text.partition('=')
    if not equals:
        raise SystemExit(f'rows: expected NAME=FOLDER[,FOLDER...], got {text!r}')
    runs = []
    for folder in folders.split(','):
        path = Path(folder, 'report', 'metrics.json')
        if not path.is_file():
            raise SystemExit(f'rows: {folder!r} has no report/metrics.json; run tools/test.py with this work dir first')
        runs.append(read_json(path, max_bytes=MAX_METADATA_BYTES, what='rows:'))
    return name, runs


def value(metrics: dict[str, float], key: str) -> float:
    """Return a metric, or its ratio to the teacher's."""
    name, _, of = key.partition(':')
    for needed in [name] + ([f'{of}/{name}'] if of else []):
        if needed not in metrics:
            raise SystemExit(f'--metrics: {needed!r} is in no report; there are {", ".join(sorted(metrics))}')
        if not are_numbers([metrics[needed]]):
            raise InputError(f'--metrics: {needed!r} of a report is {short_repr(metrics[needed])}; expected a number')
    if of and not metrics[f'{of}/{name}']:
        raise InputError(f'--metrics: {key!r} divides by "{of}/{name}", which is 0 in a report; leave it out')
    return metrics[name] / metrics[f'{of}/{name}'] if of else metrics[name]


def table(rows: list[tuple], keys: list[str]) -> str:
    """Markdown: a line a row, with the number of its runs."""
    lines = ['| | runs | ' + ' | '.join(keys) + ' |', '| --- | ---: |' + ' ---: |' * len(keys)]
    for name, runs in rows:
        cells = []
        for key in keys:
            values = [value(run, key) for run in runs]
            spread = f' ({min(values):.3f} to {max(values):.3f})' if len(values) > 1 else ''
            cells.append(f'{mean(values):.3f}{spread}')
        lines.append(f'| {name} | {len(runs)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


@interruptible()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='+', help='NAME=FOLDER[,FOLDER...]: a row and the work dirs of its runs')
    parser.add_argument('--metrics', nargs='+', default=METRICS, help='keys of metrics.json; default: %(default)s')
    args = parser.parse_args()
    with user_errors():
        print(table([read_runs(row) for row in args.rows], args.metrics))


if __name__ == '__main__':
    main()
