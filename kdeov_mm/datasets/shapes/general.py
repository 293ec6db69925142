"""General names of the shapes dataset: "red star" and "star" beside "striped red star"."""

import json
from pathlib import Path

from kdeov_mm.datasets.coco_file import load_coco
from kdeov_mm.utils.files import write_atomically

LEVELS = dict(colour_shape=('colour', 'shape'), shape=('shape',))  # the attributes that a name of each level has


def generalize(content: dict) -> dict:
    """Return COCO annotations in which every object has one general name of each level.

    Args:
        content: Annotations of a split, whose categories have ``attributes``.

    Returns:
        dict: The same images. The categories' ``group`` is the level, a key of :data:`LEVELS`.
    """
    categories: dict[tuple[str, str], dict] = {}
    general: dict[int, list[int]] = {}
    for level, attributes in LEVELS.items():
        for category in content['categories']:
            name = ' '.join(category['attributes'][attribute] for attribute in attributes)
            record = categories.setdefault((level, name), dict(id=len(categories) + 1, name=name, group=level))
            general.setdefault(category['id'], []).append(record['id'])
    annotations = [
        dict(annotation, category_id=category_id)
        for annotation in content['annotations']
        for category_id in general[annotation['category_id']]
    ]
    for index, annotation in enumerate(annotations, 1):
        annotation['id'] = index
    return dict(content, categories=list(categories.values()), annotations=annotations)


def write_general(root: Path, split: str) -> None:
    """Write ``annotations/general_{split}.json`` from the annotations of a split."""
    folder = root / 'annotations'
    content = generalize(load_coco(str(folder / f'instances_{split}.json')))
    write_atomically(folder / f'general_{split}.json', json.dumps(content))
