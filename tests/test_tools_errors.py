"""tools/train.py and tools/test.py: bad input gets one line and exit status 2; training resumes and stops."""

import errno
import json
import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader

from kdeov_mm.engine.hooks import FirstStepHook
from kdeov_mm.utils import load_config, resolve_checkpoint, user_errors
from kdeov_mm.utils.config import leaves
from tool_loading import load_tool

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
CONFIG = """
_base_ = 'mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py'
custom_imports = dict(imports=['kdeov_mm'])
data_root = 'data/coco/'
metainfo = dict(classes=('square',))
model = dict(bbox_head=dict(head_module=dict(num_classes=1)), train_cfg=dict(assigner=dict(num_classes=1)))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='mmdet.Resize', scale=(64, 64)), dict(type='mmdet.PackDetInputs')]
test_pipeline = [pipeline[0], pipeline[2], dict(type='LoadAnnotations', with_bbox=True, _scope_='mmdet'),
                 pipeline[3]]
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False, dataset=dict(
    metainfo=metainfo, pipeline=pipeline, ann_file='annotations/instances_train2017.json'))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False, dataset=dict(
    metainfo=metainfo, pipeline=test_pipeline, batch_shapes_cfg=None))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2, dynamic_intervals=None)
default_hooks = dict(param_scheduler=dict(max_epochs=2),
                     checkpoint=dict(interval=1, save_best=None, max_keep_ckpts=3))
custom_hooks = []
"""


def make_coco(root: Path, images: int = 4) -> None:
    """A COCO data set in the official layout: white squares on black, 64 px."""
    for split in ('train2017', 'val2017'):
        (root / split).mkdir(parents=True)
        coco = dict(images=[], annotations=[], categories=[dict(id=1, name='square')])
        for i in range(1, images + 1):
            image = np.zeros((64, 64, 3), np.uint8)
            image[10:40, 10 + i : 40 + i] = 255
            cv2.imwrite(str(root / split / f'{i}.jpg'), image)
            coco['images'].append(dict(id=i, file_name=f'{i}.jpg', width=64, height=64))
            coco['annotations'].append(
                dict(id=i, image_id=i, category_id=1, bbox=[10 + i, 10, 30, 30], area=900, iscrowd=0)
            )
        (root / 'annotations').mkdir(exist_ok=True)
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(coco))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with ``config.py`` and its data in ``coco``; the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    Path('config.py').write_text(CONFIG)
    make_coco(Path('coco'))
    return tmp_path


@pytest.fixture
def run(world, monkeypatch):
    """Run a tool in this process."""

    def run(tool, *args):
        module = load_tool(tool)
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, args)])
        module.main()

    return run


@pytest.fixture
def fail(run, capsys):
    """Run a tool, expect exit status 2, and return its one line of error."""

    def fail(*args):
        with pytest.raises(SystemExit) as stop:
            run(*args)
        assert stop.value.code == 2
        lines = capsys.readouterr().err.strip().splitlines()
        errors = [line for line in lines if line.startswith('error: ')]
        assert len(errors) == 1 and errors[0] == lines[-1]
        assert not list(Path('.').rglob('epoch_*.pth'))
        return errors[0]

    return fail


def test_missing_config(fail):
    assert re.search(r'confg\.py.*config\.py', fail('train', 'confg.py'))


def test_broken_config(fail):
    Path('bad.py').write_text('model = dict(')
    assert 'bad.py' in fail('train', 'bad.py')


@pytest.mark.parametrize(
    'option, named',
    [
        ('model.bakbone.depth=1', "model .*'bakbone'.* backbone"),
        ('train_cfg.max_epoch=1', "train_cfg .*'max_epoch'.* max_epochs"),
        ('modle.type=1', "'modle'.* model"),
        ('train_pipeline.99.type=a', r'train_pipeline\b.*\b99\b'),
        ('base_lr.x=1', r'base_lr .*0\.01'),
    ],
)
def test_unknown_option(fail, option, named):
    assert re.search(named, fail('train', 'config.py', '--data-root', 'coco', '--cfg-options', option))


