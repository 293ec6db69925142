"""Training from stored embeddings: the very views, the very losses, no teacher."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmyolo.registry import DATASETS, HOOKS, MODELS

from kdeov_mm.datasets import TeacherStore, TeacherStoreWriter
from kdeov_mm.models.clip import load_open_clip
from kdeov_mm.utils import InputError
from kdeov_mm.utils.seeds import seed_sample
from forked import processes
from tool_loading import run_tool

pytestmark = pytest.mark.usefixtures('mmyolo_scope')
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SHARD, VIEWS = 12, 3  # 32 images: three shards


@HOOKS.register_module()
class NoteLosses(Hook):
    """Notes each step's losses."""

    def before_train(self, runner):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append(
            {name: float(torch.as_tensor(value).detach()) for name, value in outputs.items() if 'loss' in name}
        )


def command(config, store, *options):
    return [
        sys.executable,
        'tools/dataset_converters/cache_teacher.py',
        config,
        store,
        '--shard-size',
        str(SHARD),
        '--batch-size',
        '5',
        '--device',
        'cpu',
        *options,
    ]


def run(*arguments):
    """Run that command in this process."""
    run_tool('cache_teacher', *command(*arguments)[2:])


def run_apart(log, *arguments):
    """Run that command in another process, whose stderr is a file."""
    sys.stderr = open(log, 'w')
    run(*arguments)


def content(store):
    return {str(path.relative_to(store)): path.read_bytes() for path in Path(store).rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def online(demo_config):
    """The tiny demo's stage 1, flips and photometric changes at random."""
    cfg = demo_config(config=CONFIGS / 'kdeov_yolov8n_pretrain.py')
    cfg.train_cfg.type = 'ResumableTrainLoop'
    cfg.train_dataloader.num_workers = 0
    cfg.train_dataloader.dataset.pipeline.insert(-1, dict(type='mmdet.PhotoMetricDistortion'))
    cfg.custom_hooks.append(dict(type='NoteLosses'))
    # steps so small that both trainings compare the same weights; larger ones magnify any rounding
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-6))
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    return cfg


@pytest.fixture(scope='module')
def stored(online, tmp_path_factory):
    """The config's file, and the store of three views that the tool writes for it."""
    folder = tmp_path_factory.mktemp('teacher')
    online.dump(folder / 'config.py')
    run(folder / 'config.py', folder / 'store', '--views', str(VIEWS))
    return folder / 'config.py', folder / 'store'


@pytest.fixture
def from_store(online):
    """Makes the config that trains from a store."""

    def make(store, **options):
        cfg = copy.deepcopy(online)
        hook = next(hook for hook in cfg.custom_hooks if hook.type == 'CLIPDistillationHook')
        cfg.train_dataloader.dataset = dict(
            type='CachedTeacherDataset',
            dataset=cfg.train_dataloader.dataset,
            store=str(store),
            teacher=MODELS.build(cfg.model.text_encoder).teacher,
            text_encoder=cfg.model.text_encoder,
            **options,
        )
        hook.train = False
        cfg.experiment_name += f'_{time.monotonic_ns()}'
        return cfg

    return make


def test_rows_are_the_teachers_embeddings_of_seeded_views_and_captions(online, stored):
    images, captions = TeacherStore(stored[1] / 'images'), TeacherStore(stored[1] / 'captions')
    dataset = DATASETS.build(online.train_dataloader.dataset)
    encoder = MODELS.build(online.model.text_encoder)
    teacher = MODELS.build(encoder.teacher)
    embeddings, seeds = images.column('embedding'), images.column('seed')
    assert embeddings.shape == (32, VIEWS, 128) and embeddings.dtype == torch.float16
    assert len(set(seeds.flatten().tolist())) == 32 * VIEWS
    said = 0
    for index in range(32):
        texts = dataset.get_data_info(index)['captions']
        assert images.column('first_caption')[index] == said
        if texts:
            found = captions.rows(range(said, said + len(texts)))['embedding'].float()
            torch.testing.assert_close(found, encoder.encode_text(texts), atol=1e-3, rtol=0)
        said += len(texts)
    assert said == len(captions) > 0
    for index in (0, 13, 31):
        views = []
        for view in range(VIEWS):
            assert seeds[index, view] == int(np.random.SeedSequence((0, index, view)).generate_state(1)[0])
            seed_sample(int(seeds[index, view]))
            views.append(dataset.prepare_data(index)['inputs'].flip(0).float() / 255)
        torch.testing.assert_close(embeddings[index].float(), teacher.encode_image(views), atol=1e-3, rtol=0)
        assert not torch.equal(views[0], views[1])


