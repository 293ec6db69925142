"""The table of several runs, against numbers worked out by hand."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def runs(tmp_path):
    for name, ap, top1, teacher in (('a', 0.2, 0.9, 0.6), ('b', 0.4, 0.5, 1.0)):
        (tmp_path / name / 'report').mkdir(parents=True)
        metrics = {'ov/novel/AP50': ap, 'zero_shot/all/top1': top1, 'teacher/zero_shot/all/top1': teacher}
        (tmp_path / name / 'report' / 'metrics.json').write_text(json.dumps(metrics))
    return tmp_path


def summarize(*args):
    return subprocess.run([sys.executable, 'tools/analysis_tools/summarize.py', *args], capture_output=True, text=True)


def test_mean_and_spread(runs):
    done = summarize(
        f'both={runs}/a,{runs}/b', f'one={runs}/a', '--metrics', 'ov/novel/AP50', 'zero_shot/all/top1:teacher'
    )
    assert done.stdout.splitlines() == [
        '| | runs | ov/novel/AP50 | zero_shot/all/top1:teacher |',
        '| --- | ---: | ---: | ---: |',
        '| both | 2 | 0.300 (0.200 to 0.400) | 1.000 (0.500 to 1.500) |',
        '| one | 1 | 0.200 | 1.500 |',
    ]


def test_bad_input(runs):
    for args, told in (
        (['x'], 'expected NAME=FOLDER'),
        ([f'x={runs}/c'], 'has no report/metrics.json'),
        ([f'x={runs}/a', '--metrics', 'ov/AP'], "'ov/AP' is in no report"),
    ):
        done = summarize(*args)
        assert done.returncode != 0 and told in done.stderr
