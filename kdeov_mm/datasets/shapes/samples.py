"""Images of the shapes world with their objects and captions, split by split."""

from typing import Iterator, Sequence

import numpy as np

from .captions import write_caption
from .concepts import SPLITS, seeded
from .drawing import draw_image

SCENE_OBJECTS = (2, 4)
SCENE_EXTENT = (0.25, 0.5)  # the longer side of an object's box, as a share of the image's side
SINGLE_EXTENT = (0.3, 0.75)
HYPERNYM_SHARE, EMPTY_SHARE = 0.1, 0.03  # in the teacher's split, of captions and of images


def split_samples(
    split: str, seed: int, number: int, image_size: int, concepts: Sequence[dict]
) -> Iterator[tuple[np.ndarray, list[dict], list[str]]]:
    """Yield (uint8 RGB image, objects as in :func:`draw_image`, captions) of each image of a split.

    In ``teacher`` and ``train`` every other image has a single object, of each concept in turn; ``val`` and
    ``test`` are scenes; ``test_single`` has single objects, of each concept in turn.
    """
    code = SPLITS.index(split)
    allowed = [concept for concept in concepts if split != 'train' or concept['group'] != 'unseen']
    turn = seeded(seed, code).permutation(len(allowed))
    for index in range(number):
        rng = seeded(seed, code, index)
        single = split == 'test_single' or (split in ('teacher', 'train') and index % 2 == 0)
        if split == 'teacher' and rng.random() < EMPTY_SHARE:
            chosen = []
        elif single:
            step = index if split == 'test_single' else index // 2
            chosen = [allowed[turn[step % len(allowed)]]]
        else:
            count = rng.integers(SCENE_OBJECTS[0], SCENE_OBJECTS[1] + 1)
            chosen = [allowed[pick] for pick in rng.integers(0, len(allowed), count)]
        extent = SINGLE_EXTENT if single else SCENE_EXTENT
        image, objects = draw_image(rng, image_size, chosen, extent)
        while chosen and not single and len(objects) < SCENE_OBJECTS[0]:
            image, objects = draw_image(rng, image_size, chosen, extent)
        captions = []
        if split != 'train' or all(item['concept']['group'] == 'base' for item in objects):
            for sized in (True, rng.random() < 0.5):  # the first says all there is to say
                hypernym = split == 'teacher' and rng.random() < HYPERNYM_SHARE
                captions.append(write_caption(rng, objects, sized, hypernym))
            if split == 'teacher':
                captions.append(write_caption(rng, objects, sized=False, bare=True))
        yield image, objects, captions
