"""Writing of a split of the shapes dataset as a COCO data set with captions."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from kdeov_mm.utils.files import write_atomically
from .samples import STYLES, split_samples

JPEG_QUALITY = 92


def write_split(root: Path, split: str, config: dict, concepts: list[dict]) -> None:
    """Write one split; its image folder is renamed into place last, so a split that has the folder is complete."""
    part = root / f'.{split}.part'
    for stale in (part, root / split):
        if stale.exists():
            shutil.rmtree(stale)
    part.mkdir()
    num_images, size = config['sizes'][split], config['image_size']
    images, annotations, captions = [], [], []
    samples = split_samples(split, config['seed'], num_images, size, concepts, config['style'])
    for image_id, (image, objects, texts) in enumerate(tqdm(samples, f'shapes dataset: {split}', num_images), 1):
        name = f'{image_id:012d}.jpg'
        (part / name).write_bytes(encode_image(image[..., ::-1], '.jpg', [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]))
        images.append(dict(id=image_id, file_name=name, width=size, height=size))
        for item in objects:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=item['concept']['id'],
                    bbox=item['bbox'],
                    area=item['area'],
                    iscrowd=0,
                    size=item['size'],
                )
            )
        captions += [
            dict(id=len(captions) + index, image_id=image_id, caption=text) for index, text in enumerate(texts, 1)
        ]
    info = dict(description=f'shapes world, {split}', version=str(STYLES[config['style']].version))
    folder = root / 'annotations'
    folder.mkdir(exist_ok=True)
    instances = dict(info=info, images=images, annotations=annotations, categories=concepts)
    write_atomically(folder / f'instances_{split}.json', json.dumps(instances))
    write_atomically(
        folder / f'captions_{split}.json', json.dumps(dict(info=info, images=images, annotations=captions))
    )
    os.replace(part, root / split)


def encode_image(image: np.ndarray, suffix: str, options: Sequence[int] = ()) -> bytes:
    """Encode a BGR image as ``cv2.imwrite`` does, which crashes if a path is not UTF-8.

    Raises:
        ValueError: If OpenCV has no format of this suffix.
    """
    try:
        encoded, content = cv2.imencode(suffix, image, list(options))
    except cv2.error as error:
        raise ValueError(f'OpenCV writes no {suffix!r} images; give a path that ends with .png or .jpg') from error
    if not encoded:
        raise ValueError(f'OpenCV cannot encode an image of shape {image.shape} as {suffix}')
    return content.tobytes()


def is_complete(root: Path, split: str) -> bool:
    """Return whether a split has its images and both of its annotation files."""
    return (root / split).is_dir() and all(
        (root / 'annotations' / f'{kind}_{split}.json').is_file() for kind in ('instances', 'captions')
    )
