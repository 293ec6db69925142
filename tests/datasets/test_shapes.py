import json
import os
import re
import time
from collections import Counter

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from forked import processes
from tool_loading import load_tool, run_tool

from kdeov_mm.datasets import shapes
from kdeov_mm.datasets.shapes import SHAPES, SPLITS, ensure_world, world_concepts

SIZES = dict(teacher=60, train=120, val=8, test=20, test_single=24)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world') / 'shapes'
    ensure_world(root, seed=3, sizes=SIZES)
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
    root, splits, sizes = arguments
    ensure_world(root, seed=3, sizes=sizes, splits=splits)


# ------------------------------------------------------------------------------------------------ concepts
@pytest.mark.parametrize('seed', range(5))
def test_groups_have_their_shares_and_base_has_every_attribute(seed):
    concepts = world_concepts(seed)
    assert [concept['id'] for concept in concepts] == list(range(1, 481))
    counts = Counter(concept['group'] for concept in concepts)
    assert counts == dict(novel=120, unseen=36, recombined=36, base=288)
    novel = {concept['supercategory'] for concept in concepts if concept['group'] == 'novel'}
    assert len(novel) == 4
    for concept in concepts:
        attributes = concept['attributes']
        assert concept['name'] == ' '.join(attributes[key] for key in ('texture', 'colour', 'shape'))
        assert (attributes['shape'] in novel) == (concept['group'] == 'novel')
    base = set()
    for concept in concepts:
        if concept['group'] == 'base':
            base.update(concept['attributes'].values())
    assert base == set(shapes.TEXTURES) | set(shapes.COLOURS) | set(SHAPES) - novel


def test_the_seed_draws_the_groups_and_nothing_else():
    first, again, other = world_concepts(0), world_concepts(0), world_concepts(1)
    assert first == again
    assert [concept['group'] for concept in first] != [concept['group'] for concept in other]
    assert [concept['name'] for concept in first] == [concept['name'] for concept in other]


def test_shares_are_honoured():
    concepts = world_concepts(0, dict(novel=0.5, unseen=0.25, recombined=0))
    counts = Counter(concept['group'] for concept in concepts)
    assert counts == dict(novel=240, unseen=60, base=180)


@pytest.mark.parametrize(
    'arguments, named',
    [
        (dict(seed=-1), 'seed'),
        (dict(seed=0.5), 'seed'),
        (dict(shares=dict(novel=1)), 'novel'),
        (dict(shares=dict(unseen=0.5, recombined=0.5)), 'unseen'),
        (dict(shares=dict(nvoel=0.1)), 'nvoel'),
        (dict(shares=dict(unseen=0.5, recombined=0.49)), 'base'),
    ],
)
def test_impossible_concepts_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        world_concepts(**arguments)


# ------------------------------------------------------------------------------------------------ files
def test_pycocotools_opens_every_split(world):
    for split in SPLITS:
        instances = COCO(str(world / 'annotations' / f'instances_{split}.json'))
        captions = COCO(str(world / 'annotations' / f'captions_{split}.json'))
        assert len(instances.imgs) == SIZES[split] and len(instances.cats) == 480
        for image in instances.loadImgs(instances.getImgIds()):
            assert cv2.imread(str(world / split / image['file_name'])).shape == (128, 128, 3)
        assert set(captions.imgToAnns) <= set(instances.imgs)


def test_scenes_have_two_to_four_apart_objects_and_singles_one(world):
    for split in SPLITS:
        coco = COCO(str(world / 'annotations' / f'instances_{split}.json'))
        for image_id in coco.imgs:
            boxes = np.array([item['bbox'] for item in coco.imgToAnns[image_id]]).reshape(-1, 4)
            single = split == 'test_single' or (split in ('teacher', 'train') and image_id % 2)
            if single:
                assert len(boxes) == 1 or (split == 'teacher' and len(boxes) == 0)
            else:
                assert 2 <= len(boxes) <= 4 or (split == 'teacher' and len(boxes) == 0)
            if len(boxes):
                assert boxes.min() >= 0 and (boxes[:, :2] + boxes[:, 2:]).max() <= 128
                low, high = (0.3, 0.75) if single else (0.25, 0.5)
                extents = boxes[:, 2:].max(1) / 128
                assert extents.min() > low - 2 / 128 and extents.max() < high + 2 / 128
            for i, first in enumerate(boxes):
                for second in boxes[:i]:
                    far = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
                    both = np.prod(np.maximum(far - np.maximum(first[:2], second[:2]), 0))
                    assert both / (first[2:].prod() + second[2:].prod() - both) <= 0.1


