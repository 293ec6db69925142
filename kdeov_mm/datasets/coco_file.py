"""Reading of annotation files in COCO's format."""

import os
from collections import Counter
from collections.abc import Iterable

from kdeov_mm.utils.display import short_repr, printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.json_files import read_json
from kdeov_mm.utils.records import (
    BOXES,
    FLAGS,
    ID_LISTS,
    IDS,
    NAMES,
    NUMBERS,
    PATHS,
    POSITIVE,
    TEXTS,
    check_records,
)

# The types of the fields that are read, where present.
KINDS = dict(
    images=dict(
        id=IDS,
        file_name=PATHS,
        coco_url=TEXTS,
        width=POSITIVE,
        height=POSITIVE,
        neg_category_ids=ID_LISTS,
        not_exhaustive_category_ids=ID_LISTS,
    ),
    categories=dict(id=IDS, name=NAMES, supercategory=TEXTS, group=TEXTS, frequency=TEXTS),
    annotations=dict(
        id=IDS, image_id=IDS, category_id=IDS, bbox=BOXES, area=NUMBERS, iscrowd=FLAGS, ignore=FLAGS, caption=TEXTS
    ),
)

INSTANCE_FIELDS = dict(
    images=('id', 'file_name', 'width', 'height'),
    categories=('id', 'name'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area'),
)
# LVIS v1 names its images by URL. The other fields say which classes were annotated, and how frequent they are.
LVIS_FIELDS = dict(
    INSTANCE_FIELDS,
    images=('id', 'width', 'height', 'neg_category_ids', 'not_exhaustive_category_ids'),
    categories=('id', 'name', 'frequency'),
)
CAPTION_FIELDS = dict(annotations=('image_id', 'caption'))


def _repeated(values: Iterable) -> list:
    return [value for value, times in Counter(values).items() if times > 1]


def load_coco(path: str, fields: dict[str, tuple] = INSTANCE_FIELDS) -> dict:
    """Read a JSON file in COCO's format.

    Args:
        path: The file.
        fields: Required lists, and the fields that each of their records must have.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is not JSON, lacks a list or a field, a field has a value that :data:`KINDS` does not
            allow, an id is duplicate, or an annotation has an unknown category.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f'annotation file "{printable(path)}" does not exist; check data_root and ann_file')
    source = f'annotation file "{printable(path)}"'
    content = read_json(path, object, what='annotation file')
    if not isinstance(content, dict):
        raise InputError(f"{source} must hold an object as COCO's do, got a {type(content).__name__}")
    for key, names in fields.items():
        if not isinstance(content.get(key), list):
            raise InputError(f'{source} lacks the list "{key}"; it has {short_repr(sorted(content))}')
        check_records(content[key], KINDS[key], names, source, key)
        if 'id' in names:
            repeated = _repeated(record['id'] for record in content[key])
            if repeated:
                raise InputError(f'{source}: duplicate ids in "{key}": {short_repr(repeated[:5])}')
    if 'categories' in fields:
        repeated = _repeated(category['name'] for category in content['categories'])
        if repeated:
            raise InputError(f'{source}: duplicate category names: {short_repr(repeated[:5])}')
        known = {category['id'] for category in content['categories']}
        for row, record in enumerate(content['annotations']):
            if record['category_id'] not in known:
                raise InputError(
                    f'{source}: annotations[{row}] is of category {short_repr(record["category_id"])}, which '
                    f'"categories" does not list; add the category or remove the annotation'
                )
    if 'images' in fields and content['images'] and content['annotations']:
        kinds = type(content['images'][0]['id']), type(content['annotations'][0]['image_id'])
        if kinds[0] is not kinds[1]:  # no annotation would belong to any image
            raise InputError(
                f'{source}: images[0].id is {short_repr(content["images"][0]["id"])}, but annotations[0].image_id is '
                f'{short_repr(content["annotations"][0]["image_id"])}; both must be integers or both strings'
            )
    return content