def test_a_sample_is_the_view_that_its_embedding_is_of(online, stored, from_store):
    dataset = DATASETS.build(from_store(stored[1]).train_dataloader.dataset)
    assert len(dataset) == 32 and dataset.metainfo['classes'] and not dataset.test_mode
    encoder = MODELS.build(online.model.text_encoder)
    teacher = MODELS.build(encoder.teacher)
    drawn = set()
    for epoch in range(4):
        for index in (0, 5, 20):
            seed_sample(0, epoch, index)
            packed = dataset[index]
            after = np.random.random()
            sample = packed['data_samples']
            seen = teacher.encode_image(packed['inputs'][None].flip(1).float() / 255)[0]
            torch.testing.assert_close(sample.teacher_embedding, seen, atol=1e-3, rtol=0)
            assert sample.teacher_embedding.norm() == pytest.approx(1, abs=1e-6)
            assert ('caption_embedding' in sample) == bool(sample.captions)
            if sample.captions:
                distances = (encoder.encode_text(sample.captions) - sample.caption_embedding).norm(dim=-1)
                assert distances.min() < 2e-3
            drawn.add((index, sample.teacher_embedding[0].item()))
            seed_sample(0, epoch, index)
            again = dataset[index]
            assert torch.equal(again['inputs'], packed['inputs']) and after == np.random.random()
    assert len({value for index, value in drawn if index == 0}) > 1  # not always one view


def losses(cfg):
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name += f'_{time.monotonic_ns()}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    return next(hook for hook in runner.hooks if isinstance(hook, NoteLosses)).steps, runner


def assert_close(found, expected, steps):
    """Equal up to the rounding of the stored embeddings to float16, at every step."""
    assert len(found) == len(expected) == steps
    for step, (one, other) in enumerate(zip(found, expected)):
        assert one.keys() == other.keys() and {'loss_distill', 'loss_similarity', 'loss_align', 'loss'} <= set(one)
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=2**-10, abs=1e-5), (step, name)


def test_training_without_randomness_has_the_losses_of_training_online(online, from_store, tmp_path, monkeypatch):
    """Against a training that knows nothing of the store; every image is flipped and nothing else."""
    online = copy.deepcopy(online)
    online.train_cfg.max_epochs = 1
    pipeline = online.train_dataloader.dataset.pipeline
    del pipeline[-2]
    pipeline[-2].prob = 1.0
    world = tmp_path / 'world'
    shutil.copytree(online.data_root, world)
    path = world / 'annotations/captions_train.json'
    captions = json.loads(path.read_text())
    captions['annotations'] = list({item['image_id']: item for item in captions['annotations']}.values())
    path.write_text(json.dumps(captions))  # one each: of several the two ways draw differently
    online.train_dataloader.dataset.data_root = f'{world}/'
    online.dump(tmp_path / 'config.py')
    run(tmp_path / 'config.py', tmp_path / 'store', '--views', '1')
    expected, _ = losses(online)

    cfg = copy.deepcopy(from_store(tmp_path / 'store'))
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.dataset.dataset = online.train_dataloader.dataset
    monkeypatch.setattr('kdeov_mm.models.clip.teacher.load_open_clip', None)  # no teacher is loaded
    found, _ = losses(cfg)
    assert_close(found, expected, 4)


