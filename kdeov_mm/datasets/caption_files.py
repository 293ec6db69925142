"""Readers of files that pair images with captions.

Each reader returns ``{image: captions}`` in the file's order. ``image`` is a path relative to the image folder, and the
list of captions may be empty.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence

from kdeov_mm.utils.display import short_repr, printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import open_regular, read_file
from kdeov_mm.utils.image_files import SUFFIXES as IMAGE_SUFFIXES
from kdeov_mm.utils.image_files import find_image_files
from kdeov_mm.utils.json_files import MAX_JSON_BYTES, MAX_METADATA_BYTES, read_json
from kdeov_mm.utils.records import LIST, NAMES, PATHS, TEXTS, check_records

from .coco_file import load_coco
from .splits import check_known

Captions = dict[str, list[str]]

KARPATHY_FIELDS = dict(filename=PATHS, filepath=TEXTS, split=NAMES, sentences=LIST)
COCO_FIELDS = dict(images=('id', 'file_name'), annotations=('image_id', 'caption'))


def check_file(path: str, what: str) -> None:
    """Raise FileNotFoundError if ``path`` does not exist."""
    if not os.path.exists(path):
        raise FileNotFoundError(f'{what} "{path}" does not exist; check data_root and the file\'s name')


def read_coco(path: str) -> Captions:
    """Read COCO's JSON with ``images`` and ``annotations`` (Chen et al. 2015, "Microsoft COCO captions").

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, lacks a field, or a caption is of an image that it does not list.
    """
    content = load_coco(path, COCO_FIELDS)
    names = {image['id']: image['file_name'] for image in content['images']}
    captions: Captions = {name: [] for name in names.values()}
    for row, record in enumerate(content['annotations']):
        if record['image_id'] not in names:
            raise InputError(
                f'annotation file "{printable(path)}": annotations[{row}] is of image '
                f'{short_repr(record["image_id"])}, which "images" does not list'
            )
        captions[names[record['image_id']]].append(record['caption'])
    return captions


def read_karpathy(path: str, split: str | Sequence[str] | None = None) -> Captions:
    """Read Karpathy's JSON (Karpathy and Fei-Fei 2015), such as ``dataset_flickr30k.json`` or ``dataset_coco.json``.

    Args:
        path: The file.
        split: ``train``, ``val``, ``test``, for COCO also ``restval``, or several of them; None reads all.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, is not of this layout, or has no such split.
    """
    check_file(path, 'annotation file')
    source = f'annotation file "{printable(path)}"'
    content = read_json(path, object, what='annotation file')
    if not isinstance(content, dict) or not isinstance(content.get('images'), list):
        raise InputError(
            f"{source} is not in Karpathy's layout, images[] with filename, split and sentences[].raw; it has no list "
            '"images"'
        )
    images = content['images']
    source = f"{source}, in Karpathy's layout"
    check_records(images, KARPATHY_FIELDS, ('filename', 'split', 'sentences'), source, 'images')
    for row, image in enumerate(images):
        check_records(image['sentences'], dict(raw=TEXTS), ('raw',), source, f'images[{row}].sentences')
    splits = list(dict.fromkeys(image['split'] for image in images))
    names = ['/'.join(filter(None, (image.get('filepath'), image['filename']))) for image in images]
    texts = [[sentence['raw'] for sentence in image['sentences']] for image in images]
    wanted = splits if split is None else [split] if isinstance(split, str) else list(split)
    check_known(wanted, splits, f'split of "{path}"')
    return {name: text for name, text, image in zip(names, texts, images) if image['split'] in wanted}


def read_table(path: str, columns: Sequence[str | int] = ('filepath', 'title')) -> Captions:
    """Read a TSV (by its suffix) or CSV with one pair a row; several rows of one image are several captions.

    Args:
        path: The file, UTF-8, quoted as CSV is.
        columns: Columns of image and caption: names in the first row, or indices from 0 if there is no such row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing, a row is too short or has no image, quotes are broken, or the file is not
            UTF-8.
    """
    check_file(path, 'annotation file')
    if len(columns) != 2 or len({type(column) for column in columns}) != 1:
        raise ValueError(f'columns must be two names or two numbers, of image and caption, got {columns!r}')
    delimiter = '\t' if path.endswith('.tsv') else ','
    captions: Captions = {}
    with open_regular(path, MAX_JSON_BYTES, 'annotation file') as opened:
        file = io.TextIOWrapper(opened, encoding='utf-8-sig', newline='')
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            image, text = columns
            if isinstance(image, str):
                header = next(rows, [])
                check_known(columns, header, f'columns of "{path}"')
                image, text = header.index(image), header.index(text)
            for row in rows:
                if not row:
                    continue
                if len(row) <= max(image, text) or not row[image].strip():
                    raise ValueError(
                        f'annotation file "{path}", line {rows.line_num}: no image in column {image} and '
                        f'caption in column {text}: {row!r:.200}'
                    )
                captions.setdefault(row[image].strip(), []).append(row[text])
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f'annotation file "{path}", line {rows.line_num}: {error}; check its quotes, delimiter '
                f'({delimiter!r}) and encoding (UTF-8)'
            ) from error
    return captions


def read_flickr8k(path: str, split_file: str | None = None) -> Captions:
    """Read Flickr8k's ``captions.txt`` (``image,caption``).

    A split file such as ``Flickr_8k.trainImages.txt`` restricts the images; it has one name a line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If :func:`read_table` fails, or the split file lists images twice or without captions.
    """
    captions = read_table(path, ('image', 'caption'))
    if split_file is None:
        return captions
    check_file(split_file, 'split file')
    content = read_file(split_file, MAX_METADATA_BYTES, 'split file')
    try:
        lines = content.decode('utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'split file "{printable(split_file)}" is not UTF-8 text: {error}') from error
    names = [line.strip() for line in lines if line.strip()]
    check_known(names, list(captions), f'split file "{split_file}"')
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise ValueError(f'split file "{split_file}" lists images twice: {repeated[:5]}')
    return {name: captions[name] for name in names}


def read_folder(folder: str) -> Captions:
    """List all images below a folder, sorted by path, without captions.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no image in it.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'image folder "{folder}" does not exist; check data_root and data_prefix')
    images = [os.path.relpath(path, folder) for path in find_image_files(folder)]
    if not images:
        raise ValueError(f'image folder "{folder}" has no images: files that end in {", ".join(IMAGE_SUFFIXES)}')
    return {path: [] for path in images}
