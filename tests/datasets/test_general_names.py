"""General names of the objects of the shapes dataset, COCO and LVIS."""

import json

import pytest

from kdeov_mm.datasets import OVCocoDataset, OVLVISDataset
from kdeov_mm.datasets.general import HYPERNYMS, generalize
from kdeov_mm.datasets.shapes import world_concepts


def test_each_object_has_one_name_of_each_level():
    concepts = world_concepts(3)
    annotations = [dict(id=7, image_id=1, category_id=concept['id'], bbox=[0, 0, 5, 5]) for concept in concepts]
    found = generalize(dict(images=[dict(id=1)], annotations=annotations, categories=concepts))
    category = {record['id']: record for record in found['categories']}
    names = {
        level: [r['name'] for r in category.values() if r['group'] == level] for level in ('colour_shape', 'shape')
    }
    assert [len(set(names[level])) for level in names] == [len(names[level]) for level in names] == [160, 16]
    assert len({annotation['id'] for annotation in found['annotations']}) == len(found['annotations']) == 2 * 480
    for concept, pair in zip(concepts, zip(found['annotations'][::2], found['annotations'][1::2])):
        texture, colour, shape = concept['name'].split()
        assert {category[annotation['category_id']]['name'] for annotation in pair} == {f'{colour} {shape}', shape}


def read(kind, root, ann_file, folder, **options):
    return kind(
        data_root=str(root), ann_file=ann_file, data_prefix=dict(img=folder), groups=None, pipeline=[], **options
    )


def test_a_data_set_has_the_general_names_of_its_scenes(tiny_world):
    scenes, general = (
        read(OVCocoDataset, tiny_world, 'annotations/instances_test.json', 'test/', general=flag)
        for flag in (False, True)
    )
    assert set(general.metainfo['groups']) == {'colour_shape', 'shape'}
    for index in range(len(scenes)):
        own, found = scenes.get_data_info(index), general.get_data_info(index)
        names = [general.metainfo['classes'][item['bbox_label']] for item in found['instances']]
        expected = []
        for item in own['instances']:
            _, colour, shape = scenes.metainfo['classes'][item['bbox_label']].split()
            expected += [f'{colour} {shape}', shape]
        assert names == expected and own['img_path'] == found['img_path']


def test_cocos_supercategories(coco_mini):
    file = 'annotations/instances_val2017.json'
    scenes, general = (
        read(OVCocoDataset, coco_mini, file, 'val2017/', vocabulary=vocabulary, general=vocabulary is not None)
        for vocabulary in (None, 'ov_coco')
    )
    assert general.metainfo['classes'] == ('vehicle', 'animal', 'accessory', 'food', 'furniture', 'appliance')
    assert set(general.metainfo['groups']) == {'supercategory'}
    kinds = dict(zip(scenes.metainfo['classes'], scenes.metainfo['supercategories']))
    for index in range(len(scenes)):
        (own, names), (found, general_names) = (
            (dataset.get_data_info(index)['instances'], dataset.metainfo['classes']) for dataset in (scenes, general)
        )
        expected = [kinds[names[item['bbox_label']]] for item in own]
        assert [general_names[item['bbox_label']] for item in found] == [k for k in expected if k in general_names]


def test_lvis_has_hypernyms(lvis_mini):
    file = 'annotations/lvis_v1_val.json'
    content = json.loads((lvis_mini / file).read_text())
    general = generalize(content)
    assert [category['name'] for category in general['categories']] == list(HYPERNYMS)
    assert {category['group'] for category in general['categories']} == {'hypernym'}
    dataset = read(OVLVISDataset, lvis_mini, file, '', general=True)
    assert dataset.metainfo['classes'] == HYPERNYMS and len(dataset) == len(content['images'])
    names = {category['id']: category['name'] for category in content['categories']}
    of = {id_: set() for id_ in names}
    every = [dict(id=i, image_id=1, category_id=i, bbox=[0, 0, i, 1]) for i in names]
    for item in generalize(dict(content, annotations=every))['annotations']:
        of[item['bbox'][2]].add(HYPERNYMS[item['category_id'] - 1])
    found = {names[id_]: kinds for id_, kinds in of.items()}
    expected = dict(dog='animal', pizza='food', sofa='furniture', guitar='musical_instrument', scissors='tool')
    expected.update({'bus_(vehicle)': 'vehicle', 'tote_bag': 'bag', 'toaster': 'appliance', 'sock': 'clothing'})
    for name, kind in expected.items():
        assert found[name] == {kind.replace('_', ' ')}
    assert found['parrot'] == {'animal', 'bird'} and found['hot-air_balloon'] == {'vehicle'} and not found['clock']


def category(index, name):
    return dict(id=index, name=name, frequency='f')


def test_an_image_of_lvis_lacks_a_general_name_if_it_lacks_all_kinds():
    content = dict(
        categories=[category(i, name) for i, name in enumerate(('dog', 'cat', 'pizza', 'taco', 'banana', 'sofa'), 1)],
        images=[
            dict(id=1, neg_category_ids=[1, 2, 3], not_exhaustive_category_ids=[]),
            dict(id=2, neg_category_ids=[3, 4, 5, 1], not_exhaustive_category_ids=[2]),
            dict(id=3, neg_category_ids=[], not_exhaustive_category_ids=[]),
        ],
        annotations=[
            dict(id=1, image_id=2, category_id=2, bbox=[0, 0, 5, 5]),
            dict(id=2, image_id=3, category_id=5, bbox=[0, 0, 5, 5]),
        ],
    )
    found = generalize(content)
    ids = {record['name']: record['id'] for record in found['categories']}
    assert set(ids) == {'animal', 'food'}
    lacking = [image['neg_category_ids'] for image in found['images']]
    assert lacking == [[ids['animal']], [ids['food']], []]
    # the banana may be a food: other food there is neither right nor wrong
    assert [image['not_exhaustive_category_ids'] for image in found['images']] == [[], [ids['animal']], [ids['food']]]
    assert [item['category_id'] for item in found['annotations']] == [ids['animal']]


def test_categories_without_general_names_are_refused():
    records = [dict(id=1, name='dog', supercategory='animal'), dict(id=2, name='sofa', supercategory='indoor')]
    with pytest.raises(ValueError, match='supercategory'):
        generalize(dict(images=[], annotations=[], categories=records))
