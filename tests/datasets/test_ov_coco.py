import copy
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import kdeov_mm  # noqa: F401  isort: skip  # before mmyolo

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmyolo.registry import DATASETS
from pycocotools.coco import COCO

from kdeov_mm.datasets import OVCocoDataset, ensure_world, world_concepts
from kdeov_mm.utils.image_files import image_defect
from kdeov_mm.datasets.splits import OV_COCO
from tool_loading import run_tool

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get('KDEOV_REAL_DATA', ROOT.parent / 'shared' / 'data')) / 'coco_mini'
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f'no real COCO images in {REAL}')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'captions', 'gt_label')),
]
SIZES = dict(train=60, val=6, test_single=20)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world')
    ensure_world(root, sizes=SIZES, splits=list(SIZES))
    return root


def shapes_dataset(root, split='train', **kwargs):
    return OVCocoDataset(
        **{
            **dict(data_root=str(root), ann_file=f'annotations/instances_{split}.json', data_prefix=dict(img=split)),
            **kwargs,
        }
    )


def coco_dataset(split='train', root=REAL, **kwargs):
    return shapes_dataset(root, f'{split}2017', **{**dict(vocabulary='ov_coco'), **kwargs})


@pytest.fixture
def small(tmp_path):
    """A data set of six images of 100 x 80 with two classes, and its annotations to change and write back."""
    (tmp_path / 'images').mkdir()
    for index in range(1, 7):
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.jpg'), np.full((80, 100, 3), 40 * index, np.uint8))
    content = dict(
        images=[dict(id=index, file_name=f'{index}.jpg', width=100, height=80) for index in range(1, 7)],
        annotations=[
            dict(id=index, image_id=index, category_id=7, bbox=[10, 10, 30, 20], area=600) for index in range(1, 7)
        ],
        categories=[dict(id=7, name='cat', group='base'), dict(id=3, name='dog', group='novel')],
    )

    def build(change=None, **kwargs):
        changed = copy.deepcopy(content)
        if change is not None:
            change(changed)
        (tmp_path / 'ann.json').write_text(json.dumps(changed))
        defaults = dict(
            data_root=str(tmp_path),
            ann_file='ann.json',
            data_prefix=dict(img='images'),
            pipeline=[dict(type='LoadImageFromFile')],
        )
        return OVCocoDataset(**{**defaults, **kwargs})

    build.root = tmp_path
    init_default_scope('mmyolo')
    return build


