"""Scenes of the hard shapes dataset: small objects that hide each other, on textures and in uneven light."""

from collections.abc import Sequence

import cv2
import numpy as np

from .backgrounds import draw_textured_background, light
from .drawing import outline, paint, rasterize, sides, size_word

MIN_SIDE = 8  # pixels: the longer side of an object's box
MIN_VISIBLE = 0.4  # fraction of an object's pixels that no other object hides
MIN_CONTRAST = 75  # mean change of the pixels that an object covers, before light; 0 to 255
OVERLAP = 0.35  # probability that an attempt puts an object on an earlier one


def draw_hard_image(
    rng: np.random.Generator, size: int, concepts: Sequence[dict], extent: tuple[float, float]
) -> tuple[np.ndarray, list[dict]]:
    """Draw as many of the concepts as fit; later objects hide parts of earlier ones, never of their own colour.

    Extents are log-uniform and at least :data:`MIN_SIDE` pixels.

    Returns:
        uint8 RGB image [size, size, 3], and for each object drawn, largest first, ``dict(concept, bbox, area, size)``:
        the tight COCO box of its visible pixels, their number, and the word for its whole size.
    """
    image = draw_textured_background(rng, size)
    owner = np.full((size, size), -1, np.int16)  # index of the object that each pixel shows
    objects: list[dict] = []
    for concept in concepts:
        pixels = float(np.exp(rng.uniform(*(np.log(max(ratio * size, MIN_SIDE)) for ratio in extent))))
        contours = outline(rng, concept['attributes']['shape'], pixels)
        for _ in range(30):
            corner = _corner(rng, size, sides(contours), objects)
            x, y, mask = rasterize(contours, corner, size)
            window, covered = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]], mask >= 128
            item = dict(concept=concept, size=size_word(pixels / size), corner=corner, whole=int(covered.sum()))
            after = _put(owner, window, covered, [*objects, item])
            if after is None:
                continue
            patch = image[window].copy()
            paint(rng, patch, concept['attributes'], pixels, mask)
            if np.abs(patch - image[window]).max(2)[covered].mean() >= MIN_CONTRAST:
                owner, image[window] = after, patch
                objects.append(item)
                break
    for index, item in enumerate(objects):
        item['bbox'], item['area'] = _visible(owner, index)
        del item['corner'], item['whole']
    image = light(rng, image).clip(0, 255).round().astype(np.uint8)
    return image, sorted(objects, key=lambda item: -item['area'])


def _corner(rng: np.random.Generator, size: int, extents: np.ndarray, objects: Sequence[dict]) -> np.ndarray:
    """Return a random corner for a box of these extents, often near an earlier object; x and y in pixels."""
    if objects and rng.random() < OVERLAP:
        near = objects[rng.integers(len(objects))]['corner']
        return (near + rng.uniform(-0.7, 0.7, 2) * extents).clip(0, size - extents)
    return rng.uniform(0, size - extents)


def _put(owner: np.ndarray, window: tuple, covered: np.ndarray, objects: Sequence[dict]) -> np.ndarray | None:
    """Return the owners of the pixels after the last object is put into its window; None if it may not be there."""
    new = len(objects) - 1
    touched = [index for index in np.unique(owner[window][covered]).tolist() if index >= 0]
    colours = [objects[index]['concept']['attributes']['colour'] for index in (*touched, new)]
    if colours[-1] in colours[:-1]:
        return None
    after = owner.copy()
    after[window][covered] = new
    for index in (*touched, new):
        bbox, area = _visible(after, index)
        if max(bbox[2:]) < MIN_SIDE or area < MIN_VISIBLE * objects[index]['whole']:
            return None
    return after


def _visible(owner: np.ndarray, index: int) -> tuple[list[int], int]:
    """Return the tight COCO box of the pixels that show an object, and their number."""
    shown = (owner == index).astype(np.uint8)
    return list(cv2.boundingRect(shown)), int(shown.sum())
