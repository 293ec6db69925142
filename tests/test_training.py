"""Contracts of training: what may reach the student, determinism, resumption, checkpoints."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from mmyolo.registry import DATASETS
from safetensors.torch import load_file

from kdeov_mm.cli.train import build_runner
from kdeov_mm.models.clip import OnlineTargets
from tool_loading import load_tool

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
STAGE_1 = ('backbone.', 'fusion.', 'neck.', 'projector.')

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


def train(cfg):
    """Train in this process and return the runner."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def differing(first, second):
    """Names of the tensors in which two state dicts differ, by as little as a bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.fixture(scope='module')
def regions():
    """Numbers of regions that the teacher has been shown, step by step."""
    return []


@pytest.fixture(scope='module')
def trained(demo_config, regions):
    """The runner of a finished training."""
    ask = OnlineTargets.region_targets

    def counted(self, images, samples, boxes, class_embeddings):
        regions.append(sum(map(len, boxes)))
        return ask(self, images, samples, boxes, class_embeddings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineTargets, 'region_targets', counted)
        return train(demo_config())


@pytest.fixture(scope='module')
def weights(trained):
    """Its weights."""
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


@pytest.fixture(scope='module')
def checkpoint(trained):
    """Its last checkpoint, loaded by the safe loader."""
    return torch.load(Path(trained.work_dir, 'epoch_2.pth'), map_location='cpu', weights_only=True)


# ------------------------------------------------------------------------------------ what reaches the losses
def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def poison_others(instances):
    """Change all that is said of concepts outside base: names, labels, boxes, objects."""
    rng = random.Random(0)
    others = {category['id']: category for category in instances['categories'] if category['group'] != 'base'}
    for category in others.values():
        category.update(name=f'poison {category["id"]}', supercategory='poison', attributes={})

    def poison(image_id):
        w, h = rng.randint(5, 30), rng.randint(5, 30)
        return dict(
            image_id=image_id,
            category_id=rng.choice(list(others)),
            area=w * h,
            iscrowd=0,
            bbox=[rng.randint(0, 30), rng.randint(0, 30), w, h],
        )

    kept = []
    for annotation in instances['annotations']:
        if annotation['category_id'] not in others:
            kept.append(annotation)
        elif rng.random() < 0.7:
            kept.append(poison(annotation['image_id']))
    for image in instances['images']:
        kept.insert(rng.randint(0, len(kept)), poison(image['id']))
    instances['annotations'] = [{**annotation, 'id': number} for number, annotation in enumerate(kept, 1)]


def test_nothing_said_of_concepts_outside_base_reaches_the_weights(demo_config, world_copy, weights):
    annotations = world_copy / 'annotations'
    train_files = [annotations / 'instances_train.json', annotations / 'captions_train.json']
    for path in set(annotations.iterdir()) - set(train_files):
        path.write_text('poison')
    before = train_files[0].read_text()
    change_json(train_files[0], poison_others)
    groups = {category['id']: category['group'] for category in json.loads(before)['categories']}
    shown = {groups[annotation['category_id']] for annotation in json.loads(before)['annotations']}
    assert shown == {'base', 'recombined', 'novel'}
    assert differing(train(demo_config(world_copy)).model.state_dict(), weights) == []


def test_that_training_also_learns_from_unlabelled_regions(trained, regions):
    """Else the test above would say nothing of them."""
    dataset = trained.train_dataloader.dataset
    labelled = sum(len(dataset.get_data_info(index)['instances']) for index in range(len(dataset)))
    assert len(regions) == 2 * len(trained.train_dataloader) and sum(regions) > 2 * labelled


def test_no_caption_in_training_names_a_concept_outside_base(demo_config, tiny_world):
    dataset = DATASETS.build(demo_config().train_dataloader.dataset)
    captions = [text for index in range(len(dataset)) for text in dataset.get_data_info(index)['captions']]
    categories = json.loads((tiny_world / 'annotations/instances_train.json').read_text())['categories']
    others = [category['name'] for category in categories if category['group'] != 'base']

    def named(texts):
        return {name for name in others for text in texts if name in text}

    assert captions and named(captions) == set()
    everything = json.loads((tiny_world / 'annotations/captions_test_single.json').read_text())['annotations']
    assert named([record['caption'] for record in everything])


def base_annotation(instances):
    base = [category['id'] for category in instances['categories'] if category['group'] == 'base']
    return next(item for item in instances['annotations'] if item['category_id'] in base), base


def relabel(instances):
    annotation, base = base_annotation(instances)
    annotation['category_id'] = next(label for label in base if label != annotation['category_id'])


def move(instances):
    annotation, _ = base_annotation(instances)
    x, y, w, h = annotation['bbox']
    annotation['bbox'] = [x, y, w - 2, h]


def recaption(captions):
    texts = [record['caption'] for record in captions['annotations']]
    for record, text in zip(captions['annotations'], texts[1:] + texts[:1]):
        record['caption'] = text


@pytest.mark.parametrize('file, change', [('instances', relabel), ('instances', move), ('captions', recaption)])
def test_what_is_said_of_base_concepts_does(demo_config, world_copy, weights, file, change):
    change_json(world_copy / f'annotations/{file}_train.json', change)
    assert differing(train(demo_config(world_copy)).model.state_dict(), weights)


# ------------------------------------------------------------------------------------ determinism
def test_one_config_and_one_seed_give_one_set_of_weights(demo_config, weights):
    assert differing(train(demo_config()).model.state_dict(), weights) == []


def test_another_seed_gives_other_weights(demo_config, weights):
    cfg = demo_config()
    cfg.randomness.seed = 1
    assert differing(train(cfg).model.state_dict(), weights)


# ------------------------------------------------------------------------------------ checkpoints
def test_checkpoint_holds_the_student_alone(trained, weights, checkpoint, tiny_teacher):
    assert differing(checkpoint['state_dict'], weights) == []
    frozen = [value for value in load_file(tiny_teacher).values() if value.unique().numel() > 1]
    frozen += [trained.model.texts]
    assert len(trained.model.texts) > 100  # the vocabulary is set
    held = [
        name
        for name, value in checkpoint['state_dict'].items()
        if any(value.shape == other.shape and torch.equal(value, other.to(value)) for other in frozen)
    ]
    assert held == []
    assert not [name for name in checkpoint['state_dict'] if 'teacher' in name or 'texts' in name]


def test_the_optimizer_holds_the_student_alone(trained):
    (teacher,) = [hook.teacher for hook in trained.hooks if hasattr(hook, 'teacher')]
    held = {
        id(parameter): parameter
        for group in trained.optim_wrapper.param_groups
        for parameter in group['params']
        if isinstance(parameter, torch.nn.Parameter)
    }
    assert held.keys() == {id(parameter) for parameter in trained.model.parameters()}
    assert not any(id(p) in held or p.requires_grad or p.grad is not None for p in teacher.model.parameters())
    assert not any(module is teacher.model for module in trained.model.modules())


def test_stage_1_weights_are_those_of_stage_2(demo_config, weights):
    cfg = demo_config()
    cfg.model.bbox_head = None
    first = train(cfg)
    state = {name: value for name, value in first.model.state_dict().items() if name.startswith(STAGE_1)}
    assert {name.split('.')[0] + '.' for name in state} == set(STAGE_1)
    assert list(state) == [name for name in weights if name.startswith(STAGE_1)]
    cfg = demo_config()
    cfg.load_from = str(Path(first.work_dir, 'epoch_2.pth'))
    second = Runner.from_cfg(cfg)
    second.load_or_resume()
    assert differing({name: second.model.state_dict()[name] for name in state}, state) == []


def test_a_checkpoint_with_the_old_name_of_the_logit_scale_resumes(demo_config, checkpoint, weights, tmp_path):
    state = {name.replace('logit_scale', 'log_scale'): value for name, value in checkpoint['state_dict'].items()}
    assert state.keys() != checkpoint['state_dict'].keys()
    torch.save(dict(checkpoint, state_dict=state), tmp_path / 'old.pth')
    runner = build_runner(demo_config(epochs=3), str(tmp_path / 'old.pth'))
    runner.load_or_resume()
    assert differing(dict(runner.model.state_dict()), weights) == [] and runner.epoch == 2
    moments = runner.optim_wrapper.state_dict()['state']
    assert differing(moments[0], checkpoint['optimizer']['state'][0]) == []


# ------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize('first_hook, named', [(0, r'error: vocabulary\b.*\(288, 128\)'), (1, 'error: teacher')])
def test_a_teacher_of_another_dimension_stops_training_at_once(
    first_hook, named, demo_config, tmp_path, monkeypatch, capsys
):
    cfg = demo_config()
    cfg.custom_hooks = cfg.custom_hooks[first_hook:]
    cfg.model.embed_dims = 64
    cfg.dump(str(tmp_path / 'config.py'))
    tool = load_tool('train')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path / 'config.py')])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and re.match(named, error) and 'model.embed_dims' in error and '128' in error
    assert not list(Path(cfg.work_dir).glob('*.pth'))


# ------------------------------------------------------------------------------------ interruption
PAUSE = '''
"""Stops a training at the moment that $PAUSE_AT names, and says so in a file."""
import os
import time
from pathlib import Path

from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

AT = os.environ.get('PAUSE_AT', '')
put = LocalBackend.put


def pause():
    Path(os.environ['PAUSE_MARK']).touch()
    time.sleep(3600)


def put_half(self, content, path):
    if AT.startswith('save ') and Path(path).name.startswith(f'.{AT[5:]}.'):  # it is not yet renamed
        put(self, content[:len(content) // 2], path)
        pause()
    put(self, content, path)


LocalBackend.put = put_half


@HOOKS.register_module()
class PauseHook(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if AT == f'epoch {runner.epoch + 1} step {batch_idx + 1}':
            pause()
'''


@pytest.fixture
def tool(demo_config, tmp_path):
    """Runs tools/train.py for three epochs; ``at`` names the moment at which it is killed."""
    (tmp_path / 'pause.py').write_text(PAUSE)
    cfg = demo_config(epochs=3)
    cfg.custom_imports.imports.append('pause')
    cfg.custom_hooks.append(dict(type='PauseHook'))
    cfg.dump(str(tmp_path / 'config.py'))

    def run(work_dir, at=None):
        mark, log = tmp_path / f'paused {at}', tmp_path / 'log.txt'
        paths = os.pathsep.join([str(TOOLS.parent), str(tmp_path), os.environ.get('PYTHONPATH', '')])
        environment = dict(os.environ, PYTHONPATH=paths, PAUSE_MARK=str(mark), PAUSE_AT=at or '')
        command = [sys.executable, TOOLS / 'train.py', tmp_path / 'config.py', '--work-dir', work_dir, '--resume']
        with open(log, 'w') as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
            while process.poll() is None and not mark.exists():
                time.sleep(0.1)
            process.kill()
        assert process.returncode == (-signal.SIGKILL if at else 0), log.read_text()[-3000:]

    return run


@pytest.mark.slow
def test_a_training_killed_three_times_gives_the_weights_of_an_undisturbed_one(tool, tmp_path):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    tool(whole)
    tool(cut, 'epoch 1 step 2')
    assert not list(cut.glob('*.pth'))
    tool(cut, 'epoch 2 step 3')
    assert [path.name for path in cut.glob('*.pth')] == ['epoch_1.pth']
    saved = (cut / 'epoch_1.pth').stat().st_mtime_ns
    tool(cut, 'save epoch_2')
    assert (cut / 'epoch_1.pth').stat().st_mtime_ns == saved  # it went on from there
    assert list(cut.glob('.epoch_2.*.pth')) and not (cut / 'epoch_2.pth').exists()
    tool(cut)
    assert not list(cut.glob('.epoch_2.*.pth'))
    first, second = (
        torch.load(path / 'epoch_3.pth', map_location='cpu', weights_only=True)['state_dict'] for path in (whole, cut)
    )
    assert differing(first, second) == []
