"""General names of the shapes dataset."""

import json

import pytest

from kdeov_mm.datasets.shapes import ensure_world, world_concepts
from kdeov_mm.datasets.shapes.general import generalize


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


@pytest.mark.parametrize('existing', [False, True])
def test_test_scenes_come_with_their_general_names(tmp_path, existing):
    settings = dict(root=str(tmp_path), sizes=dict(test=2, test_single=1), splits=('test', 'test_single'))
    ensure_world(**settings)
    path = tmp_path / 'annotations' / 'general_test.json'
    if existing:  # a data set that was generated before they existed
        content = path.read_text()
        path.unlink()
        ensure_world(**settings)
        assert path.read_text() == content
    scenes = json.loads((tmp_path / 'annotations' / 'instances_test.json').read_text())
    assert len(json.loads(path.read_text())['annotations']) == 2 * len(scenes['annotations'])
    assert not (tmp_path / 'annotations' / 'general_test_single.json').exists()