@pytest.mark.parametrize(
    'option, value',
    [
        ('train_dataloader.batch_size', 7),
        ('model.backbone.frozen_stages', 1),
        ('randomness.seed', 3),
        ('train_dataloader.dataset.indices', 5),
        ('train_dataloader.prefetch_factor', 2),
        ('load_from', 'x.pth'),
        ('optim_wrapper.clip_grad.max_norm', 1.0),
        ('optim_wrapper.accumulative_counts', 2),
        ('param_scheduler', None),
        ('pipeline.0.to_float32', True),
    ],
)
def test_known_option(world, option, value):
    """Fields of the config, and arguments of the classes in it that the config leaves at their defaults."""
    node = load_config('config.py', {option: value})
    for part in option.split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    assert node == value


def test_variable_of_the_config(world):
    Path('variable.py').write_text("_base_ = './config.py'\nmax_epochs = 2\n")
    with pytest.warns(UserWarning, match=r'max_epochs\b.*train_cfg\.max_epochs'):
        load_config('variable.py', dict(max_epochs=1))


def test_data_root_reaches_every_field(world):
    Path('nested.py').write_text("""
data_root = 'data/coco/'
a = dict(dataset=dict(datasets=[dict(data_root=data_root), dict(ann_file='data/coco/annotations/x.json')]))
b = (dict(type='CocoMetric', ann_file=data_root + 'y.json'), ['data/coco'])
c = {'data/coco/train2017/': 'img'}
other = ['data/coco_mini/x', 'x/data/coco/', 'data/cocoa', 'data']
""")
    cfg = load_config('nested.py', data_root='/mnt/real')
    assert cfg.data_root == '/mnt/real/'
    assert cfg.a.dataset.datasets == [dict(data_root='/mnt/real/'), dict(ann_file='/mnt/real/annotations/x.json')]
    assert cfg.b[0].ann_file == '/mnt/real/y.json' and cfg.b[1] == ['/mnt/real']
    assert cfg.c == {'/mnt/real/train2017/': 'img'}
    assert cfg.other == ['data/coco_mini/x', 'x/data/coco/', 'data/cocoa', 'data']
    assert load_config('nested.py', dict(data_root='/mnt/real'))._cfg_dict == cfg._cfg_dict


def test_data_root_of_a_real_config(world):
    """No field of MMYOLO's own config keeps the old root, and an explicit option wins over --data-root."""
    cfg = load_config('config.py', {'val_dataloader.dataset.data_root': 'mine'}, 'coco')
    values = []
    for path in leaves(cfg._cfg_dict):
        node = cfg._cfg_dict
        for part in path.split('.'):
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
        values.append(node)
    assert not [value for value in values if isinstance(value, str) and value.startswith('data/coco')]
    assert cfg.train_dataloader.dataset.data_root == 'coco/'
    assert cfg.val_dataloader.dataset.data_root == 'mine'
    assert cfg.val_evaluator.ann_file == 'coco/annotations/instances_val2017.json'


def test_data_root_without_one_in_the_config(fail):
    Path('plain.py').write_text('model = dict(type="YOLODetector")')
    assert re.search(r'plain\.py.*data_root', fail('train', 'plain.py', '--data-root', 'coco'))


def test_missing_and_empty_data_root(fail):
    Path('empty').mkdir()
    assert 'data/coco/' in fail('train', 'config.py')
    assert 'folder empty/ is empty' in fail('train', 'config.py', '--data-root', 'empty')


def change_coco(change):
    path = Path('coco/annotations/instances_train2017.json')
    path.write_text(change(path.read_text()))


def without(field):
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != field})


@pytest.mark.parametrize(
    'change, named',
    [
        (lambda text: text[:-20], 'instances_train2017.json'),
        (lambda text: '[]', 'instances_train2017.json'),
        (without('images'), "'images'"),
        (without('annotations'), "'annotations'"),
        (without('categories'), "'categories'"),
        (lambda text: text.replace('1.jpg', 'absent.jpg'), 'absent.jpg'),
    ],
)
def test_bad_annotations(fail, change, named):
    change_coco(change)
    assert named in fail('train', 'config.py', '--data-root', 'coco')


def test_missing_annotations(fail):
    Path('coco/annotations/instances_train2017.json').unlink()
    assert 'instances_train2017.json' in fail('train', 'config.py', '--data-root', 'coco')


