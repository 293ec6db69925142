"""The table of several runs, against numbers worked out by hand."""

import json
import re

import pytest

from tool_loading import run_tool


@pytest.fixture
def runs(tmp_path):
    for name, ap, top1, teacher in (('a', 0.2, 0.9, 0.6), ('b', 0.4, 0.5, 1.0)):
        (tmp_path / name / 'report').mkdir(parents=True)
        metrics = {'ov/novel/AP50': ap, 'zero_shot/all/top1': top1, 'teacher/zero_shot/all/top1': teacher}
        (tmp_path / name / 'report' / 'metrics.json').write_text(json.dumps(metrics))
    return tmp_path


def test_mean_and_spread(runs, capsys):
    metrics = ['ov/novel/AP50', 'zero_shot/all/top1:teacher']
    run_tool('summarize', f'both={runs}/a,{runs}/b', f'one={runs}/a', '--metrics', *metrics)
    assert capsys.readouterr().out.splitlines() == [
        '| | runs | ov/novel/AP50 | zero_shot/all/top1:teacher |',
        '| --- | ---: | ---: | ---: |',
        '| both | 2 | 0.300 (0.200 to 0.400) | 1.000 (0.500 to 1.500) |',
        '| one | 1 | 0.200 | 1.500 |',
    ]


def test_bad_input(runs, capsys):
    for args, named in (
        (['x'], "NAME=FOLDER.*'x'"),
        ([f'x={runs}/c'], f"'{runs}/c'.*metrics.json"),
        ([f'x={runs}/a', '--metrics', 'ov/AP'], "'ov/AP'"),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool('summarize', *args)
        assert stop.value.code not in (0, None)
        assert re.search(named, f'{stop.value.code} {capsys.readouterr().err}')
