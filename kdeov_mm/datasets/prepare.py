"""Checks of the data that a config names, and generation of the shapes dataset."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric, LVISMetric
from mmengine.config import Config
from mmengine.dist import barrier, init_dist, is_distributed, is_main_process

from kdeov_mm.utils.config import find_classes
from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.json_files import read_json
from .shapes import ensure_world

COCO_FIELDS = ('images', 'annotations', 'categories')
CAPTION_FIELDS = ('images', 'annotations')
COCO_CLASSES = (CocoDataset, CocoMetric, LVISMetric)


def prepare_data(cfg: Config, *loops: str) -> None:
    """Generate the shapes dataset if the config describes one, then check the data of the loops.

    Args:
        cfg: Config; ``shapes_world``, if present, holds the arguments of ``ensure_world``.
        loops: Any of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        InputError: If a folder or file is absent or empty, or an annotation file is not valid.
    """
    world = cfg.get('shapes_world')
    if world is not None:
        if cfg.get('launcher', 'none') != 'none' and not is_distributed():
            init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
        if is_main_process():
            ensure_world(**world)
        barrier()
    for loop in loops:
        for part in (f'{loop}_dataloader', f'{loop}_evaluator'):
            for name, node in dicts(cfg.get(part), part):
                check_dataset(name, node)


def dicts(node: Any, name: str) -> Iterator[tuple[str, dict]]:
    """Yield all dicts in a part of a config, with their dotted names."""
    if isinstance(node, dict):
        yield name, node
        node = node.items()
    elif isinstance(node, (list, tuple)):
        node = enumerate(node)
    else:
        return
    for key, value in node:
        yield from dicts(value, f'{name}.{key}')


def check_dataset(name: str, node: dict) -> None:
    """Check the folders and files that one dict of a config names.

    Raises:
        InputError: See :func:`prepare_data`.
    """
    root = node.get('data_root')
    if is_local(root):
        check_folder(f'{name}.data_root', root, 'put the data set there or give --data-root FOLDER')
    coco = any(isinstance(c, type) and issubclass(c, COCO_CLASSES) for c in find_classes(node.get('type')))
    image = None
    for field, needed in (('ann_file', COCO_FIELDS if coco else ()), ('caption_file', CAPTION_FIELDS)):
        if is_local(node.get(field)):
            path = join(root, node[field])
            if not os.path.exists(path):
                raise InputError(f'{name}.{field}: {path} does not exist; check data_root and {field}')
            if needed:
                first = check_coco(f'{name}.{field}', path, needed, os.stat(path).st_mtime_ns)
                image = first if field == 'ann_file' else image
    prefix = node.get('data_prefix')
    for key, folder in prefix.items() if isinstance(prefix, dict) else ():
        if not is_local(folder):
            continue
        folder = join(root, folder)
        check_folder(f'{name}.data_prefix.{key}', folder, 'check data_root and data_prefix')
        if key == 'img' and image and not os.path.exists(os.path.join(folder, image)):
            raise InputError(
                f'{name}.data_prefix.img: {folder} has no {image}, the first image of {node["ann_file"]}; '
                'check that images and annotations belong together'
            )


def is_local(path: Any) -> bool:
    return isinstance(path, str) and path != '' and '://' not in path


def join(root: str | None, path: str) -> str:
    return os.path.join(root, path) if root else path


def check_folder(name: str, folder: str, fix: str) -> None:
    """Raise :class:`InputError` unless ``folder`` is a folder with something in it."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f'{name}: folder {folder} does not exist; {fix}')
    if not any(path.iterdir()):
        raise InputError(f'{name}: folder {folder} is empty; {fix}')


@lru_cache(maxsize=None)
def check_coco(name: str, path: str, needed: tuple[str, ...], changed: int) -> str | None:
    """Check that a file is JSON and has the lists ``needed``; return the file name of its first image.

    Results are cached by path and modification time ``changed``, as several parts of a config may name one file.

    Raises:
        InputError: If the file is not JSON or lacks a list.
    """
    content = read_json(path, object, what=f'{name}: annotation file')
    for field in needed:
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise InputError(
                f'{name}: {path} is no COCO file: it has no list {field!r}; expected the lists {", ".join(needed)}'
            )
    if not content['images'] or not isinstance(content['images'][0], dict):
        raise InputError(f'{name}: {path} names no images; check that it is the file you mean')
    file_name = content['images'][0].get('file_name')
    if not isinstance(file_name, (str, type(None))):
        raise InputError(
            f'{name}: {path}: images[0].file_name is {short_repr(file_name)}; expected the path of an image'
        )
    return file_name