@pytest.mark.parametrize('shape', SHAPES)
def test_boxes_are_tight(shape):
    """Against the difference that the object makes to a plain image."""
    for index in range(20):
        rng = np.random.default_rng(index)
        image = np.full((128, 128, 3), 128, np.float32)
        contours = shapes.outline(rng, shape, rng.uniform(32, 96))
        attributes = dict(texture='solid', colour='white', shape=shape)
        (x, y, w, h), area = shapes.draw_object(rng, image, attributes, contours, rng.uniform(0, 31, 2))
        changed = np.abs(image - 128).max(2)
        rows, columns = np.nonzero(changed > 0.5 * changed.max())
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose((x, y, x + w, y + h), expected, atol=1)
        assert area == pytest.approx(len(rows), rel=0.03)


def test_the_student_is_shown_no_unseen_and_named_of_base_only(world):
    instances, captions = load(world, 'instances', 'train'), load(world, 'captions', 'train')
    group = {category['id']: category['group'] for category in instances['categories']}
    groups = {image['id']: set() for image in instances['images']}
    for item in instances['annotations']:
        groups[item['image_id']].add(group[item['category_id']])
    assert set().union(*groups.values()) == {'base', 'novel', 'recombined'}
    captioned = {item['image_id'] for item in captions['annotations']}
    assert captioned == {image_id for image_id, found in groups.items() if found == {'base'}}
    novel = {concept['supercategory'] for concept in world_concepts(3) if concept['group'] == 'novel'}
    assert not any(re.search(rf'\b{shape}\b', item['caption']) for item in captions['annotations'] for shape in novel)


def test_test_singles_have_every_concept_equally(tmp_path):
    ensure_world(tmp_path, sizes=dict(test_single=960), splits=['test_single'])
    annotations = load(tmp_path, 'instances', 'test_single')['annotations']
    counts = Counter(item['category_id'] for item in annotations)
    assert counts == dict.fromkeys(range(1, 481), 2)


def test_captions_name_all_objects_and_their_sizes(world):
    for split in ('train', 'test', 'test_single'):
        instances, captions = load(world, 'instances', split), load(world, 'captions', split)
        names = {category['id']: category['name'] for category in instances['categories']}
        objects = {}
        for item in instances['annotations']:
            objects.setdefault(item['image_id'], []).append((item['size'], names[item['category_id']]))
        seen = set()
        for item in captions['annotations']:
            first = item['image_id'] not in seen
            seen.add(item['image_id'])
            found = re.findall(r'(?:(small|medium|large) )?((?:solid|striped|dotted) \w+ \w+)', item['caption'])
            there = objects[item['image_id']]
            assert sorted(name for _, name in found) == sorted(name for _, name in there)
            if first:
                assert sorted(found) == sorted(there)


def test_the_teacher_also_hears_vague_and_empty_captions(tmp_path):
    ensure_world(tmp_path, sizes=dict(teacher=400), splits=['teacher'])
    instances, captions = load(tmp_path, 'instances', 'teacher'), load(tmp_path, 'captions', 'teacher')
    texts = [item['caption'] for item in captions['annotations']]
    filled = {item['image_id'] for item in instances['annotations']}
    assert 2 <= 400 - len(filled) <= 30
    for item in captions['annotations']:
        assert (item['caption'] in shapes.EMPTY_CAPTIONS) == (item['image_id'] not in filled)
    vague = sum(bool(re.search(r'\b(shape|object)s?$', text)) for text in texts)
    assert 0.03 < vague / len(texts) < 0.15
    assert any('two shapes' in text or 'two objects' in text for text in texts)
    assert not any(re.search(r'\ba [aeiou]|\ban [^aeiou]', text) for text in texts)


# ------------------------------------------------------------------------------------------------ determinism
def test_the_same_bytes_split_by_split_and_in_two_processes(world, tmp_path):
    expected = contents(world)
    one_by_one, shared = tmp_path / 'one', tmp_path / 'two'
    for split in reversed(SPLITS):
        generate((one_by_one, [split], SIZES))
    with processes.Pool(2) as pool:
        pool.map(generate, [(shared, SPLITS[:2], SIZES), (shared, SPLITS[1:], SIZES)])
    assert contents(one_by_one) == expected
    assert contents(shared) == expected


