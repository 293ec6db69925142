"""tools/benchmark_import.py: the medians of what new processes measured, and that both imports work."""

import subprocess

import pytest

from tool_loading import load_tool


def test_medians_and_their_ratio(monkeypatch, capsys):
    told = iter([9, 9, 2, 3, 4, 6, 2, 30])  # in turns; the first round fills caches, and does not count

    def run(command, **_):
        return subprocess.CompletedProcess(command, 0, stdout=f'said on import\n{next(told)}\n')

    tool = load_tool('benchmark_import')
    monkeypatch.setattr(tool.subprocess, 'run', run)
    assert tool.main(['--runs', '3']) == {'mmdet.apis': 2, 'kdeov_mm.apis': 6, 'ratio': 3}
    assert 'median 6.00 s (3.00 to 30.00, 3 runs)' in capsys.readouterr().out


@pytest.mark.slow
def test_both_imports_work():
    assert load_tool('benchmark_import').main(['--runs', '1'])['ratio'] > 0
