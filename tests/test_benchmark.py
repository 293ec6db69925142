"""tools/benchmark.py: its counts, ratios and options."""
import importlib.util
from pathlib import Path

import pytest
from torch import nn

from kdeov_mm.deploy.engines import complexity

TOOL = Path(__file__).resolve().parents[1] / 'tools' / 'benchmark.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('benchmark', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_multiply_accumulates_by_hand():
    layer = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    assert complexity(layer, 32) == (8 * 3 * 9 + 8, 16 * 16 * 8 * 3 * 9)


def test_ratios_are_those_of_one_round(tool):
    def rounds(*seconds):
        return [dict(warm=100., run=value) for value in seconds]

    measured = {(tool.OURS, 'ort_fp32', 1): rounds(1, 2, 10), ('CLIP ViT-B/32', 'ort_fp32', 1): rounds(16, 32, 90),
                (tool.OURS, 'ort_int8', 1): rounds(1, 1, 9), (tool.YOLO, 'openvino', 1): rounds(10, 10, 10),
                (tool.DETECTORS[80], 'openvino', 1): rounds(11, 12, 13)}
    assert [(bar['ratio'], bar['kept']) for bar in tool.check_bars(measured)] == [
        (16, True), (pytest.approx(10 / 9), False), (1.2, False)]
    row = tool.summarise(measured, {name: 224 for name, _, _ in measured})[0]
    assert row['p50_ms'] == 2000 and row['p95_ms'] == pytest.approx(9200) and row['images_per_second'] == 0.5


@pytest.mark.parametrize('options, message', [
    (['--repeats', '0'], '--repeats 0'), (['--threads', '-1'], '--threads -1'), (['--batch-sizes', '8', '0'],
                                                                              '--batch-sizes 0'),
    (['--models', 'abacus'], '--models abacus')])
def test_bad_options_are_refused_before_any_work(tool, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        tool.main([*options, '--out-dir', str(tmp_path / 'out')])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()
