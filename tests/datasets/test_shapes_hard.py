"""The hard style of the shapes dataset: what a scene holds, what is visible of it, and who may see it."""

import json
import re
from collections import Counter
from itertools import combinations

import cv2
import numpy as np
import pytest
from forked import processes
from mmengine.runner import Runner
from pycocotools.coco import COCO
from tool_loading import run_tool

from config_nodes import dicts
from kdeov_mm.datasets.shapes import SPLITS, drawing, ensure_world, hard, world_concepts
from kdeov_mm.datasets.shapes.samples import split_samples
from kdeov_mm.utils import load_config

SIZES = dict(teacher=8, train=24, val=2, test=8, test_single=4)
ARGUMENTS = dict(seed=3, image_size=256, sizes=SIZES, style='hard')
CONFIGS = ['configs/kdeov_yolov8n_shapes-hard.py', 'configs/baselines/yolo-world-n_shapes-hard.py']


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world') / 'shapes-hard'
    ensure_world(root, **ARGUMENTS)
    return root


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file() and path.name != '.lock'
    }


def load(root, kind, split):
    return json.loads((root / 'annotations' / f'{kind}_{split}.json').read_text())


def generate(arguments):
    root, splits = arguments
    ensure_world(root, **ARGUMENTS, splits=splits)


def scenes(split='test', number=20, seed=3):
    """Images and objects of scenes, as they are drawn."""
    samples = split_samples(split, seed, number, 256, world_concepts(seed), 'hard')
    return [(image, objects) for image, objects, _ in samples if len(objects) > 1]


# ------------------------------------------------------------------------------------------------ files
def test_pycocotools_opens_every_split(world):
    for split in SPLITS:
        instances = COCO(str(world / 'annotations' / f'instances_{split}.json'))
        captions = COCO(str(world / 'annotations' / f'captions_{split}.json'))
        assert len(instances.imgs) == SIZES[split] and len(instances.cats) == 480
        for image in instances.loadImgs(instances.getImgIds()):
            assert cv2.imread(str(world / split / image['file_name'])).shape == (256, 256, 3)
        assert set(captions.imgToAnns) <= set(instances.imgs)


def test_scenes_have_five_to_fifteen_objects_from_eight_pixels_up(world):
    extents = []
    for split in SPLITS:
        coco = COCO(str(world / 'annotations' / f'instances_{split}.json'))
        for image_id in coco.imgs:
            boxes = np.array([item['bbox'] for item in coco.imgToAnns[image_id]]).reshape(-1, 4)
            areas = np.array([item['area'] for item in coco.imgToAnns[image_id]])
            if split == 'test_single' or (split in ('teacher', 'train') and image_id % 2):
                assert len(boxes) == 1 or (split == 'teacher' and len(boxes) == 0)
            else:
                assert 5 <= len(boxes) <= 15 or (split == 'teacher' and len(boxes) == 0)
                extents += boxes[:, 2:].max(1, initial=0).tolist()
            if len(boxes):
                assert boxes.min() >= 0 and (boxes[:, :2] + boxes[:, 2:]).max() <= 256
                assert boxes[:, 2:].max(1).min() >= 8
                assert (areas <= boxes[:, 2:].prod(1)).all() and areas.min() > 0
    assert 8 <= min(extents) < 10 and 0.3 * 256 < max(extents) < 0.35 * 256 + 2
    assert 0.2 < np.mean(np.array(extents) < 16) < 0.5  # log-uniform: ln(16 / 8) / ln(90 / 8) = 0.29, and hidden parts


def test_the_same_bytes_split_by_split_and_in_two_processes(world, tmp_path):
    expected = contents(world)
    for split in reversed(SPLITS):
        generate((tmp_path / 'one', [split]))
    with processes.Pool(2) as pool:
        pool.map(generate, [(tmp_path / 'two', SPLITS[:2]), (tmp_path / 'two', SPLITS[1:])])
    assert contents(tmp_path / 'one') == expected
    assert contents(tmp_path / 'two') == expected