def test_training_on_replayed_views_has_the_losses_of_the_teacher_online(stored, from_store, monkeypatch):
    """With all the randomness: the hook embeds again what the store has brought already."""
    cfg = from_store(stored[1])
    found, _ = losses(cfg)
    hook = next(hook for hook in cfg.custom_hooks if hook.type == 'CLIPDistillationHook')
    hook.update(train=True, regions=False)
    captions = 'kdeov_mm.engine.hooks.clip_distillation_hook.caption_embedder'
    monkeypatch.setattr(captions, lambda model, dataset: None)  # those that the store draws
    expected, _ = losses(cfg)
    assert_close(found, expected, 8)


def test_one_canonical_view_leaves_the_augmentation_free(online, stored, from_store, tmp_path):
    run(stored[0], tmp_path)
    store = TeacherStore(tmp_path / 'images')
    assert store.column('embedding').shape == (32, 1, 128) and 'seed' not in store.shards[0]
    cfg = from_store(tmp_path)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    teacher = MODELS.build(MODELS.build(online.model.text_encoder).teacher)
    samples = [dataset[3] for _ in range(6)]
    assert len({sample['inputs'].sum().item() for sample in samples}) > 1
    plain = cv2.cvtColor(cv2.imread(samples[0]['data_samples'].img_path), cv2.COLOR_BGR2RGB)
    expected = teacher.encode_image(torch.from_numpy(plain).permute(2, 0, 1)[None].float() / 255)[0]
    for sample in samples:
        torch.testing.assert_close(sample['data_samples'].teacher_embedding, expected, atol=1e-3, rtol=0)


def test_a_broken_image_takes_no_other_images_embedding(online, from_store, world_copy, tmp_path):
    cfg = copy.deepcopy(online)
    images = sorted((world_copy / 'train').iterdir())
    cfg.train_dataloader.dataset.data_root = f'{world_copy}/'
    cfg.dump(tmp_path / 'config.py')
    run(tmp_path / 'config.py', tmp_path / 'store', '--views', '1')
    cached = from_store(tmp_path / 'store')
    cached.train_dataloader.dataset.dataset = cfg.train_dataloader.dataset
    dataset = DATASETS.build(cached.train_dataloader.dataset)
    images[4].write_bytes(b'broken')  # after the start
    numbers = [Path(dataset.get_data_info(index)['img_path']) for index in range(32)]
    index = numbers.index(images[4])
    packed = dataset[index]
    assert packed['data_samples'].img_path == str(numbers[index + 1])
    seen = MODELS.build(MODELS.build(online.model.text_encoder).teacher).encode_image(
        packed['inputs'][None].flip(1).float() / 255
    )[0]
    torch.testing.assert_close(packed['data_samples'].teacher_embedding, seen, atol=1e-3, rtol=0)


# ------------------------------------------------------------------------------------------ the store as a file
@pytest.mark.slow
def test_written_twice_killed_or_shared_it_has_the_same_bytes(stored, tmp_path):
    config, store = stored
    expected = content(store)
    port = str(29500 + os.getpid() % 1000)
    shared = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--nproc_per_node=2',
        f'--master_port={port}',
        *map(str, command(config, tmp_path / 'two', '--views', str(VIEWS))[1:]),
        '--launcher',
        'pytorch',
    ]
    done = subprocess.run(shared, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert content(tmp_path / 'two') == expected

    process = subprocess.Popen(command(config, tmp_path / 'killed', '--views', str(VIEWS)), stderr=subprocess.PIPE)
    first = tmp_path / 'killed' / 'images' / 'shard-00000.safetensors'
    while process.poll() is None and not first.is_file():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    written = {path.name: path.stat().st_mtime_ns for path in first.parent.glob('shard-*')}
    assert written and not (tmp_path / 'killed' / 'captions' / 'index.json').exists()
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / 'killed' / 'images'))):
        TeacherStore(tmp_path / 'killed' / 'images')
    run(config, tmp_path / 'killed', '--views', str(VIEWS))
    assert {path.name: path.stat().st_mtime_ns for path in first.parent.glob('shard-*')}.items() >= written.items()
    for name, data in expected.items():  # a killed writer may leave a temporary file beside them
        assert (tmp_path / 'killed' / name).read_bytes() == data