def damage(path, how):
    data = path.read_bytes()
    if how == 'missing':
        path.unlink()
    else:
        path.write_bytes(dict(truncated=data[: -len(data) // 3], empty=b'', text=b'no image')[how])


# ------------------------------------------------------------------------------------------------ classes
@needs_real_data
@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('groups', [('base',), ('novel',), None])
def test_boxes_and_labels_are_those_of_pycocotools(split, groups):
    dataset = coco_dataset(split, groups=groups)
    names = {name for group in (groups or ('base', 'novel')) for name in OV_COCO[group]}
    coco = COCO(str(REAL / 'annotations' / f'instances_{split}2017.json'))
    classes = dataset.metainfo['classes']
    assert classes == tuple(cat['name'] for cat in coco.dataset['categories'] if cat['name'] in names)
    assert dataset.metainfo['groups'] == tuple('base' if name in OV_COCO['base'] else 'novel' for name in classes)
    assert len(dataset) == len(coco.imgs)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        expected = [(coco.cats[item['category_id']]['name'], item) for item in coco.imgToAnns[info['img_id']]]
        expected = [(name, item) for name, item in expected if name in names]
        assert [classes[item['bbox_label']] for item in info['instances']] == [name for name, _ in expected]
        boxes = np.array([item['bbox'] for item in info['instances']]).reshape(-1, 4)
        raw = np.array([item['bbox'] for _, item in expected]).reshape(-1, 4)
        raw[:, 2:] += raw[:, :2]
        np.testing.assert_allclose(boxes, raw, atol=1)  # clipped by less than a pixel


@needs_real_data
def test_ov_coco_has_48_base_and_17_novel_of_the_80_names():
    names = {
        cat['name'] for cat in json.loads((REAL / 'annotations' / 'instances_train2017.json').read_text())['categories']
    }
    base, novel = set(OV_COCO['base']), set(OV_COCO['novel'])
    assert (len(names), len(base), len(novel)) == (80, 48, 17)
    assert base | novel <= names and not base & novel


@needs_real_data
def test_captions_of_real_images():
    dataset = coco_dataset(caption_file='annotations/captions_train2017.json')
    coco = COCO(str(REAL / 'annotations' / 'captions_train2017.json'))
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert info['captions'] == [item['caption'].strip() for item in coco.imgToAnns[info['img_id']]]
        assert len(info['captions']) >= 5


def test_the_group_field_of_the_shapes_world(world):
    base, everything = shapes_dataset(world), shapes_dataset(world, groups=None)
    concepts = world_concepts(0)
    assert base.metainfo['classes'] == tuple(item['name'] for item in concepts if item['group'] == 'base')
    assert everything.metainfo['classes'] == tuple(item['name'] for item in concepts)
    assert everything.metainfo['groups'] == tuple(item['group'] for item in concepts)
    assert len(base) == len(everything) == 60
    count = [sum(len(dataset.get_data_info(i)['instances']) for i in range(60)) for dataset in (base, everything)]
    assert 0 < count[0] < count[1]
    assert any(not base.get_data_info(i)['instances'] for i in range(60))


def test_empty_images_go_only_when_asked(world):
    dataset = shapes_dataset(world, filter_cfg=dict(filter_empty_gt=True))
    assert 0 < len(dataset) < 60
    assert all(dataset.get_data_info(index)['instances'] for index in range(len(dataset)))


def test_what_is_not_kept_changes_nothing(world, tmp_path):
    """Poisoned boxes, labels and names of the other groups leave the data set as it was."""
    shutil.copytree(world, tmp_path / 'poisoned')
    path = tmp_path / 'poisoned' / 'annotations' / 'instances_train.json'
    content = json.loads(path.read_text())
    group = {category['id']: category['group'] for category in content['categories']}
    poisoned = 0
    for item in content['annotations']:
        if group[item['category_id']] != 'base':
            item.update(
                bbox=[0, 0, 128, 128],
                area=1,
                category_id=next(key for key, value in group.items() if value == 'unseen'),
            )
            poisoned += 1
    for category in content['categories']:
        if category['group'] != 'base':
            category['name'] = f'poison {category["id"]}'
    path.write_text(json.dumps(content))
    clean, changed = shapes_dataset(world), shapes_dataset(tmp_path / 'poisoned')
    assert poisoned > 10
    assert clean.metainfo == changed.metainfo
    for index in range(60):
        assert clean.get_data_info(index)['instances'] == changed.get_data_info(index)['instances']


def test_data_samples_carry_captions_and_gt_label(world):
    init_default_scope('mmyolo')
    dataset = DATASETS.build(
        dict(
            type='OVCocoDataset',
            data_root=str(world),
            ann_file='annotations/instances_test_single.json',
            data_prefix=dict(img='test_single'),
            groups=None,
            gt_label=True,
            test_mode=True,
            pipeline=PIPELINE,
            caption_file='annotations/captions_test_single.json',
        )
    )
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        name = dataset.metainfo['classes'][sample.gt_label]
        assert sample.gt_label == sample.gt_instances.labels.item()
        assert all(name in caption for caption in sample.captions) and len(sample.captions) == 2


def test_gt_label_needs_one_instance(world):
    with pytest.raises(ValueError, match='gt_label'):
        shapes_dataset(world, 'val', groups=None, gt_label=True)


def test_metainfo_classes_restrict(small):
    assert small(groups=None, metainfo=dict(classes=('dog',))).metainfo['classes'] == ('dog',)
    assert small(groups=None).metainfo == dict(
        classes=('cat', 'dog'), groups=('base', 'novel'), supercategories=('cat', 'dog')
    )


def test_a_dataset_can_be_sent_to_workers(small):
    dataset = small()
    assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset)


# ------------------------------------------------------------------------------------------------ bad names
@pytest.mark.parametrize(
    'kwargs, named',
    [
        (dict(vocabulary=dict(base=['cat'], novel=['dgo'])), "'dgo'.*'dog'"),
        (dict(vocabulary=dict(base=['cat'], novel=['cat'])), "'cat'"),
        (dict(vocabulary=dict(base='cat')), "base.*'cat'|'cat'.*base"),
        (dict(vocabulary='ov_coc'), "'ov_coc'.*'ov_coco'"),
        (dict(groups=['nvoel']), "'nvoel'.*'novel'"),
        (dict(groups=[]), 'groups'),
        (dict(metainfo=dict(classes=['cart'])), "'cart'.*'cat'"),
        (dict(max_broken=2), 'max_broken'),
        (dict(data_prefix=dict(image='images')), 'data_prefix'),
    ],
)
def test_wrong_arguments_are_named(small, kwargs, named):
    with pytest.raises(ValueError, match=named):
        small(**kwargs)


# ------------------------------------------------------------------------------------------------ bad files
def set_field(key, field, value):
    return lambda content: content[key][0].__setitem__(field, value)


@pytest.mark.parametrize(
    'change, named',
    [
        (lambda content: content.pop('annotations'), '"annotations"'),
        (lambda content: content.pop('categories'), '"categories"'),
        (lambda content: content['images'][0].pop('file_name'), r"images\[0\].*'file_name'"),
        (lambda content: content['annotations'][2].pop('bbox'), r"annotations\[2\].*'bbox'"),
        (set_field('images', 'id', 2), r'"images".*\b2\b'),
        (set_field('annotations', 'id', 2), r'"annotations".*\b2\b'),
        (set_field('annotations', 'category_id', 99), 'category 99'),
        (set_field('annotations', 'bbox', [1, 2, 3]), r'annotations\[0\]\.bbox.*\[1, 2, 3\]'),
        (set_field('annotations', 'bbox', None), r'annotations\[0\]\.bbox.*None'),
        (set_field('annotations', 'bbox', [10, float('nan'), 5, 20]), r'annotations\[0\]\.bbox\[1\].*NaN'),
        (set_field('annotations', 'bbox', [10, 10, float('inf'), 20]), r'annotations\[0\]\.bbox\[2\]'),
        (set_field('categories', 'name', 'dog'), "name.*'dog'"),
        (lambda content: content['images'].clear(), 'images'),
    ],
)
def test_a_bad_annotation_file_is_explained(small, change, named):
    with pytest.raises(ValueError, match=named):
        small(change)


@pytest.mark.parametrize('text', ['{"images": [', '[]', ''])
def test_a_file_that_is_no_coco_file(small, text):
    (small.root / 'other.json').write_text(text)
    with pytest.raises(ValueError, match=r'other\.json'):
        small(ann_file='other.json')


def test_missing_folders_and_files(small, tmp_path):
    (tmp_path / 'hollow').mkdir()
    for kwargs, named in [
        (dict(data_root=str(tmp_path / 'nowhere')), 'data_root .*nowhere'),
        (dict(data_root=str(tmp_path / 'hollow')), 'hollow'),
        (dict(ann_file='nowhere.json'), r'nowhere\.json'),
        (dict(caption_file='nowhere.json'), r'nowhere\.json'),
        (dict(data_prefix=dict(img='nowhere')), 'data_prefix.*nowhere|folder.*nowhere'),
    ]:
        with pytest.raises(FileNotFoundError, match=named):
            small(**kwargs)


# ------------------------------------------------------------------------------------------------ bad boxes
@pytest.mark.parametrize(
    'bbox, area, expected',
    [
        ([10, 10, 30, 20], 600, [10, 10, 40, 30]),
        ([-5, -6, 20, 20], 400, [0, 0, 15, 14]),
        ([90, 70, 30, 30], 900, [90, 70, 100, 80]),
        ([10, 10, 0, 20], 0, None),
        ([10, 10, -5, 20], 100, None),
        ([10, 10, 5, -20], 100, None),
        ([10, 10, 5, 20], 0, None),
        ([200, 10, 20, 20], 400, None),
        ([-30, 10, 20, 20], 400, None),
        ([99.5, 10, 20, 20], 400, None),
        ([10, 10, 0.5, 20], 10, None),
    ],
)
def test_a_bad_box_is_dropped_or_clipped_and_counted(small, bbox, area, expected):
    dataset = small(lambda content: content['annotations'][0].update(bbox=bbox, area=area))
    boxes = [item['bbox'] for item in dataset.get_data_info(0)['instances']]
    assert boxes == ([] if expected is None else [expected])
    assert sum(dataset._defects.values()) == (expected != [10, 10, 40, 30])


# ------------------------------------------------------------------------------------------------ bad images
@needs_real_data
def test_every_real_image_is_fine_and_every_truncated_one_is_found(tmp_path):
    paths = sorted((REAL / 'train2017').iterdir())
    for path in paths:
        assert image_defect(str(path)) is None
        data = path.read_bytes()
        for share in (0.1, 0.5, 0.99):
            (tmp_path / 'part.jpg').write_bytes(data[: int(share * len(data))])
            assert 'rror' in image_defect(str(tmp_path / 'part.jpg'))


def test_other_formats(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for extension in ('png', 'bmp', 'webp', 'jpg'):
        path = tmp_path / f'image.{extension}'
        cv2.imwrite(str(path), image)
        assert image_defect(str(path)) is None
        path.write_bytes(path.read_bytes()[:-200])
        assert image_defect(str(path))


@pytest.mark.parametrize('how', ['truncated', 'empty', 'text', 'missing'])
def test_one_broken_image_is_skipped_and_told(small, how):
    path = small.root / 'images' / '3.jpg'
    damage(path, how)
    dataset = small()
    assert list(dataset.broken) == [str(path)]
    assert [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))] == [1, 2, 4, 5, 6]
    with pytest.raises(RuntimeError, match=r'\b1 of 6\b.*3\.jpg.*max_broken'):
        small(max_broken=0)


def test_too_many_broken_images_stop_the_run(small):
    for index in (2, 5):
        damage(small.root / 'images' / f'{index}.jpg', 'truncated')
    with pytest.raises(RuntimeError, match=r'\b2 of 6\b.*2\.jpg.*5\.jpg.*\b1\b'):
        small()
    assert len(small(max_broken=0.5)) == 4


def test_an_image_that_breaks_later_is_replaced_by_the_next(small):
    dataset = small(test_mode=False)
    damage(small.root / 'images' / '2.jpg', 'text')
    for _ in range(3):  # the same one each time, and counted once
        assert dataset[1]['img_id'] == 3
    assert len(dataset.broken) == 1
    damage(small.root / 'images' / '4.jpg', 'missing')
    with pytest.raises(RuntimeError, match=r'\b2 of 6\b.*4\.jpg'):
        dataset[3]


def test_in_testing_an_image_that_breaks_later_is_an_error(small):
    dataset = small(test_mode=True)
    damage(small.root / 'images' / '2.jpg', 'missing')
    with pytest.raises(FileNotFoundError, match='2.jpg'):
        dataset[1]


def test_an_error_of_the_pipeline_is_not_hidden(small):
    dataset = small(pipeline=[dict(type='LoadImageFromFile'), lambda results: results['nothing']])
    with pytest.raises(KeyError, match='nothing'):
        dataset[0]
    assert not dataset.broken


# ------------------------------------------------------------------------------------------------ the command
@needs_real_data
def test_make_ov_split(tmp_path):
    source = REAL / 'annotations' / 'instances_val2017.json'
    run_tool('make_ov_split', source, '--out-dir', tmp_path)
    coco = COCO(str(source))
    for name, names in dict(OV_COCO, all=OV_COCO['base'] + OV_COCO['novel']).items():
        split = COCO(str(tmp_path / f'instances_val2017_{name}.json'))
        ids = coco.getCatIds(catNms=list(names))
        assert set(split.cats) == set(ids) and len(ids) == len(names)
        assert set(split.anns) == set(coco.getAnnIds(catIds=ids)) and set(split.imgs) == set(coco.imgs)
        assert all(
            category['group'] == ('base' if category['name'] in OV_COCO['base'] else 'novel')
            for category in split.cats.values()
        )
    written = shapes_dataset(
        tmp_path, groups=None, ann_file='instances_val2017_all.json', data_prefix=dict(img=str(REAL / 'val2017'))
    )
    direct = coco_dataset('val', groups=None)
    assert written.metainfo == direct.metainfo
    for index in range(len(direct)):
        assert written.get_data_info(index)['instances'] == direct.get_data_info(index)['instances']


@needs_real_data
def test_make_ov_split_refuses_unknown_names(tmp_path, capsys):
    (tmp_path / 'names.json').write_text(json.dumps(dict(base=['person'], novel=['aeroplane'])))
    source = REAL / 'annotations' / 'instances_val2017.json'
    with pytest.raises(SystemExit) as stop:
        run_tool('make_ov_split', source, '--out-dir', tmp_path, '--vocabulary', tmp_path / 'names.json')
    assert stop.value.code == 2 and re.search("'aeroplane'.*'airplane'", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ['names.json']
