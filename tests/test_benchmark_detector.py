"""tools/benchmarks/detector.py: its stages are the detectors' own, it writes what it says, bad options are refused."""

import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

from kdeov_mm.models import TextBank
from mmdet.structures import DetDataSample
from tool_loading import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('benchmarks/detector')


@torch.no_grad()
@pytest.mark.parametrize(
    'config, stages, options',
    [
        ('kdeov_yolov8n.py', 'our_stages', {}),
        ('kdeov_yolov8n.py', 'our_stages', dict(closed=True)),
        ('baselines/yolo-world-n.py', 'yolo_stages', {}),
    ],
)
def test_the_stages_together_are_the_detectors_own_prediction(tool, mmyolo_scope, config, stages, options):
    cfg = Config.fromfile(tool.CONFIGS / config)
    if 'background' in cfg.model:
        cfg.model.update(lexicon=['d', 'e'], background=0.0)  # random regions are like no name
    if 'lexicon' in cfg.model and 'background' not in cfg.model:  # YOLO-World, which is timed with its vocabulary
        cfg.model.lexicon = None
    model = tool.build(cfg, torch.device('cpu'))
    texts, images = F.normalize(torch.randn(3, 128), dim=1), torch.rand(1, 3, 64, 64)
    meta = dict(ori_shape=(32, 32), img_shape=(64, 64), scale_factor=(2.0, 2.0))
    found = None
    for stage in getattr(tool, stages)(model, images, texts, meta, **options).values():
        found = stage(found)
    model.set_vocabulary(TextBank(['a', 'b', 'c'], texts), **options)
    expected = model.predict(images, [DetDataSample(metainfo=meta)])[0].pred_instances
    assert len(expected) > 0
    for key in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(found[key], expected[key])


def test_it_writes_what_it_measures(tool, tmp_path, capsys):
    tool.main(
        [
            '--image-size',
            '64',
            '--vocabulary-sizes',
            '80',
            '3',
            '--repeats',
            '2',
            '--device',
            'cpu',
            '--out-dir',
            str(tmp_path / 'out'),
        ]
    )
    result = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert [(row['model'], row['names']) for row in result['rows']] == [
        ('KDEOV-n', 3),
        ('KDEOV-n', 80),
        ('KDEOV-n, closed', 3),
        ('KDEOV-n, closed', 80),
        ('YOLO-World-n', 3),
        ('YOLO-World-n', 80),
        ('YOLOv8n', 80),
    ]
    assert result['threads'] == torch.get_num_threads() and result['image_size'] == 64
    priors = 8**2 + 4**2 + 2**2
    # the worst case: every prior with every name passes the threshold, ours keeps five names of each
    boxes = [row['boxes_to_nms'] for row in result['rows']]
    assert 0 < boxes[0] <= 3 * priors and 0 < boxes[1] <= 5 * priors  # with a lexicon, some scores are lower
    assert boxes[2:] == [
        3 * priors,
        5 * priors,
        3 * priors,
        80 * priors,
        80 * priors,
    ]
    for row in result['rows']:
        assert row['rounds'] == 2 and row['network'] > 0
        assert row['end_to_end'] >= max(row[stage] for stage in ('network', 'decode', 'post_processing'))
    assert set(result['ratios']) == {
        'KDEOV-n at 80 names / KDEOV-n, closed',
        'KDEOV-n at 80 names / network of YOLOv8n',
        'YOLO-World-n at 80 names / KDEOV-n',
    }
    assert Image.open(tmp_path / 'out' / 'benchmark.png').size[0] > 500
    printed = capsys.readouterr().out
    assert (
        printed.count('| KDEOV-n |') == printed.count('| KDEOV-n, closed |') == 2
        and str(tmp_path / 'out' / 'benchmark.json') in printed
    )


def test_ratios_compare_what_was_measured_in_one_round(tool):
    def rounds(*ends):
        return [dict(network=end / 2, decode=end / 4, post_processing=end / 4) for end in ends]

    measured = {
        ('KDEOV-n', 80): rounds(1, 2, 10),
        ('KDEOV-n', 1203): rounds(2, 2, 15),
        ('KDEOV-n, closed', 80): rounds(1, 4, 4),
        ('YOLO-World-n', 1203): rounds(20, 16),
        ('YOLOv8n', 80): rounds(1, 4, 40),
    }
    assert tool.ratios(measured) == {
        'KDEOV-n at 80 names / KDEOV-n, closed': 1.0,
        'KDEOV-n at 1203 names / KDEOV-n at 80': 1.5,
        'KDEOV-n at 80 names / network of YOLOv8n': 1.0,
        'YOLO-World-n at 1203 names / KDEOV-n': 9.0,
    }


def test_rivals_can_be_left_out(tool, tmp_path):
    tool.main(
        [
            '--image-size',
            '32',
            '--vocabulary-sizes',
            '1',
            '--repeats',
            '1',
            '--device',
            'cpu',
            '--skip-rivals',
            '--out-dir',
            str(tmp_path),
        ]
    )
    result = json.loads((tmp_path / 'benchmark.json').read_text())
    assert [row['model'] for row in result['rows']] == ['KDEOV-n', 'KDEOV-n, closed'] and result['ratios'] == {}


@pytest.mark.parametrize(
    'options, named',
    [
        (['--image-size', '100'], '--image-size 100'),
        (['--image-size', '0'], '--image-size 0'),
        (['--vocabulary-sizes', '80', '0'], '--vocabulary-sizes 0'),
        (['--repeats', '0'], '--repeats 0'),
        (['--threads', '-1'], '--threads -1'),
        (['--device', 'abacus'], '--device abacus'),
        (['--device', 'cuda:99'], '--device cuda:99'),
    ],
)
def test_bad_options_are_refused_before_any_work(tool, tmp_path, capsys, options, named):
    with pytest.raises(SystemExit) as stop:
        tool.main([*options, '--out-dir', str(tmp_path / 'out')])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and named in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()
