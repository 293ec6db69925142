import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import kdeov_mm.engine  # noqa: F401
from kdeov_mm.engine.hooks.report_hook import ReportHook
from kdeov_mm.evaluation import pictures
from kdeov_mm.evaluation.report import make_rows, read_losses, show, write_report

METRICS = {
    'zero_shot/all/top1': 0.9,
    'zero_shot/all/top5': 0.99,
    'zero_shot/novel/top1': 0.6,
    'zero_shot/novel/top5': 0.8,
    'teacher/zero_shot/all/top1': 1.0,
    'teacher/zero_shot/novel/top1': 0.8,
    'chance/zero_shot/all/top1': 0.0001,
    'chance/zero_shot/novel/top1': 0.002,
}
DETECTION = {'ov/all/AP': 0.4, 'ov/all/AP50': 0.7, 'ov/novel/AP': 0.2, 'ov/novel/AP50': 0.3, 'chance/ov/all/AP50': 0.0}


def log(work_dir, run, steps, loss=lambda step: 1 / step, tail=''):
    path = work_dir / run / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    lines = [json.dumps(dict(lr=0.1, loss=loss(step), loss_cls=0.5, epoch=1, iter=step, step=step)) for step in steps]
    lines.insert(1, json.dumps({'ov/all/AP50': 0.1, 'step': 1}))
    path.write_text('\n'.join(lines) + '\n' + tail)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    return str(path)


class Drawer:
    def draw(self, out_dir):
        (out_dir / 'extra.csv').write_text('a,b\n')
        return [out_dir / 'extra.csv']


def test_report_of_several_parts(tmp_path, capsys):
    work_dir = tmp_path / 'my_config'
    log(work_dir, '20250101_000000', [10, 20])
    parts = [(METRICS, [Drawer()]), (DETECTION, [object()])]
    runner = SimpleNamespace(work_dir=str(work_dir), logger=logging.getLogger('report'), test_loop=SimpleNamespace())
    hook = ReportHook()
    hook.before_run(runner)
    for metrics, metric_objects in parts:
        runner.test_loop.evaluator = SimpleNamespace(metrics=metric_objects)
        hook.after_test_epoch(runner, metrics)
    hook.after_run(runner)
    out_dir = work_dir / 'report'
    assert json.loads((out_dir / 'metrics.json').read_text()) == {**METRICS, **DETECTION}
    assert sorted(path.name for path in out_dir.iterdir()) == [
        'extra.csv',
        'groups.png',
        'losses.png',
        'metrics.json',
        'report.md',
    ]
    text = (out_dir / 'report.md').read_text()
    assert '| Zero-shot classification | novel | top-1 | 0.600 | 0.800 | 0.750 | 0.002 |' in text
    assert '| Zero-shot classification | all | top-1 | 0.900 | 1.000 | 0.900 | <0.001 |' in text
    assert '| Open-vocabulary detection | novel | AP50 | 0.300 | – | – | – |' in text
    assert '(groups.png)' in text and '(losses.png)' in text and '(extra.csv)' in text
    printed = capsys.readouterr().out
    assert (
        'Results of my_config' in printed
        and '0.750' in printed
        and printed.index('Zero-shot') < printed.index('Open-voc')
    )


def test_nothing_is_written_after_training(tmp_path):
    runner = SimpleNamespace(work_dir=str(tmp_path / 'work'))
    hook = ReportHook()
    hook.before_run(runner)
    hook.after_run(runner)
    assert not (tmp_path / 'work').exists()


def test_a_failing_picture_keeps_the_numbers_and_old_files_whole(tmp_path):
    class Broken:
        def draw(self, out_dir):
            return [
                pictures.retrieval_grid(
                    [dict(query='q', answers=[dict(img_path='gone.jpg', score=1, hit=True)])],
                    out_dir / 'retrieval_grid.png',
                )
            ]

    out_dir = tmp_path / 'report'
    write_report(METRICS, out_dir, 'old')
    with pytest.raises(FileNotFoundError, match='gone.jpg'):
        write_report(DETECTION, out_dir, 'new', [Broken()])
    assert json.loads((out_dir / 'metrics.json').read_text()) == DETECTION
    assert 'Results of old' in (out_dir / 'report.md').read_text()
    assert sorted(path.name for path in out_dir.iterdir()) == ['groups.png', 'metrics.json', 'report.md']


