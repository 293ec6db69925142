"""Reading what users hand in: annotation files in COCO's format, and images that may be broken."""

import io
import json
import os
from collections import Counter
from typing import Iterable, Optional, Union

from kdeov_mm.utils.errors import one_line
from kdeov_mm.utils.files import open_regular
from kdeov_mm.utils.image_files import MAX_BYTES, open_image

INSTANCE_FIELDS = dict(
    images=('id', 'file_name', 'width', 'height'),
    categories=('id', 'name'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area'),
)
# LVIS v1 names its images by URL; the rest says which classes were looked for, and how often they occur.
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
        path: the file.
        fields: the lists it must hold, and the fields that each of their records must have.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not JSON, lacks a list or a field, has an id twice, or an annotation of a
            category that it does not list.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'annotation file "{path}" does not exist; check data_root and ann_file')
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except ValueError as error:  # both of JSONDecodeError and UnicodeDecodeError
        raise ValueError(f'annotation file "{path}" is not JSON: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'annotation file "{path}" must hold an object as COCO\'s do, got a {type(content).__name__}')
    for key, names in fields.items():
        if not isinstance(content.get(key), list):
            raise ValueError(f'annotation file "{path}" lacks the list "{key}"; it has {sorted(content)}')
        for index, record in enumerate(content[key]):
            missing = [name for name in names if name not in record]
            if missing:
                raise ValueError(f'annotation file "{path}": {key}[{index}] lacks {missing}: {str(record)[:200]}')
        if 'id' in names:
            repeated = _repeated(record['id'] for record in content[key])
            if repeated:
                raise ValueError(f'annotation file "{path}": ids appear twice in "{key}": {repeated[:5]}')
    if 'categories' in fields:
        repeated = _repeated(category['name'] for category in content['categories'])
        if repeated:
            raise ValueError(f'annotation file "{path}": categories share a name: {repeated[:5]}')
        known = {category['id'] for category in content['categories']}
        for record in content['annotations']:
            if record['category_id'] not in known:
                raise ValueError(
                    f'annotation file "{path}": annotation {record["id"]} is of category '
                    f'{record["category_id"]}, which "categories" does not list'
                )
    return content


def image_defect(image: Union[str, bytes]) -> Optional[str]:
    """Say why an image, a file's path or its content, cannot be used, or None if it can.

    OpenCV silently fills what a truncated JPEG lacks with grey, so decoding alone does not tell. Reading the
    header and the end of the file does, and costs little; only a file without the end that its format demands
    is decoded in full. Special files and images beyond the limits of ``kdeov_mm.utils.image_files`` cannot be used.
    """
    try:
        with io.BytesIO(image) if isinstance(image, bytes) else open_regular(image, MAX_BYTES, 'image') as file:
            with open_image(file) as header:
                end = dict(JPEG=b'\xff\xd9', PNG=b'IEND').get(header.format)
                position = file.tell()
                file.seek(max(0, file.seek(0, os.SEEK_END) - 1024))
                complete = end is not None and end in file.read()
                file.seek(position)
                if not complete:
                    header.load()
    except FileNotFoundError:
        return 'does not exist'
    except Exception as error:  # PIL's decoders raise anything from OSError to SyntaxError
        return f'{type(error).__name__}: {one_line(error)}'
    return None