def test_the_second_of_two_writers_is_refused_and_the_first_goes_on(stored, tmp_path):
    """Two processes; the first is stopped while it has the lock."""
    config, store = stored
    arguments = config, tmp_path / 'both', '--views', str(VIEWS)
    first, second = (
        processes.Process(target=run_apart, args=(tmp_path / name, *arguments)) for name in ('first.log', 'second.log')
    )
    first.start()
    try:
        while first.is_alive() and not (tmp_path / 'both' / 'images' / 'shard-00000.safetensors').is_file():
            time.sleep(0.001)
        os.kill(first.pid, signal.SIGSTOP)
        before = content(tmp_path / 'both')
        second.start()
        second.join()
        assert second.exitcode == 2 and str(first.pid) in (tmp_path / 'second.log').read_text().splitlines()[-1]
        for folder in ('both', 'both/images'):
            with pytest.raises(InputError):
                TeacherStoreWriter(tmp_path / folder, {}, 1)
        assert content(tmp_path / 'both') == before
    finally:
        os.kill(first.pid, signal.SIGCONT)
        first.join()
    assert first.exitcode == 0
    assert content(tmp_path / 'both') == content(store)


@pytest.mark.parametrize('options', [['--views', '2'], ['--views', str(VIEWS), '--seed', '1']], ids=str)
def test_another_store_in_the_same_folder_is_refused(stored, options, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*stored, *options)
    named = {'--views': 'views', '--seed': 'seed'}[options[-2]]
    last = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and named in last and str(stored[1]) in last


@pytest.mark.parametrize(
    'change, field',
    [
        (lambda cfg: cfg.teacher.update(pretrained='shapes'), 'teacher'),
        (lambda cfg: cfg.teacher.update(dtype='bf16'), 'teacher'),
        (lambda cfg: cfg.teacher.update(preprocess=dict(resize_mode='squash')), 'teacher'),
        (lambda cfg: cfg.text_encoder.update(pretrained='shapes'), 'text_encoder'),
        (lambda cfg: cfg.dataset.pipeline[-3].update(prob=0.1), 'pipeline'),
        (lambda cfg: cfg.dataset.update(indices=20), r'num_images\b.*\b32\b.*20'),
        (
            lambda cfg: cfg.dataset.update(
                ann_file='annotations/instances_test.json',
                caption_file='annotations/captions_test.json',
                data_prefix=dict(img='test/'),
            ),
            'annotations',
        ),
        (lambda cfg: cfg.dataset.update(groups=None), 'images'),
        (lambda cfg: cfg.update(store=cfg.store + '/nothing'), 'nothing'),
    ],
    ids=range(9),
)
def test_a_store_of_something_else_is_refused(stored, from_store, change, field):
    cfg = copy.deepcopy(from_store(stored[1]).train_dataloader.dataset)
    change(cfg)
    with pytest.raises((ValueError, FileNotFoundError), match=rf'\b{field}\b'):
        DATASETS.build(cfg)


@pytest.mark.slow
def test_the_cached_config_trains_and_tests_with_the_teacher(demo_config, tmp_path):
    init_default_scope('mmyolo')
    cfg = demo_config(config=CONFIGS / 'kdeov_yolov8n_pretrain_cached.py')
    cfg.train_dataloader.dataset.store = str(tmp_path / 'store')
    cfg.dump(tmp_path / 'config.py')
    run(tmp_path / 'config.py', tmp_path / 'store', '--views', '2')
    load_open_clip.cache_clear()
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert 'teacher/zero_shot/all/top1' in runner.test()
