"""``kdeov bench``: its counts, ratios and options."""

import json

import pytest
from torch import nn

from kdeov_mm.benchmarks import ENGINE_NAMES, deployment
from kdeov_mm.benchmarks.inference_engines import ENGINES, complexity
from kdeov_mm.cli import main


@pytest.fixture(scope='module')
def tool():
    return deployment


def test_multiply_accumulates_by_hand():
    layer = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    assert complexity(layer, 32) == (8 * 3 * 9 + 8, 16 * 16 * 8 * 3 * 9)


def test_ratios_are_those_of_one_round(tool):
    measured = {
        (tool.OURS, 'ort_fp32', 1): [1, 2, 10],
        ('CLIP ViT-B/32', 'ort_fp32', 1): [16, 32, 90],
        (tool.OURS, 'ort_int8', 1): [1, 1, 9],
        (tool.YOLO, 'openvino', 1): [10, 10, 10],
        (tool.DETECTORS[80], 'openvino', 1): [11, 12, 13],
    }
    assert [(bar['ratio'], bar['kept']) for bar in tool.check_bars(measured)] == [
        (16, True),
        (pytest.approx(10 / 9), False),
        (1.2, False),
    ]
    row = tool.summarise(measured, {name: 224 for name, _, _ in measured})[0]
    assert row['p50_ms'] == 2000 and row['p95_ms'] == pytest.approx(9200) and row['images_per_second'] == 0.5


def test_every_engine_has_its_name():
    assert tuple(ENGINES) == ENGINE_NAMES


class Tiny(nn.Module):
    """A network of no time: one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=32)

    def forward(self, images):
        return self.layer(images)


def test_a_run_goes_on_where_it_ended_and_one_failure_costs_no_other(tool, tmp_path, monkeypatch, capsys):
    def tiny(make=Tiny):
        return tool.Network(make, 64, ('found',), free={0: 'batch'})

    def broken():
        raise RuntimeError('no such\nweights')

    monkeypatch.setattr(tool, 'NETWORKS', {'A': tiny(), 'B': tiny(), 'broken': tiny(broken)})
    options = [
        '--engines',
        'eager',
        'ort_fp32',
        'ort_int8',
        '--repeats',
        '4',
        '--threads',
        '1',
        '--out-dir',
        str(tmp_path),
    ]
    main(['bench', *options, '--models', 'A', '--batch-sizes', '1', '3'])
    first = json.loads((tmp_path / 'benchmark.json').read_text())
    assert {(row['engine'], row['batch'], row['rounds']) for row in first['rows']} == {
        (engine, batch, 4) for engine in ('eager', 'ort_fp32', 'ort_int8') for batch in (1, 3)
    }
    monkeypatch.setitem(tool.ENGINES, 'ort_fp32', lambda *_: broken())
    main(['bench', *options, '--batch-sizes', '3'])
    result = json.loads((tmp_path / 'benchmark.json').read_text())
    assert [row for row in result['rows'] if row['model'] == 'A'] == [row for row in first['rows'] if row['batch'] == 3]
    assert {row['engine'] for row in result['rows'] if row['model'] == 'B'} == {'eager', 'ort_int8'}
    assert set(result['failed']) == {'broken', 'B, ort_fp32, batch 3'}
    written = (tmp_path / 'benchmark.md').read_text()
    assert 'broken: RuntimeError: no such weights' in written and written in capsys.readouterr().out
    assert (tmp_path / 'benchmark.png').is_file()


@pytest.mark.parametrize(
    'options, named',
    [
        (['--repeats', '0'], '--repeats 0'),
        (['--threads', '-1'], '--threads -1'),
        (['--batch-sizes', '8', '0'], '--batch-sizes 0'),
        (['--models', 'abacus'], '--models abacus'),
        (['--seconds', '-1'], '--seconds -1'),
    ],
)
def test_bad_options_are_refused_before_any_work(tool, tmp_path, capsys, options, named):
    with pytest.raises(SystemExit) as stop:
        main(['bench', *options, '--out-dir', str(tmp_path / 'out')])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and named in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()