def test_losses_of_a_resumed_run_merge_by_step(tmp_path):
    log(
        tmp_path, '20250101_000000', [10, 20, 30, 40], lambda step: 1.0, tail='{"loss": 0.1, "st'
    )  # killed while writing
    log(tmp_path, '20250102_000000', [30, 40, 50], lambda step: 2.0)  # resumed from step 20
    test_run = tmp_path / '20250103_000000/vis_data/scalars.json'
    test_run.parent.mkdir(parents=True)
    test_run.write_text('{"ov/all/AP": 0.5, "step": 0}\n')
    assert read_losses(tmp_path) == {
        'loss': {10: 1, 20: 1, 30: 2, 40: 2, 50: 2},
        'loss_cls': dict.fromkeys((10, 20, 30, 40, 50), 0.5),
    }
    log(tmp_path, '20250104_000000', [10, 20], lambda step: 3.0)  # began again
    assert read_losses(tmp_path)['loss'] == {10: 3, 20: 3}
    assert read_losses(tmp_path / 'nothing') == {}


def test_rows():
    rows = make_rows(
        {
            **METRICS,
            **DETECTION,
            'coco/mAP': np.float32(0.5),
            'coco/copypaste': '0.5 0.4',
            'chance/lost/all/x': 1.0,
            'retrieval/t2i/R@1': 0.1,
            'retrieval/t2i/R@5': 0.2,
            'retrieval/i2t/R@1': 0.1,
            'retrieval/i2t/R@5': 0.2,
        }
    )
    assert [f'{row.task} {row.metric} {row.group}' for row in rows] == [
        'zero_shot top1 all',
        'zero_shot top1 novel',
        'zero_shot top5 all',
        'zero_shot top5 novel',
        'retrieval R@1 t2i',
        'retrieval R@5 t2i',
        'retrieval R@1 i2t',
        'retrieval R@5 i2t',
        'ov AP all',
        'ov AP novel',
        'ov AP50 all',
        'ov AP50 novel',
        'coco mAP ',
    ]
    assert rows[0].ratio == 0.9 and rows[2].ratio is None
    assert [show(value) for value in (None, 0.0, 0.0001, 0.1234, 1.0)] == ['–', '0.000', '<0.001', '0.123', '1.000']


def test_pictures_can_be_drawn(tmp_path, image):
    found = [dict(bbox=[5, 5, 30, 30], name='dotted red star', group='novel', score=0.9)]
    paths = [
        pictures.detections(
            [
                dict(img_path=image, truth=[dict(bbox=[4, 6, 30, 30], name='a')], found=found),
                dict(img_path=image, truth=[], found=[]),
            ],
            ['base', 'novel'],
            'title',
            tmp_path / 'd.png',
        ),
        pictures.retrieval_grid(
            [
                dict(
                    query='a $strange_ query' * 20,
                    answers=[dict(img_path=image, score=0.5, hit=hit) for hit in (False, True)],
                )
            ],
            tmp_path / 'r.png',
        ),
        pictures.confusion_matrix(np.array([[3, 1], [0, 0]]), ['star', 'ring'], tmp_path / 'c.png'),
        pictures.curves({'loss': {1: 2.0}}, tmp_path / 'l.png'),
        pictures.bars({'title': {'all': dict(student=0.5)}}, tmp_path / 'b.png'),
    ]
    for path in paths:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert('L')).std() > 5
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith('.')]


def test_the_report_lists_classes_unless_they_are_many(tmp_path):
    class Classes:
        number = 2

        def draw(self, out_dir):
            path = out_dir / 'ov_per_class.csv'
            rows = ''.join(f'name {i},novel,0.250000,\n' for i in range(self.number))
            path.write_text(f'class,group,AP,AP50\n{rows}')
            return [path]

    text = write_report(DETECTION, tmp_path, 'x', [Classes()]).read_text()
    assert text.endswith(
        '(ov_per_class.csv)\n\n| class | group | AP | AP50 |\n| --- | --- | ---: | ---: |\n'
        '| name 0 | novel | 0.250 | – |\n| name 1 | novel | 0.250 | – |\n'
    )
    Classes.number = 201
    assert write_report(DETECTION, tmp_path, 'x', [Classes()]).read_text().endswith('(ov_per_class.csv)\n')


def test_lvis_by_protocol(tmp_path):
    metrics = {'ov_lvis/standard/AP': 0.2, 'ov_lvis/standard/APr': 0.1, 'ov_lvis/fixed/AP': 0.25}
    text = write_report(metrics, tmp_path, 'x').read_text()
    for row in ('standard | AP | 0.200', 'standard | APr | 0.100', 'fixed | AP | 0.250'):
        assert f'| Open-vocabulary detection, LVIS | {row} |' in text
    assert (tmp_path / 'groups.png').is_file()
