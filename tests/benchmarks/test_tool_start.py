"""tools/benchmarks/start.py: the medians of what new processes took, and that each import works."""

import subprocess
import sys

import pytest

from tool_loading import load_tool


def test_medians_without_the_first_round(monkeypatch, capsys):
    told = iter([9, 9, 2, 3, 4, 6, 2, 30])  # in turns; the first round fills caches, and does not count
    tool = load_tool('benchmarks/start')
    monkeypatch.setattr(tool, 'commands', lambda *_: dict(one=['1'], other=['2']))
    monkeypatch.setattr(tool, 'processor_time', lambda _: next(told))
    assert tool.main(['--runs', '3']) == dict(one=2, other=6)
    assert '6.00 s (3.00 to 30.00, 3 runs)  other' in capsys.readouterr().out


def test_time_of_the_processor_and_not_of_the_clock():
    tool = load_tool('benchmarks/start')
    assert tool.processor_time(['-c', 'import time; time.sleep(2)']) < 1
    assert tool.processor_time(['-c', 'import time\nwhile time.process_time() < 1: pass']) > 0.9


@pytest.mark.slow
def test_each_import_works():
    for name, command in load_tool('benchmarks/start').commands(None, None).items():
        if name.startswith('import') or command[0] == '-c':
            assert subprocess.run([sys.executable, *command]).returncode == 0, name
