"""Drawing of results with Pillow."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's colours, which colour-blind readers can distinguish; the light ones get dark text.
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00', '#F0E442')
LIGHT = ('#56B4E9', '#F0E442')
INK, GREY = '#222222', '#9A9A9A'
MIN_SIDE, MAX_SIDE = 640, 1600  # pixels of the picture's longer side
CELL = 200  # pixels of an image in a grid
MAX_CAPTION = 60  # characters


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: Sequence[int], captions: Sequence[str]) -> Image.Image:
    """Draw boxes with captions, the first on top.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        boxes: x1, y1, x2, y2 in pixels of the image, ``[M, 4]``.
        labels: M integers; equal labels get the same colour.
        captions: M texts.
    """
    side = max(image.shape[:2])
    factor = max(MIN_SIDE / side, 1) if side < MIN_SIDE else min(MAX_SIDE / side, 1)
    picture = Image.fromarray(image)
    picture = picture.resize([max(round(side * factor), 1) for side in picture.size])
    unit = max(picture.size) / 640
    draw = ImageDraw.Draw(picture)
    for box, label, caption in reversed(list(zip(boxes * factor, labels, captions))):
        colour = COLOURS[label % len(COLOURS)]
        left, top, right, bottom = box.tolist()
        draw.rectangle((left, top, right, bottom), outline=colour, width=max(round(2 * unit), 1))
        text = ellipsize(caption)
        length, line = font(14 * unit).getlength(text) + 4 * unit, 18 * unit
        x = left if left + right < picture.width else right - length  # captions grow towards the middle
        x, y = max(min(x, picture.width - length), 0), max(top - line, 0)
        draw.rectangle((x, y, x + length, y + line), fill=colour)
        draw.text((x + 2 * unit, y), text, fill=INK if colour in LIGHT else 'white', font=font(14 * unit))
    return picture


def draw_probabilities(image: np.ndarray, names: Sequence[str], probabilities: Sequence[float]) -> Image.Image:
    """Draw an image beside bars of the probabilities of M class names, best first."""
    height, line = 400, 40
    left = fit(image, 400, height)
    picture = Image.new('RGB', (900, max(height, line * len(names) + 20)), 'white')
    picture.paste(left, ((400 - left.width) // 2, (height - left.height) // 2))
    draw = ImageDraw.Draw(picture)
    for i, (name, probability) in enumerate(zip(names, probabilities)):
        y = 10 + line * i
        draw.text((420, y), ellipsize(name, 48), fill=INK, font=font(14))
        draw.rectangle((420, y + 20, 420 + 400 * probability, y + 32), fill=COLOURS[0])
        draw.text((426 + 400 * probability, y + 17), f'{probability:.2f}', fill=INK, font=font(13))
    return picture


def draw_grid(title: str, cells: Sequence[tuple[np.ndarray, str]], columns: int = 5) -> Image.Image:
    """Draw images, uint8 RGB ``[H, W, 3]`` each, with a caption below each and a title above all."""
    rows = -(-len(cells) // columns)
    width = CELL * max(min(columns, len(cells)), 3)
    picture = Image.new('RGB', (width, 40 + rows * (CELL + 24)), 'white')
    draw = ImageDraw.Draw(picture)
    draw.text((10, 8), ellipsize(title, width // 9), fill=INK, font=font(16))
    for i, (image, caption) in enumerate(cells):
        row, column = divmod(i, columns)
        x, y = CELL * column, 40 + row * (CELL + 24)
        small = fit(image, CELL - 8, CELL - 8)
        picture.paste(small, (x + (CELL - small.width) // 2, y + (CELL - small.height) // 2))
        text = ellipsize(caption, 26)
        draw.text((x + (CELL - font(13).getlength(text)) / 2, y + CELL), text, fill=INK, font=font(13))
    return picture


def fit(image: np.ndarray, width: int, height: int) -> Image.Image:
    """Resize an image, uint8 RGB ``[H, W, 3]``, to fit into a width and a height, keeping its aspect ratio."""
    picture = Image.fromarray(image)
    factor = min(width / picture.width, height / picture.height)
    return picture.resize((max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)))


@lru_cache(maxsize=32)
def font(size: float) -> ImageFont.FreeTypeFont:
    """Return Matplotlib's font, which has more alphabets, or Pillow's own if Matplotlib is not installed."""
    spec = find_spec('matplotlib')  # finds the folder without importing it
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, 'mpl-data/fonts/ttf/DejaVuSans.ttf')
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def ellipsize(text: str, length: int = MAX_CAPTION) -> str:
    """Return at most ``length`` characters of a text."""
    return text if len(text) <= length else text[: length - 1].rstrip() + '…'