def test_another_seed_gives_other_images(world, tmp_path):
    ensure_world(tmp_path, seed=4, sizes=SIZES, splits=['val'])
    for name in os.listdir(world / 'val'):
        assert (tmp_path / 'val' / name).read_bytes() != (world / 'val' / name).read_bytes()


def test_a_ready_world_is_left_alone(world):
    before = {path: path.stat().st_mtime_ns for path in world.rglob('*')}
    start = time.perf_counter()
    ensure_world(world, seed=3, sizes=SIZES)
    assert time.perf_counter() - start < 0.5
    assert {path: path.stat().st_mtime_ns for path in world.rglob('*')} == before


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    'change, named',
    [
        (dict(seed=4), r'seed\b.*\b3\b.*\b4\b'),
        (dict(image_size=96), r'image_size\b.*\b128\b.*\b96\b'),
        (dict(sizes={**SIZES, 'val': 9}), 'sizes'),
        (dict(shares=dict(novel=0.5)), 'shares'),
    ],
)
def test_another_world_in_the_root_is_refused_and_kept(world, change, named):
    before = contents(world)
    with pytest.raises(ValueError, match=named):
        ensure_world(world, **{**dict(seed=3, sizes=SIZES), **change})
    assert contents(world) == before


@pytest.mark.parametrize('name, text', [('photo.jpg', 'x'), ('world.json', '{')])
def test_a_folder_of_something_else_is_refused_and_kept(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        ensure_world(tmp_path, sizes=SIZES)
    assert contents(tmp_path) == {name: text.encode()}


@pytest.mark.parametrize(
    'arguments, named',
    [
        (dict(splits=['tets']), 'tets'),
        (dict(sizes=dict(tets=1)), 'tets'),
        (dict(sizes=dict(test=0)), r'test.*\b0\b'),
        (dict(image_size=16), 'image_size'),
    ],
)
def test_impossible_arguments_make_no_folder(tmp_path, arguments, named):
    with pytest.raises(ValueError, match=named):
        ensure_world(tmp_path / 'new', **arguments)
    assert not (tmp_path / 'new').exists()


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path):
    root, sizes = tmp_path / 'killed', dict(SIZES, val=5, test=500)
    process = processes.Process(target=generate, args=((root, ['val', 'test'], sizes),))
    process.start()
    while not (root / '.test.part' / '000000000010.jpg').exists():
        assert process.is_alive(), 'the run ended before it could be killed'
        time.sleep(0.001)
    process.kill()
    process.join()
    assert (root / 'val').is_dir() and not (root / 'test').exists()
    kept = (root / 'val' / '000000000001.jpg').stat().st_mtime_ns
    ensure_world(root, 3, sizes=sizes, splits=['val', 'test'])
    assert (root / 'val' / '000000000001.jpg').stat().st_mtime_ns == kept
    assert len(os.listdir(root / 'test')) == 500 and not (root / '.test.part').exists()


# ------------------------------------------------------------------------------------------------ command
def test_command_generates_and_previews(tmp_path):
    options = ['--splits', 'val', '--size', 'val=5', '--share', 'novel=0.5', '--preview', tmp_path / 'sheet.png']
    run_tool('make_shapes', '--root', tmp_path / 'world', *options)
    assert len(load(tmp_path / 'world', 'instances', 'val')['images']) == 5
    assert not (tmp_path / 'world' / 'train').exists()
    assert cv2.imread(str(tmp_path / 'sheet.png')).std() > 10


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    """OpenCV's own writer crashes there; what is written is the same, byte by byte."""
    root = tmp_path / os.fsdecode(b'\xff')
    for each in (root, tmp_path / 'plain'):
        ensure_world(each, sizes=dict(SIZES, val=2), splits=['val'])
    assert contents(root) == contents(tmp_path / 'plain') != {}
    tool = load_tool('make_shapes')
    sheet = tool.preview(root, 'val')
    assert np.array_equal(sheet, tool.preview(tmp_path / 'plain', 'val'))
    for suffix, options in (('.jpg', [cv2.IMWRITE_JPEG_QUALITY, shapes.JPEG_QUALITY]), ('.png', [])):
        cv2.imwrite(str(tmp_path / f'a{suffix}'), sheet, options)
        assert (tmp_path / f'a{suffix}').read_bytes() == shapes.encode_image(sheet, suffix, options)
    with pytest.raises(ValueError, match='xyz'):
        shapes.encode_image(sheet, '.xyz')
