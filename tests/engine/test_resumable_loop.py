"""ResumableTrainLoop: what is interrupted in the middle of an epoch goes on as if it had not been."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmyolo.registry import HOOKS

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


class Killed(Exception):
    """Stands for a kill."""


@HOOKS.register_module()
class WatchHook(Hook):
    """Notes each step's samples, and stops the training before one of them."""

    priority = 'LOWEST'
    stop_at = None
    seen: list = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.stop_at:
            raise Killed
        samples = data_batch['data_samples']
        self.seen.append((runner.epoch, batch_idx, [(sample.img_path, sample.flip) for sample in samples]))


@pytest.fixture(scope='module')
def make_config(demo_config):
    """The tiny demo, two epochs of four steps, in the resumable loop; each step and each epoch is saved."""

    def make(workers=0, **options):
        cfg = demo_config()
        cfg.train_cfg.type = 'ResumableTrainLoop'
        cfg.train_dataloader.num_workers = workers
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=1)
        cfg.custom_hooks[1].caption_choice = 'random'
        cfg.custom_hooks += [dict(type='WatchHook'), dict(type='CheckpointHook', interval=1)]
        cfg.merge_from_dict(options)
        return cfg

    return make


def mix(cfg):
    """Two sources by weight."""
    part = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(part, indices=list(range(20))), dict(part, indices=list(range(20, 32)))]
    )
    cfg.train_dataloader.sampler = dict(type='MixtureSampler', weights=(1, 3))
    return cfg


def train(cfg, stop_at=None, resume=None):
    """Train; the samples seen, step by step, and the weights at the end."""
    WatchHook.seen, WatchHook.stop_at = [], stop_at
    if resume:
        cfg.load_from, cfg.resume = str(resume), True
    runner = Runner.from_cfg(cfg)
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(Killed):
            runner.train()
    return WatchHook.seen, {name: value.clone() for name, value in runner.model.state_dict().items()}


def differing(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.fixture(scope='module')
def whole(make_config):
    """An undisturbed training: samples, weights and work dir."""
    init_default_scope('mmyolo')
    cfg = make_config()
    return (*train(cfg), Path(cfg.work_dir))


def test_a_training_killed_in_the_middle_of_an_epoch_gives_the_same_weights(make_config, whole):
    seen, weights, _ = whole
    assert [(epoch, index) for epoch, index, _ in seen] == [(epoch, index) for epoch in (0, 1) for index in range(4)]
    assert {flip for _, _, batch in seen for _, flip in batch} == {True, False}
    cut = make_config(workers=2)  # their number does not matter
    before, _ = train(cut, stop_at=3)
    after, found = train(make_config(), resume=Path(cut.work_dir, 'iter_3.pth'))
    assert before == seen[:3] and after == seen[3:]
    assert differing(found, weights) == []


@pytest.mark.parametrize(
    'name, start',
    [
        pytest.param('iter_4', 4, id='last step of an epoch'),
        pytest.param('epoch_1', 4, id='epoch', marks=pytest.mark.slow),
        pytest.param('iter_7', 7, id='last epoch', marks=pytest.mark.slow),
    ],
)
def test_any_checkpoint_will_do(make_config, whole, name, start):
    seen, weights, work_dir = whole
    after, found = train(make_config(), resume=work_dir / f'{name}.pth')
    assert after == seen[start:] and differing(found, weights) == []


@pytest.mark.slow
def test_mixed_sources_too(make_config):
    cfg = mix(make_config())
    seen, weights = train(cfg)
    after, found = train(mix(make_config()), resume=Path(cfg.work_dir, 'iter_6.pth'))
    assert after == seen[6:] and differing(found, weights) == []


def on_real_pairs(cfg, dataset, **dataloader):
    """Stage 1, distillation and alignment without a head."""
    pipeline = [
        dict(type='LoadImageReduced', min_size=64),
        dict(type='mmdet.Resize', scale=(64, 64)),
        dict(type='mmdet.RandomFlip', prob=0.5),
        dict(type='mmdet.PackDetInputs', meta_keys=('img_path', 'captions', 'flip')),
    ]
    cfg.model.bbox_head = cfg.model.loss_image.losses.similarity = None
    cfg.custom_hooks = cfg.custom_hooks[1:]  # no vocabulary
    cfg.train_dataloader = dict(cfg.train_dataloader, dataset=dict(dataset, pipeline=pipeline), **dataloader)
    return cfg


@pytest.mark.slow
def test_shards_of_real_pairs_too(make_config, write_shards, tmp_path):
    folder = write_shards(tmp_path / 'data', [13, 4, 20])

    def config():
        shards = dict(type='ImageTextShards', shards=f'{folder}/*.tar', captions='json:captions', batch_size=8)
        return on_real_pairs(make_config(workers=2), shards, sampler=None)

    cfg = config()
    seen, weights = train(cfg)
    assert len(seen) == 8 and len({path for _, _, batch in seen[:4] for path, _ in batch}) == 32
    after, found = train(config(), resume=Path(cfg.work_dir, 'iter_3.pth'))
    assert after == seen[3:] and differing(found, weights) == []


def test_a_broken_image_is_no_obstacle(make_config, pairs, coco_mini, tmp_path):
    for name in list(pairs)[:24]:
        (tmp_path / name).write_bytes((coco_mini / 'train2017' / name).read_bytes())
    broken = tmp_path / list(pairs)[5]
    broken.write_bytes(broken.read_bytes()[:5000])
    folder = dict(type='ImageTextDataset', format='folder', data_root=str(tmp_path))
    cfg = on_real_pairs(make_config(workers=2, **{'train_cfg.max_epochs': 1}), folder)
    seen, _ = train(cfg)
    assert len(seen) == 3 and str(broken) not in [path for _, _, batch in seen for path, _ in batch]
    source, image, reason = Path(cfg.work_dir, 'broken_images.tsv').read_text().strip().split('\t')
    assert (source.rstrip('/'), image) == (str(tmp_path), str(broken)) and 'truncated' in reason


@pytest.mark.parametrize(
    'options, field',
    [
        ({'randomness.seed': None}, 'randomness'),
        ({'train_dataloader.batch_sampler': dict(type='AspectRatioBatchSampler')}, 'batch_sampler'),
    ],
)
def test_refusals(make_config, options, field):
    with pytest.raises(ValueError, match=field):
        train(make_config(**options))


def test_a_checkpoint_of_epochs_of_another_length_is_refused(make_config, whole):
    with pytest.raises(ValueError, match=r'\b6\b.*\b2\b'):
        train(make_config(**{'train_dataloader.batch_size': 16}), resume=whole[2] / 'iter_6.pth')
