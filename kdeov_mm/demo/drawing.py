"""Boxes with names in a picture, with Pillow alone."""

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = ('#e6194b', '#3cb44b', '#4363d8', '#f58231', '#911eb4', '#008080', '#9a6324', '#800000', '#808000', '#000075')
LEAST_SIDE, MOST_SIDE = 640, 1600  # pixels of the picture's longer side


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: Sequence[int], captions: Sequence[str]) -> Image.Image:
    """Draw boxes, the first on top.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        boxes: xyxy in pixels, ``[M, 4]``.
        labels: M integers; equal ones get one colour.
        captions: M texts.
    """
    side = max(image.shape[:2])
    factor = max(LEAST_SIDE / side, 1) if side < LEAST_SIDE else min(MOST_SIDE / side, 1)
    picture = Image.fromarray(image)
    picture = picture.resize([max(round(side * factor), 1) for side in picture.size])
    unit = max(picture.size) / 640
    font, draw = ImageFont.load_default(14 * unit), ImageDraw.Draw(picture)
    for box, label, caption in reversed(list(zip(boxes * factor, labels, captions))):
        colour = COLOURS[label % len(COLOURS)]
        left, top, right, bottom = box.tolist()
        draw.rectangle((left, top, right, bottom), outline=colour, width=max(round(2 * unit), 1))
        length, line = font.getlength(caption) + 4 * unit, 17 * unit
        x, y = max(min(left, picture.width - length), 0), max(top - line, 0)
        draw.rectangle((x, y, x + length, y + line), fill=colour)
        draw.text((x + 2 * unit, y), caption, fill='white', font=font)
    return picture