def test_bad_checkpoints(fail, world):
    Path('text.pth').write_text('not a checkpoint')
    torch.save(dict(epoch=1), 'no_weights.pth')
    torch.save(dict(state_dict=dict(x=torch.zeros(1000))), 'cut.pth')
    os.truncate('cut.pth', 2000)
    torch.save(dict(state_dict=dict(x=torch.zeros(2))), 'other.pth')
    Path('work').mkdir()
    for name in ('absent.pth', 'text.pth', 'cut.pth', 'no_weights.pth', 'work', 'other.pth'):
        assert re.search(rf'\b{name}\b', fail('test', 'config.py', name, '--data-root', 'coco'))
    for name in ('text.pth', 'other.pth'):
        assert name in fail('train', 'config.py', '--data-root', 'coco', '--resume', name)
    assert 'other.pth' in fail('train', 'config.py', '--data-root', 'coco', '--cfg-options', 'load_from=other.pth')


def test_amp_without_gpu(fail, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert '--amp fp16' in fail('train', 'config.py', '--data-root', 'coco', '--amp', 'fp16')


def test_a_full_disk_in_training_is_said_in_one_line(capsys):
    first = FirstStepHook()
    first.reached = True
    with pytest.raises(SystemExit) as stop, user_errors(until=first):
        raise OSError(errno.ENOSPC, 'epoch_2.pth could not be written')
    assert stop.value.code == 2 and capsys.readouterr().err.endswith('epoch_2.pth could not be written\n')
    with pytest.raises(OSError), user_errors(until=first):
        raise OSError(errno.EIO, 'another error keeps its traceback')


def test_errors_of_hooks_before_training(fail):
    """What a hook finds wrong before the first step is the user's; later errors keep their traceback."""
    Path('hooked.py').write_text("""
_base_ = './config.py'
custom_imports = dict(imports=['kdeov_mm', 'picky_hook'], allow_failed_imports=False)
custom_hooks = [dict(type='PickyHook')]
""")
    Path('picky_hook.py').write_text("""
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS
@HOOKS.register_module(force=True)
class PickyHook(Hook):
    def __init__(self, method='before_run'):
        setattr(self, method, self.refuse)
    def refuse(self, *args, **kwargs):
        raise ValueError('dimension 3\\nis not 4')
""")
    sys.path.insert(0, '.')
    try:
        assert fail('train', 'hooked.py', '--data-root', 'coco') == 'error: dimension 3 is not 4'
        with pytest.raises(ValueError, match='dimension 3'):
            fail('train', 'hooked.py', '--data-root', 'coco', '--cfg-options', 'custom_hooks.0.method=after_train_iter')
    finally:
        sys.path.remove('.')
        sys.modules.pop('picky_hook', None)


def test_train_resume_test(world, run, capfd):
    """A real run through the tools: a user's own MMYOLO config, cut while it saved, resumed, then tested."""
    options = ('config.py', '--data-root', 'coco', '--work-dir', 'work')
    train = ('train', *options, '--cfg-options', 'randomness.seed=0')
    first, last = Path('work/epoch_1.pth'), Path('work/epoch_2.pth')
    run(*train)
    assert Path(resolve_checkpoint('work')).resolve() == last.resolve()
    whole = CheckpointLoader.load_checkpoint(str(last), map_location='cpu')['state_dict']

    os.truncate(last, last.stat().st_size // 2)
    saved = first.stat().st_mtime_ns
    with pytest.warns(UserWarning, match=r'epoch_2\.pth'):
        run(*train, '--resume')
    assert first.stat().st_mtime_ns == saved  # epoch 1 was not trained again
    resumed = CheckpointLoader.load_checkpoint(str(last), map_location='cpu')['state_dict']
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)

    capfd.readouterr()
    run(*train, '--resume')
    assert 'epoch_2.pth' in capfd.readouterr().out

    run('test', 'config.py', 'work', *options[1:])
    assert 'coco/bbox_mAP: ' in ''.join(capfd.readouterr())


def test_a_test_needs_weights(run, capsys):
    with pytest.raises(SystemExit) as raised:
        run('test', 'config.py', '--data-root', 'coco')
    assert raised.value.code == 2
    assert re.search(r'checkpoint\b.*YOLODetector.*config\.py', capsys.readouterr().err)
