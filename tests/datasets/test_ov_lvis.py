import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from lvis import LVIS

from kdeov_mm.datasets import OVCocoDataset, OVLVISDataset
from tool_loading import run_tool

ROOT = Path(__file__).resolve().parents[2]


def dataset(root, split='train', **kwargs):
    return OVLVISDataset(
        **{
            **dict(data_root=str(root), ann_file=f'annotations/lvis_v1_{split}.json', data_prefix=dict(img='')),
            **kwargs,
        }
    )


def changed_copy(root, tmp_path, change):
    content = json.loads((root / 'annotations' / 'lvis_v1_train.json').read_text())
    change(content)
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (tmp_path / split).symlink_to(root / split)
    (tmp_path / 'annotations' / 'lvis_v1_train.json').write_text(json.dumps(content))
    return tmp_path


def test_866_base_and_337_novel_classes_by_frequency(lvis_mini):
    base, both = dataset(lvis_mini), dataset(lvis_mini, groups=('base', 'novel'))
    frequency = {
        item['name']: item['frequency']
        for item in LVIS(str(lvis_mini / 'annotations' / 'lvis_v1_train.json')).cats.values()
    }
    assert len(base.metainfo['classes']) == 866 and len(both.metainfo['classes']) == 1203
    assert both.metainfo['groups'].count('novel') == 337
    assert {frequency[name] for name in base.metainfo['classes']} == {'f', 'c'}
    assert all(
        (group == 'novel') == (frequency[name] == 'r')
        for name, group in zip(both.metainfo['classes'], both.metainfo['groups'])
    )


@pytest.mark.parametrize('split', ['val', 'minival_inserted_image_name'])
@pytest.mark.parametrize('groups', [('base',), ('novel',), ('base', 'novel')])
def test_boxes_and_labels_are_those_of_the_lvis_package(lvis_mini, split, groups):
    data = dataset(lvis_mini, split, groups=groups)
    truth = LVIS(str(lvis_mini / 'annotations' / f'lvis_v1_{split}.json'))
    total = 0
    for index in range(len(data)):
        info = data.get_data_info(index)
        image = truth.imgs[info['img_id']]
        assert info['img_path'].endswith('/'.join(image['coco_url'].split('/')[-2:]))
        assert os.path.isfile(info['img_path'])
        kinds = [truth.cats[item['category_id']] for item in truth.img_ann_map[info['img_id']]]
        expected = [
            (kind['name'], item['bbox'])
            for kind, item in zip(kinds, truth.img_ann_map[info['img_id']])
            if ('novel' if kind['frequency'] == 'r' else 'base') in groups
        ]
        assert [data.metainfo['classes'][item['bbox_label']] for item in info['instances']] == [
            name for name, _ in expected
        ]
        boxes = np.array([item['bbox'] for item in info['instances']]).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
        np.testing.assert_allclose(boxes, np.array([box for _, box in expected]).reshape(-1, 4), atol=1)
        assert not any('mask' in item for item in info['instances'])
        total += len(expected)
    assert len(data) == 12 and total > 10


def test_training_knows_nothing_of_rare_classes(lvis_mini, tmp_path):
    """Poisoned boxes and names of the rare classes leave the training data as they were."""

    def poison(content):
        rare = {item['id'] for item in content['categories'] if item['frequency'] == 'r'}
        for item in content['annotations']:
            if item['category_id'] in rare:
                item.update(bbox=[0, 0, 50, 50], area=2500)
        for category in content['categories']:
            if category['id'] in rare:
                category['name'] = f'poison {category["id"]}'

    clean, poisoned = dataset(lvis_mini), dataset(changed_copy(lvis_mini, tmp_path, poison))
    assert clean.metainfo == poisoned.metainfo
    for index in range(12):
        assert clean.get_data_info(index)['instances'] == poisoned.get_data_info(index)['instances']


@pytest.mark.parametrize(
    'change, named',
    [
        (
            lambda data: data['categories'][4].update(frequency='x'),
            "frequency.*'f', 'c', 'r'.*'x'",
        ),
        (lambda data: data['images'][0].pop('coco_url'), 'coco_url.*file_name'),
        (
            lambda data: data['images'][2].pop('not_exhaustive_category_ids'),
            r"images\[2\].*'not_exhaustive_category_ids'",
        ),
        (lambda data: data['annotations'][0].update(category_id=5000), r'\b5000\b.*"categories"'),
    ],
)
def test_files_that_are_not_lvis(lvis_mini, tmp_path, change, named):
    with pytest.raises(ValueError, match=named):
        dataset(changed_copy(lvis_mini, tmp_path, change))


def test_make_ov_split(lvis_mini, tmp_path):
    source = tmp_path / 'lvis_v1_train.json'
    shutil.copy(lvis_mini / 'annotations' / source.name, source)
    run_tool('make_ov_split', source, '--vocabulary', 'ov_lvis')
    original = LVIS(str(source))
    for name, frequencies in dict(base='fc', novel='r', all='fcr').items():
        split = LVIS(str(tmp_path / f'lvis_v1_train_{name}.json'))
        assert split.imgs == original.imgs
        assert set(split.cats) == {i for i, item in original.cats.items() if item['frequency'] in frequencies}
        assert split.anns == {i: item for i, item in original.anns.items() if item['category_id'] in split.cats}
    assert len(split.cats) == 1203
    written = dataset(lvis_mini, ann_file=str(tmp_path / 'lvis_v1_train_base.json'), vocabulary=None)
    direct = dataset(lvis_mini)
    assert written.metainfo == direct.metainfo and len(written.metainfo['classes']) == 866


def test_a_coco_file_has_no_frequencies(lvis_mini, coco_mini):
    with pytest.raises(ValueError, match="frequency.*'person'.*None"):
        OVCocoDataset(
            data_root=str(coco_mini),
            ann_file='annotations/instances_val2017.json',
            data_prefix=dict(img='val2017'),
            vocabulary='ov_lvis',
        )
