"""``kdeov calibrate``: its weights detect at its threshold, and no novel annotation has a part in it."""

import json

import pytest
from safetensors import safe_open

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.cli import main
from kdeov_mm.utils.model_index import find_model

DEMO = find_model('kdeov_yolov8n')


def calibrate(world, output, *more):
    options = ['--data-root', str(world), '--cfg-options', 'shapes_world=None']
    assert main(['calibrate', 'kdeov_yolov8n', '-o', str(output), '--precision', '0.5', *options, *more]) == 0


def test_novel_annotations_have_no_part_in_it(world_copy, tmp_path):
    calibrate(world_copy, tmp_path / 'first.safetensors')
    path = world_copy / 'annotations' / 'instances_val.json'
    content = json.loads(path.read_text())
    base = {category['id'] for category in content['categories'] if category['group'] == 'base'}
    novel = [ann for ann in content['annotations'] if ann['category_id'] not in base]
    assert novel
    for ann in novel:
        ann.update(bbox=[1, 2, 30, 30], area=900, category_id=novel[0]['category_id'])
    for category in content['categories']:
        if category['id'] not in base:
            category['name'] = f'poison {category["id"]}'
    content['annotations'] = [ann for ann in content['annotations'] if ann not in novel] + [
        dict(ann) for ann in novel[1:] * 2
    ]
    for number, ann in enumerate(content['annotations'], 1):
        ann['id'] = number
    path.write_text(json.dumps(content))
    calibrate(world_copy, tmp_path / 'second.safetensors')
    for suffix in ('.safetensors', '.json', '.png'):
        first, second = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ('first', 'second'))
        assert first == second, suffix
    report = json.loads((tmp_path / 'first.json').read_text())
    assert report['after']['precision'] >= 0.5
    inferencer = KDEOVInferencer(DEMO.config, str(tmp_path / 'first.safetensors'), device='cpu')
    assert inferencer.threshold == pytest.approx(report['threshold'])
    with safe_open(str(tmp_path / 'first.safetensors'), 'pt') as file, safe_open(DEMO.weights, 'pt') as shipped:
        added = set(file.keys()) - set(shipped.keys())
        assert all(name.startswith('calibration.') for name in added)
        assert file.get_tensor('calibration.background').item() == pytest.approx(report['background'])


@pytest.mark.parametrize(
    'options, value',
    [
        (['-o', 'out.pth'], '.safetensors'),
        (['-o', 'out.safetensors', '--precision', '0'], '--precision'),
        (['-o', 'out.safetensors', '--precision', '1.5'], '--precision'),
    ],
)
def test_bad_options_are_refused(options, value, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['calibrate', 'kdeov_yolov8n', *options])
    assert stopped.value.code == 2 and value in capsys.readouterr().err
