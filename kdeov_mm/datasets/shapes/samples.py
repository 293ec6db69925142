"""Images of the shapes dataset with their objects and captions."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .captions import MAX_NAMED, write_caption
from .concepts import SPLITS, seeded
from .drawing import COLOURS, SHAPES, TEXTURES, draw_image
from .hard import draw_hard_image

SINGLE_EXTENT = (0.3, 0.75)  # the longer side of an object, relative to the image's side
HYPERNYM_RATIO, EMPTY_RATIO = 0.1, 0.03  # of captions and of images in the teacher's split
VALUES = dict(texture=TEXTURES, colour=tuple(COLOURS), shape=tuple(SHAPES))


class Style(NamedTuple):
    """A kind of image."""

    version: int  # grows when the images of a seed change
    draw: Callable  # an image and its objects
    objects: tuple[int, int]  # in a scene
    extent: tuple[float, float]  # of a scene's objects, as SINGLE_EXTENT
    near_misses: float = 0.0  # fraction of a scene's objects that differ from another one in one attribute only


STYLES = dict(
    plain=Style(2, draw_image, (2, 4), (0.25, 0.5)),
    hard=Style(1, draw_hard_image, (5, 15), (0.0, 0.35), near_misses=0.4),
)


def split_samples(
    split: str, seed: int, num_images: int, image_size: int, concepts: Sequence[dict], style: str = 'plain'
) -> Iterator[tuple[np.ndarray, list[dict], list[str]]]:
    """Yield (uint8 RGB image, objects as in :func:`draw_image`, captions) of each image of a split.

    In ``teacher`` and ``train`` every other image has a single object, and the concepts take turns. ``val`` and
    ``test`` are scenes. ``test_single`` has single objects, and the concepts take turns.
    """
    code, kind = SPLITS.index(split), STYLES[style]
    allowed = [concept for concept in concepts if split != 'train' or concept['group'] != 'unseen']
    known = {tuple(concept['attributes'].values()): concept for concept in allowed}
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
            count = rng.integers(kind.objects[0], kind.objects[1] + 1)
            chosen = [allowed[pick] for pick in rng.integers(0, len(allowed), count)]
            if kind.near_misses:
                chosen = with_near_misses(rng, chosen, known, kind.near_misses)
        extent = SINGLE_EXTENT if single else kind.extent
        image, objects = kind.draw(rng, image_size, chosen, extent)
        while chosen and not single and len(objects) < kind.objects[0]:
            image, objects = kind.draw(rng, image_size, chosen, extent)
        captions = []
        if split != 'train' or all(item['concept']['group'] == 'base' for item in objects[:MAX_NAMED]):
            for sized in (True, rng.random() < 0.5):  # the first caption is complete
                hypernym = split == 'teacher' and rng.random() < HYPERNYM_RATIO
                captions.append(write_caption(rng, objects, sized, hypernym))
            if split == 'teacher':
                captions.append(write_caption(rng, objects, sized=False, bare=True))
        yield image, objects, captions


def with_near_misses(
    rng: np.random.Generator, chosen: Sequence[dict], known: dict[tuple, dict], ratio: float
) -> list[dict]:
    """Replace about this ratio of the concepts by ones that differ from an earlier one in one attribute.

    Args:
        chosen: Concepts of a scene.
        known: The concepts that a scene may have, by their attributes' values.
        ratio: Probability of each but the first concept to be replaced.
    """
    result = list(chosen[:1])
    for concept in chosen[1:]:
        attributes = dict(result[rng.integers(len(result))]['attributes'])
        name = list(VALUES)[rng.integers(len(VALUES))]
        attributes[name] = str(rng.choice([value for value in VALUES[name] if value != attributes[name]]))
        near = known.get(tuple(attributes.values()))
        result.append(near if near is not None and rng.random() < ratio else concept)
    return result
