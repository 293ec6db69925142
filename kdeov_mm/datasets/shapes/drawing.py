"""Drawing of the shapes dataset: outlines, textures, colours, and images with the boxes of their objects."""

from collections.abc import Sequence

import cv2
import numpy as np

TEXTURES = ('solid', 'striped', 'dotted')
COLOURS = dict(  # RGB, 0 to 255
    red=(220, 25, 30),
    orange=(255, 130, 0),
    yellow=(250, 230, 20),
    green=(20, 150, 40),
    cyan=(20, 215, 225),
    blue=(20, 50, 215),
    purple=(125, 25, 165),
    pink=(255, 130, 190),
    white=(248, 248, 248),
    black=(12, 12, 12),
)
SIZE_WORDS = (('small', 0.34), ('medium', 0.43), ('large', 1.0))  # each with its maximum extent
MAX_ROTATION = 20  # degrees to either side
MAX_IOU, MAX_COVERED = 0.1, 0.15  # of two boxes in a scene; intersection over the smaller box


# ---------------------------------------------------------------------------------------------- outlines
def _arc(radius: float, start: float, stop: float, points: int = 48, centre=(0.0, 0.0)) -> np.ndarray:
    angles = np.radians(np.linspace(start, stop, points))
    return np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], 1)


def _star() -> np.ndarray:
    angles = np.radians(np.arange(10) * 36 - 90)
    radii = np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]
    return radii * np.stack([np.cos(angles), np.sin(angles)], 1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], 1)


def _clover() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = 0.6 - 0.4 * np.cos(4 * t)  # four leaves on the diagonals, so a rotated cross is no clover
    return radius[:, None] * np.stack([np.cos(t), np.sin(t)], 1)


# name: the closed outlines of the shape (filled even-odd), x to the right, y down; any scale
SHAPES = dict(
    circle=[_arc(1, 0, 360)],
    square=[np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])],
    triangle=[np.array([(0, -0.95), (1, 0.85), (-1, 0.85)])],
    star=[_star()],
    heart=[_heart()],
    cross=[
        np.array(
            [
                (-0.36, -1),
                (0.36, -1),
                (0.36, -0.36),
                (1, -0.36),
                (1, 0.36),
                (0.36, 0.36),
                (0.36, 1),
                (-0.36, 1),
                (-0.36, 0.36),
                (-1, 0.36),
                (-1, -0.36),
                (-0.36, -0.36),
            ]
        )
    ],
    ring=[_arc(1, 0, 360), _arc(0.5, 0, 360)],
    moon=[np.concatenate([_arc(1, 50, 310), _arc(0.83, -67, -293, centre=(0.318, 0))])],
    arrow=[np.array([(-1, -0.33), (0.05, -0.33), (0.05, -0.9), (1, 0), (0.05, 0.9), (0.05, 0.33), (-1, 0.33)])],
    bolt=[np.array([(0.1, -1), (0.75, -1), (0.3, -0.3), (0.8, -0.3), (-0.5, 1), (-0.12, 0.12), (-0.7, 0.12)])],
    hourglass=[np.array([(-0.8, -1), (0.8, -1), (0.16, 0), (0.8, 1), (-0.8, 1), (-0.16, 0)])],
    clover=[_clover()],
    diamond=[np.array([(0, -1), (0.55, 0), (0, 1), (-0.55, 0)])],
    semicircle=[_arc(1, 180, 360)],
    chevron=[np.array([(-0.8, -1), (-0.05, -1), (0.8, 0), (-0.05, 1), (-0.8, 1), (0.05, 0)])],
    fish=[np.concatenate([_arc(1, -157, 157) * (0.68, 0.55) + (0.32, 0), [(-1, 0.6), (-0.75, 0), (-1, -0.6)]])],
)


# ---------------------------------------------------------------------------------------------- images
def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a smooth, dull gradient with a few faint lines and blobs, float32 RGB [size, size, 3]."""
    cells = rng.uniform(75, 180) + rng.uniform(-35, 35, (4, 4, 1)) + rng.uniform(-22, 22, (4, 4, 3))
    image = cv2.resize(cells.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 4)):
        colour = (image[tuple(rng.integers(0, size, 2))] + rng.uniform(-30, 30, 3)).tolist()
        start, end = rng.integers(0, size, (2, 2)).tolist()
        if rng.random() < 0.6:
            cv2.line(image, start, end, colour, int(rng.integers(1, 3)), cv2.LINE_AA)
        else:
            axes = (rng.uniform(0.05, 0.2, 2) * size).astype(int).tolist()
            cv2.ellipse(image, start, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return image.clip(55, 200)


def outline(rng: np.random.Generator, shape: str, extent: float) -> list[np.ndarray]:
    """Return the shape's outlines, slightly rotated and stretched.

    Returns:
        Float [N, 2] each, in pixels; their common box starts at (0, 0), and its longer side is the extent.
    """
    angle = np.radians(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.array([rng.uniform(0.88, 1.12), 1.0])
    contours = [points * stretch @ turn for points in SHAPES[shape]]
    corner = np.min([points.min(0) for points in contours], 0)
    far = np.max([points.max(0) for points in contours], 0)
    return [(points - corner) * (extent / (far - corner).max()) for points in contours]


def sides(contours: list[np.ndarray]) -> np.ndarray:
    """Return width and height of the box of outlines from :func:`outline`, [2]."""
    return np.max([points.max(0) for points in contours], 0)


def size_word(ratio: float) -> str:
    """Return the word for an extent relative to the image's side."""
    return next(word for word, limit in SIZE_WORDS if ratio < limit)


