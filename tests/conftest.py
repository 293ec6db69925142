"""A world, a teacher and a training so small that tests can afford several of them."""

import fcntl
import json
import os
import resource
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from mmengine.registry import init_default_scope
from safetensors.torch import save_file

import kdeov_mm  # noqa: F401
import forked  # noqa: F401
from config_nodes import dicts, leave_config_text
from kdeov_mm.datasets import ensure_world
from kdeov_mm.utils import load_config

pytest_plugins = [
    'browser_fixtures',
    'classification_fixtures',
    'hostile_image_fixtures',
    'hugging_face_fixtures',
    'image_text_fixtures',
    'inference_fixtures',
    'packaging_fixtures',
]

DEMO = Path(__file__).resolve().parents[1] / 'configs' / 'kdeov_yolov8n.py'
WORLD = dict(image_size=64, sizes=dict(teacher=8, train=32, val=8, test=16, test_single=16))


@pytest.fixture(scope='session', autouse=True)
def text_bank_cache(tmp_path_factory):
    """Tests neither read nor fill the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('KDEOV_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs():
    """MMEngine lays out a config's text at each start and checkpoint, two thirds of a tiny training's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', leave_config_text)
        yield


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory):
    """Makes a folder once for all processes of a run.

    ``shared_folder(name, fill)`` calls ``fill(folder)`` in the process that comes first, and the others wait for it.
    Tests do not change such a folder.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root

    def shared_folder(name, fill):
        folder, done = root / f'shared_{name}', root / f'shared_{name}.done'
        with open(root / f'shared_{name}.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return shared_folder


@pytest.fixture
def bounded_memory():
    """Let this process map 4 GiB more memory than now, so that a hostile file fails the test, not the machine."""
    pages = Path('/proc/self/statm')
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if pages.exists():
        limit = int(pages.read_text().split()[0]) * resource.getpagesize() + 4 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def mmyolo_scope():
    """Lets configs name MMYOLO's classes without a runner."""
    init_default_scope('mmyolo')


@pytest.fixture(scope='session')
def tiny_world(shared_folder):
    """The folder of a shapes dataset of a few dozen images; copy it to change it."""
    return shared_folder('tiny_world', lambda folder: ensure_world(folder / 'shapes', **WORLD)) / 'shapes'


@pytest.fixture
def world_copy(tiny_world, tmp_path):
    """A copy of the tiny world that a test may change."""
    return Path(shutil.copytree(tiny_world, tmp_path / 'world'))


@pytest.fixture(scope='session')
def demo_world(shared_folder):
    """Makes the named splits of the demo's own world, and returns its folder."""
    root = shared_folder('demo_world', lambda folder: None) / 'shapes'

    def make(*splits):
        ensure_world(root, splits=splits)
        return root

    return make


@pytest.fixture(scope='session')
def tiny_teacher(shared_folder):
    """A weights file of the shapes dataset's architecture, with random weights."""

    def fill(folder):
        torch.manual_seed(0)
        save_file(open_clip.create_model('kdeov-shapes').state_dict(), folder / 'teacher.safetensors')

    return str(shared_folder('tiny_teacher', fill) / 'teacher.safetensors')


@pytest.fixture(scope='session')
def demo_config(tiny_world, tiny_teacher, tmp_path_factory):
    """Makes the demo's own config, or one based on it, on the tiny world with the tiny teacher, for two epochs of
    four steps.

    Proposals need no objectness there, so that a student that has learnt nothing makes some.
    """

    def make(data_root=tiny_world, epochs=2, config=DEMO):
        work_dir = tmp_path_factory.mktemp('run')
        cfg = load_config(str(config), data_root=str(data_root), work_dir=str(work_dir))
        for node in dicts(cfg._cfg_dict):
            if node.get('pretrained') == 'shapes':
                node.pretrained = tiny_teacher
            if node.get('type') == 'mmdet.Resize':
                node.scale = (WORLD['image_size'],) * 2
            if node.get('type') == 'CLIPDistillationHook':
                node.proposals_from_epoch = 0
        cfg.shapes_world.update(WORLD)
        cfg.train_dataloader.batch_size = 8
        if cfg.model.type == 'KDEOV' and cfg.model.bbox_head:
            cfg.model.bbox_head.proposal_score = 0.0
        cfg.train_cfg.max_epochs = epochs
        cfg.param_scheduler[1].end = max(epochs, 2)  # it begins at the second
        cfg.default_hooks.logger.interval = 1
        cfg.log_level = 'WARNING'
        cfg.experiment_name = work_dir.name  # runners of one process share what has one name
        return cfg

    return make


REAL = Path(os.environ.get('KDEOV_REAL_DATA', Path(__file__).resolve().parents[1] / '../shared/data'))


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of real samples, whether it is there or not."""
    return REAL


@pytest.fixture(scope='session')
def coco_mini() -> Path:
    """A sample of real COCO."""
    root = REAL / 'coco_mini'
    if not root.is_dir():
        pytest.skip(f'no real COCO sample at {root}')
    return root


@pytest.fixture(scope='session')
def lvis_mini(coco_mini, tmp_path_factory):
    """A data set in LVIS v1's format: real images with boxes of COCO, LVIS's own 1,203 categories.

    Labels are those of COCO's names that LVIS has too, and each other box is of a rare class, which stands for
    whatever it shows.
    """
    names = REAL / 'clip_text' / 'lvis_v1_categories.json'
    if not names.is_file():
        pytest.skip(f'no LVIS categories at {names}')
    root = tmp_path_factory.mktemp('lvis')
    for split in ('train2017', 'val2017'):
        (root / split).symlink_to(coco_mini.resolve() / split)
    (root / 'annotations').mkdir()
    categories = json.loads(names.read_text())
    lvis_id = {category['name']: category['id'] for category in categories}
    rare = [category['id'] for category in categories if category['frequency'] == 'r']
    images, annotations = [], []
    for split in ('train2017', 'val2017'):
        content = json.loads((coco_mini / 'annotations' / f'instances_{split}.json').read_text())
        name_of = {category['id']: category['name'] for category in content['categories']}
        for image in content['images'][:6]:
            found = [item for item in content['annotations'] if item['image_id'] == image['id']]
            known = {item['id']: lvis_id.get(name_of[item['category_id']], rare[item['category_id']]) for item in found}
            annotations += [
                dict(
                    id=len(annotations) + i,
                    image_id=image['id'],
                    category_id=known[item['id']],
                    bbox=item['bbox'],
                    area=item['area'],
                    segmentation=item['segmentation'],
                )
                for i, item in enumerate(found, 1)
            ]
            images.append(
                dict(
                    id=image['id'],
                    width=image['width'],
                    height=image['height'],
                    coco_url=f'http://images.cocodataset.org/{split}/{image["file_name"]}',
                    neg_category_ids=[category for category in rare[:60] if category not in known.values()],
                    not_exhaustive_category_ids=sorted(known.values())[:1],
                )
            )
    content = dict(images=images, categories=categories, annotations=annotations)
    for split in ('train', 'val'):
        (root / 'annotations' / f'lvis_v1_{split}.json').write_text(json.dumps(content))
    for image in images:  # as the widely used file has it
        image['file_name'] = image['coco_url'].split('/')[-1]
    (root / 'annotations' / 'lvis_v1_minival_inserted_image_name.json').write_text(json.dumps(content))
    return root