def test_the_student_is_shown_no_unseen_and_named_of_base_only(world):
    instances, captions = load(world, 'instances', 'train'), load(world, 'captions', 'train')
    group = {category['id']: category['group'] for category in instances['categories']}
    name_group = {category['name']: category['group'] for category in instances['categories']}
    assert {group[item['category_id']] for item in instances['annotations']} == {'base', 'novel', 'recombined'}
    largest = {}
    for item in sorted(instances['annotations'], key=lambda item: -item['area']):
        largest.setdefault(item['image_id'], []).append(group[item['category_id']])
    expected = {image_id for image_id, groups in largest.items() if set(groups[:4]) == {'base'}}
    assert {item['image_id'] for item in captions['annotations']} == expected
    for item in captions['annotations']:
        names = re.findall(r'(?:solid|striped|dotted) \w+ \w+', item['caption'])
        assert len(names) == min(4, len(largest[item['image_id']]))
        assert {name_group[name] for name in names} == {'base'}


@pytest.mark.parametrize('style, other', [('plain', 'hard'), ('hard', 'plain')])
def test_a_world_of_another_style_is_refused_and_kept(tmp_path, style, other):
    arguments = dict(sizes=SIZES, splits=['val'])
    ensure_world(tmp_path, **arguments, style=style)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf'style\b.*{style}.*{other}'):
        ensure_world(tmp_path, **arguments, style=other)
    assert contents(tmp_path) == before


def test_a_plain_world_made_before_there_were_styles_is_used(tmp_path):
    arguments = dict(sizes=SIZES, splits=['val'])
    ensure_world(tmp_path, **arguments)
    made = json.loads((tmp_path / 'world.json').read_text())
    del made['style']
    (tmp_path / 'world.json').write_text(json.dumps(made))
    before = contents(tmp_path)
    ensure_world(tmp_path, **arguments)
    assert contents(tmp_path) == before


def test_an_unknown_style_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match='harder'):
        ensure_world(tmp_path / 'new', style='harder')
    assert not (tmp_path / 'new').exists()


# ------------------------------------------------------------------------------------------------ occlusion
@pytest.fixture
def painted(monkeypatch):
    """Attributes, x, y and mask of each object that is painted."""
    record, last = [], []

    def rasterize(*args):
        last[:] = drawing.rasterize(*args)
        return tuple(last)

    monkeypatch.setattr(hard, 'rasterize', rasterize)

    def paint(rng, patch, attributes, extent, mask):
        patch += 255  # as much contrast as any object needs
        record.append((attributes, *last))

    monkeypatch.setattr(hard, 'paint', paint)
    return record


def test_boxes_are_those_of_the_visible_pixels(painted):
    """Against an image of object numbers in which all are painted again."""
    hidden = 0
    for seed in range(6):
        painted.clear()
        rng = np.random.default_rng(seed)
        concepts = [world_concepts()[index] for index in rng.integers(0, 480, 12)]
        _, objects = hard.draw_hard_image(rng, 256, concepts, (0, 0.35))
        shown = np.zeros((256, 256), int)
        for number, (_, x, y, mask) in enumerate(painted, 1):
            shown[y : y + mask.shape[0], x : x + mask.shape[1]][mask >= 128] = number
        expected = []
        for number, (attributes, _, _, mask) in enumerate(painted, 1):
            rows, columns = np.nonzero(shown == number)
            whole = (mask >= 128).sum()
            assert len(rows) >= 0.4 * whole
            hidden += len(rows) < whole
            box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            expected.append((len(rows), *box, *attributes.values()))
        drawn = [(item['area'], *item['bbox'], *item['concept']['attributes'].values()) for item in objects]
        assert sorted(drawn) == sorted(expected)
        areas = [item['area'] for item in objects]
        assert areas == sorted(areas, reverse=True)
    assert hidden > 5


