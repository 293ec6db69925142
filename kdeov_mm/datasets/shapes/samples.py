"""Images of the shapes dataset with their objects and captions."""

from collections.abc import Iterator, Sequence

import numpy as np

from .captions import write_caption
from .concepts import SPLITS, seeded
from .drawing import draw_image

SCENE_OBJECTS = (2, 4)
SCENE_EXTENT = (0.25, 0.5)  # the longer side of an object's box, relative to the image's side
SINGLE_EXTENT = (0.3, 0.75)
HYPERNYM_RATIO, EMPTY_RATIO = 0.1, 0.03  # of captions and of images in the teacher's split


def split_samples(
    split: str, seed: int, num_images: int, image_size: int, concepts: Sequence[dict]
) -> Iterator[tuple[np.ndarray, list[dict], list[str]]]:
    """Yield (uint8 RGB image, objects as in :func:`draw_image`, captions) of each image of a split.

    In ``teacher`` and ``train`` every other image has a single object, and the concepts take turns. ``val`` and
    ``test`` are scenes. ``test_single`` has single objects, and the concepts take turns.
    """
    code = SPLITS.index(split)
    allowed = [concept for concept in concepts if split != 'train' or concept['group'] != 'unseen']
    order = seeded(seed, code).permutation(len(allowed))
    for index in range(num_images):
        rng = seeded(seed, code, index)
        single = split == 'test_single' or (split in ('teacher', 'train') and index % 2 == 0)
        if split == 'teacher' and rng.random() < EMPTY_RATIO:
            chosen = []
        elif single:
            step = index if split == 'test_single' else index // 2
            chosen = [allowed[order[step % len(allowed)]]]
        else:
            count = rng.integers(SCENE_OBJECTS[0], SCENE_OBJECTS[1] + 1)
            chosen = [allowed[pick] for pick in rng.integers(0, len(allowed), count)]
        extent = SINGLE_EXTENT if single else SCENE_EXTENT
        image, objects = draw_image(rng, image_size, chosen, extent)
        while chosen and not single and len(objects) < SCENE_OBJECTS[0]:
            image, objects = draw_image(rng, image_size, chosen, extent)
        captions = []
        if split != 'train' or all(item['concept']['group'] == 'base' for item in objects):
            for sized in (True, rng.random() < 0.5):  # the first caption is complete
                hypernym = split == 'teacher' and rng.random() < HYPERNYM_RATIO
                captions.append(write_caption(rng, objects, sized, hypernym))
            if split == 'teacher':
                captions.append(write_caption(rng, objects, sized=False, bare=True))
        yield image, objects, captions
