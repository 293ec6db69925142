"""tools/analysis_tools/compare.py: one report of several models, resumed, with errors before any work."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.runner import Runner
from tool_loading import load_tool

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = dict(student='kdeov_yolov8n.py', yolo='baselines/yolov8n_shapes.py')


@pytest.fixture(scope='module')
def compare():
    return load_tool('compare')


@pytest.fixture(scope='module')
def trained(demo_config, tmp_path_factory):
    """``{name: dict(config, checkpoint)}`` of models trained for a moment."""
    found = {}
    for name, config in CONFIGS.items():
        folder, cfg = tmp_path_factory.mktemp(name), demo_config(config=ROOT / 'configs' / config, epochs=2)
        cfg.dump(folder / 'config.py')
        runner = Runner.from_cfg(cfg)
        runner.train()
        found[name] = dict(config=str(folder / 'config.py'), checkpoint=f'{runner.work_dir}/epoch_2.pth')
    return found


@pytest.fixture
def run(compare, monkeypatch, tmp_path):
    """Compare; gives the JSON report, and the tests that were run, in this process."""
    tested = []

    def run_here(command, **_):
        tested.append(command[2])
        assert command[0] == sys.executable
        with monkeypatch.context() as patch:
            patch.setattr(sys, 'argv', [str(word) for word in command[1:]])
            runpy.run_path(sys.argv[0], run_name='__main__')
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(compare, 'subprocess', SimpleNamespace(run=run_here))

    def make(models, benchmarks=dict(shapes=dict(metrics=['ov/base/AP50', 'zero_shot/all/top5'])), options=()):
        tested.clear()
        (tmp_path / 'compared.py').write_text(f'models = {models!r}\nbenchmarks = {benchmarks!r}\n')
        out = tmp_path / 'out'
        monkeypatch.setattr(
            sys,
            'argv',
            ['compare.py', str(tmp_path / 'compared.py'), '--out-dir', str(out), '--repeats', '2', *options],
        )
        compare.main()
        return json.loads((out / 'compare.json').read_text())['models'], list(tested)

    return make


def entries(trained):
    return [
        dict(name=name, checkpoint=each['checkpoint'], configs=dict(shapes=each['config']))
        for name, each in trained.items()
    ]


def test_compares_and_resumes(run, trained, tmp_path):
    models, tested = run(entries(trained))
    assert tested == [each['config'] for each in trained.values()] and set(models) == set(trained)
    for name, row in models.items():
        reported = json.loads((tmp_path / 'out' / name / 'shapes' / 'report' / 'metrics.json').read_text())
        assert row['metrics']['shapes'] == reported
        cost = row['cost']
        assert cost['image_size'] == [64, 64] and cost['embed_p95_ms'] >= cost['embed_ms'] > 0
        assert 2e6 < cost['parameters'] < 7e6 and cost['gflops'] > 0
    text = (tmp_path / 'out' / 'compare.md').read_text()
    lines = [line for line in text.splitlines() if line.startswith(('| yolo | 0', '| yolo | <'))]
    assert len(lines) == 1 and lines[0].endswith('| – |'), 'vanilla YOLO does not classify'
    assert (tmp_path / 'out' / 'compare.png').stat().st_size > 5000

    again, tested = run(entries(trained))
    assert again == models and tested == []
    (tmp_path / 'out' / 'yolo' / 'shapes' / 'source.json').write_text('{}')  # of another checkpoint
    again, tested = run(entries(trained))
    assert again == models and tested == [trained['yolo']['config']]


def test_a_report_is_taken_as_it_is(run, trained, tmp_path):
    (tmp_path / 'metrics.json').write_text('{"ov/base/AP50": 0.25, "teacher/zero_shot/all/top5": 1}')
    model = dict(entries(trained)[0], reports=dict(shapes=str(tmp_path / 'metrics.json')))
    models, tested = run([model], benchmarks=dict(shapes={}))
    assert tested == [] and models['student']['metrics']['shapes']['ov/base/AP50'] == 0.25
    text = (tmp_path / 'out' / 'compare.md').read_text()
    assert '| model | ov/base/AP50 |' in text and '| student | 0.250 |' in text


def test_a_failed_test_leaves_the_others(run, trained, compare, monkeypatch):
    monkeypatch.setattr(compare.subprocess, 'run', lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(SystemExit, match='student.*shapes.*yolo.*shapes'):
        run(entries(trained))


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(checkpoint='no/such.pth'), r'no/such\.pth'),
        (dict(configs=dict(coco='x.py')), "student.*'coco'.*shapes"),
        (dict(configs=dict(shapes='no/such.py')), r'no/such\.py'),
        (dict(configs={}), 'student.*configs'),
        (dict(weights='x'), 'student.*weights'),
        (dict(name='yolo'), r"name.*\['yolo', 'yolo'\]"),
        (dict(reports=dict(shapes='no.json')), r'reports\.shapes.*no\.json'),
        (dict(checkpoint='YOLO'), 'YOLO'),
    ],
)
def test_errors_come_first(run, trained, capsys, change, named, compare, monkeypatch):
    first, second = entries(trained)
    if change.get('checkpoint') == 'YOLO':
        change, named = dict(checkpoint=second['checkpoint']), re.escape(second['checkpoint'])
    monkeypatch.setattr(compare.subprocess, 'run', lambda command: pytest.fail('tested'))
    with pytest.raises(SystemExit) as caught:
        run([dict(first, **change), second])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert re.search(named, error), error