def test_no_object_is_drawn_on_one_of_its_own_colour(painted):
    red = [concept for concept in world_concepts() if concept['attributes']['colour'] == 'red']
    for seed in range(5):
        painted.clear()
        rng = np.random.default_rng(seed)
        _, objects = hard.draw_hard_image(rng, 256, [red[i] for i in rng.integers(0, len(red), 15)], (0, 0.35))
        whole = [int((mask >= 128).sum()) for *_, mask in painted]
        assert len(objects) > 5 and sorted(item['area'] for item in objects) == sorted(whole)


# ------------------------------------------------------------------------------------------------ content
def test_near_misses_differ_in_one_attribute():
    """They are many more than among objects drawn at random."""

    def fraction(groups):
        pairs = [
            sum(first[key] != second[key] for key in first) == 1
            for group in groups
            for first, second in combinations(group, 2)
        ]
        return np.mean(pairs)

    groups = [[item['concept']['attributes'] for item in objects] for _, objects in scenes(number=40)]
    mixed = [attributes for group in groups for attributes in group]
    np.random.default_rng(0).shuffle(mixed)
    shuffled = np.array_split(np.array(mixed, object), len(groups))
    assert fraction(groups) > 2 * fraction(shuffled)
    names = Counter(
        next(key for key in first if first[key] != second[key])
        for group in groups
        for first, second in combinations(group, 2)
        if sum(first[key] != second[key] for key in first) == 1
    )
    assert names['texture'] > 0.2 * sum(names.values())  # the right shape and colour


def test_light_and_background_differ_from_image_to_image_and_have_no_object():
    images = [hard.draw_textured_background(np.random.default_rng(seed), 256) for seed in range(12)]
    for image in images:
        assert image.dtype == np.float32 and image.min() >= 55 and image.max() <= 200
        assert np.ptp(image, axis=2).mean() < 70  # dull
    assert np.std([image.mean() for image in images]) > 10
    grey = np.full((256, 256, 3), 128, np.float32)
    lit = [cv2.blur(hard.light(np.random.default_rng(seed), grey), (16, 16)) for seed in range(12)]
    assert np.mean([np.ptp(image) for image in lit]) > 40
    assert np.std([image.mean() for image in lit]) > 5


# ------------------------------------------------------------------------------------------------ command, configs
def test_command_previews_hard_scenes(tmp_path):
    options = ['--style', 'hard', '--splits', 'val', '--size', 'val=2', '--preview', tmp_path / 'sheet.jpg']
    run_tool('make_shapes', '--root', tmp_path / 'world', *options)
    assert 10 <= len(load(tmp_path / 'world', 'instances', 'val')['annotations']) <= 30
    assert cv2.imread(str(tmp_path / 'sheet.jpg')).std() > 10


def test_both_configs_train_with_the_same_data_and_steps():
    ours, theirs = (load_config(path) for path in CONFIGS)
    for field in ('shapes_world', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness'):
        assert ours[field] == theirs[field]
    assert ours.model.text_encoder == theirs.model.text_encoder
    demo = load_config('configs/kdeov_yolov8n.py')

    def steps(cfg):
        return cfg.train_cfg.max_epochs * (cfg.shapes_world.sizes.train // cfg.train_dataloader.batch_size)

    assert steps(ours) == steps(demo)
    for cfg in (ours, theirs):
        nodes = [*dicts(cfg.train_dataloader), *dicts(cfg.test_dataloader), *dicts(cfg.test_evaluator)]
        assert {node['data_root'] for node in nodes if 'data_root' in node} == {cfg.shapes_world.root}
        assert all(
            node['ann_file'].startswith(cfg.shapes_world.root)
            for node in dicts(cfg.test_evaluator)
            if 'ann_file' in node
        )
        assert {node['scale'] for node in nodes if node.get('type') == 'mmdet.Resize'} == {(256, 256)}


@pytest.mark.parametrize('path', CONFIGS)
def test_configs_train_and_test(path, demo_config, tmp_path):
    cfg = demo_config(tmp_path, epochs=1, config=path)
    ensure_world(**cfg.shapes_world)
    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.test()
    assert {'ov/base/AP50', 'ov/novel/AP50'} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