def _texture(rng: np.random.Generator, texture: str, extent: float, w: int, h: int) -> np.ndarray:
    """Return the ratio of the companion tone at each pixel of a patch, 0 to 1, float32 [h, w]."""
    if texture == 'solid':
        return np.zeros((h, w), np.float32)
    period = max(6.5, (0.2 if texture == 'striped' else 0.23) * extent)
    angle, shift = rng.uniform(0, np.pi), rng.uniform(0, period, 2)
    x, y = np.arange(w, dtype=np.float32) + shift[0], (np.arange(h, dtype=np.float32) + shift[1])[:, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if texture == 'striped':
        distance = np.abs(u / period % 1 - 0.5) * period - 0.21 * period
    else:  # dots on a square lattice
        distance = np.hypot(u / period % 1 - 0.5, v / period % 1 - 0.5) * period - 0.3 * period
    return np.clip(0.5 - distance, 0, 1)


def _tones(rng: np.random.Generator, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the jittered colour and the lighter or darker companion tone of its textures; RGB."""
    tone = np.array(COLOURS[colour], np.float32)
    light = tone @ np.array([0.299, 0.587, 0.114], np.float32) > 115
    companion = tone * 0.3 if light else 255 - (255 - tone) * 0.3
    if colour in ('white', 'black'):  # a grey: black stripes on white would be white stripes on black
        companion = np.full(3, 90 if light else 165, np.float32)
    gain, shift = rng.uniform(0.88, 1.08), rng.uniform(-8, 8, 3)
    return tone * gain + shift, companion * gain + shift


def rasterize(contours: list[np.ndarray], corner: np.ndarray, size: int) -> tuple[int, int, np.ndarray]:
    """Rasterize an outline in an image of this size.

    Args:
        contours: Outlines from :func:`outline`.
        corner: x and y in pixels of the top left corner of the contours' box.
        size: Side of the square image in pixels.

    Returns:
        x and y of the mask's first pixel, and the coverage of each pixel, uint8 [h, w], 0 to 255.
    """
    scale = 4  # supersampling
    origin = np.floor(corner).astype(int)
    w, h = (np.ceil(sides(contours) + corner - origin).astype(int) + 1).tolist()
    mask = np.zeros((h * scale, w * scale), np.uint8)
    points = [np.round((contour + corner - origin) * scale * 16).astype(np.int32) for contour in contours]
    cv2.fillPoly(mask, points, 255, shift=4)
    mask = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA)
    x, y = origin.tolist()
    return x, y, mask[: size - y, : size - x]


def paint(rng: np.random.Generator, patch: np.ndarray, attributes: dict, extent: float, mask: np.ndarray) -> None:
    """Paint an object of this extent into a patch of the float32 RGB image, in place, where its mask is."""
    h, w = mask.shape
    tone, companion = _tones(rng, attributes['colour'])
    ratio = _texture(rng, attributes['texture'], extent, w, h)[..., None]
    alpha = mask[..., None].astype(np.float32) / 255
    patch += alpha * (tone + ratio * (companion - tone) - patch)


def draw_object(
    rng: np.random.Generator, image: np.ndarray, attributes: dict, contours: list[np.ndarray], corner: np.ndarray
) -> tuple[list[int], int]:
    """Draw one object into the float32 RGB image in place.

    Args:
        contours: Outlines from :func:`outline`.
        corner: x and y in pixels of the top left corner of the contours' box.

    Returns:
        The tight COCO box ``[x, y, w, h]`` of the pixels that the object covers by at least half, and their count.
    """
    x, y, mask = rasterize(contours, corner, len(image))
    h, w = mask.shape
    paint(rng, image[y : y + h, x : x + w], attributes, float(sides(contours).max()), mask)
    covered = (mask >= 128).astype(np.uint8)
    bx, by, bw, bh = cv2.boundingRect(covered)
    return [x + bx, y + by, bw, bh], int(covered.sum())


def _place(rng: np.random.Generator, size: int, extents: np.ndarray, boxes: list) -> np.ndarray | None:
    """Return a random free corner for a box of these extents [2], or None after 30 failed attempts."""
    for _ in range(30):
        corner = rng.uniform(0, size - extents)
        for other in boxes:
            shared = np.minimum(corner + extents, other[2:]) - np.maximum(corner, other[:2])
            both = max(shared[0], 0) * max(shared[1], 0)
            areas = extents.prod(), (other[2:] - other[:2]).prod()
            # rounding by a pixel on each side must not push a pair over the limit
            if both > 0.9 * MAX_COVERED * min(areas) or both > 0.8 * MAX_IOU * (sum(areas) - both):
                break
        else:
            return corner
    return None


def draw_image(
    rng: np.random.Generator, size: int, concepts: Sequence[dict], extent: tuple[float, float]
) -> tuple[np.ndarray, list[dict]]:
    """Draw as many of the concepts as fit; the first always fits.

    Returns:
        uint8 RGB image [size, size, 3], and for each object drawn ``dict(concept, bbox, area, size)``: the
        tight COCO box, the pixels of its mask, and the word for its size.
    """
    image = draw_background(rng, size)
    boxes, objects = [], []
    for concept in concepts:
        ratio = rng.uniform(*extent)
        contours = outline(rng, concept['attributes']['shape'], ratio * size)
        extents = sides(contours)
        corner = _place(rng, size, extents, boxes)
        if corner is None:
            continue
        boxes.append(np.concatenate([corner, corner + extents]))
        bbox, area = draw_object(rng, image, concept['attributes'], contours, corner)
        objects.append(dict(concept=concept, bbox=bbox, area=area, size=size_word(ratio)))
    image += rng.uniform(3, 9) * rng.standard_normal(image.shape, np.float32)
    return image.clip(0, 255).round().astype(np.uint8), objects
