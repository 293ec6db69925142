"""The shapes world: generated scenes of textured, coloured shapes, written as a COCO data set with captions.

:func:`ensure_world` is what configs and tools call. Every image is a function of (seed, split, index) alone,
so splits may be generated one at a time, in any order and by any number of processes.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Iterator, Optional, Sequence

import cv2
import numpy as np
from tqdm import tqdm

from kdeov_mm.utils.display import brief
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import write_atomically
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json
from kdeov_mm.utils.lock import lock_folder

VERSION = 2
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
GROUPS = ('base', 'recombined', 'novel', 'unseen')
SPLITS = ('teacher', 'train', 'val', 'test', 'test_single')  # a split's place is part of its images' seed
SIZES = dict(teacher=16000, train=4000, val=200, test=800, test_single=1920)
SHARES = dict(novel=0.25, unseen=0.1, recombined=0.1)

SCENE_OBJECTS = (2, 4)
SCENE_EXTENT = (0.25, 0.5)  # the longer side of an object's box, as a share of the image's side
SINGLE_EXTENT = (0.3, 0.75)
SIZE_WORDS = (('small', 0.34), ('medium', 0.43), ('large', 1.0))  # with the extent below which each is said
MAX_ROTATION = 20  # degrees to either side
MAX_IOU, MAX_COVERED = 0.1, 0.15  # of two boxes in a scene; and the intersection's share of the smaller
HYPERNYM_SHARE, EMPTY_SHARE = 0.1, 0.03  # in the teacher's split, of captions and of images
JPEG_QUALITY = 92


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
    radius = 0.6 - 0.4 * np.cos(4 * t)  # four leaves on the diagonals, so that a turned cross is no clover
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


# ---------------------------------------------------------------------------------------------- concepts
def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def world_concepts(seed: int = 0, shares: Optional[dict] = None) -> list[dict]:
    """The 480 concepts of the world, in an order that no seed changes, with the groups that the seed draws.

    Args:
        seed: the world's seed, at least 0.
        shares: ``novel`` is a share of the shapes; ``unseen`` and ``recombined`` are shares of the
            compositions of the other shapes. Missing ones are as in :data:`SHARES`.

    Returns:
        One ``dict(id, name, group, supercategory, attributes)`` a concept: a COCO category. ``id`` counts
        from 1, ``name`` is "{texture} {colour} {shape}", ``attributes`` holds these three by name.

    Raises:
        ValueError: for an impossible seed or share, or shares that leave an attribute without a base concept.
    """
    shares = _merge('shares', SHARES, shares)
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f'seed must be an integer of at least 0, got {seed!r}')
    if min(shares.values()) < 0 or shares['novel'] >= 1 or shares['unseen'] + shares['recombined'] >= 1:
        raise ValueError(f'shares must be at least 0, novel below 1 and unseen + recombined below 1, got {shares}')
    rng = _rng(seed, len(SPLITS))
    shapes = list(SHAPES)
    novel = set(rng.permutation(shapes)[: round(shares['novel'] * len(shapes))].tolist())
    attributes = [
        dict(texture=texture, colour=colour, shape=shape)
        for shape in shapes
        for colour in COLOURS
        for texture in TEXTURES
    ]
    known = [index for index, item in enumerate(attributes) if item['shape'] not in novel]
    n_unseen, n_recombined = (round(shares[name] * len(known)) for name in ('unseen', 'recombined'))
    wanted = {value for index in known for value in attributes[index].values()}
    for _ in range(100):
        order = rng.permutation(known).tolist()
        base = order[n_unseen + n_recombined :]
        if {value for index in base for value in attributes[index].values()} == wanted:
            break
    else:
        raise ValueError(
            f'no draw with the shares {shares} keeps each texture, colour and known shape in the base '
            'group; make unseen and recombined smaller'
        )
    group = dict.fromkeys(order[:n_unseen], 'unseen')
    group.update(dict.fromkeys(order[n_unseen : n_unseen + n_recombined], 'recombined'))
    group.update(dict.fromkeys(base, 'base'))
    return [
        dict(
            id=index + 1,
            name='{texture} {colour} {shape}'.format(**item),
            group=group.get(index, 'novel'),
            supercategory=item['shape'],
            attributes=item,
        )
        for index, item in enumerate(attributes)
    ]


def _merge(what: str, defaults: dict, given: Optional[dict]) -> dict:
    unknown = sorted(set(given or {}) - set(defaults))
    if unknown:
        raise ValueError(f'unknown {what}: {unknown}; known are {list(defaults)}')
    return {**defaults, **(given or {})}


# ---------------------------------------------------------------------------------------------- drawing
def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth, dull gradient with a few faint lines and blobs, float32 RGB [size, size, 3]."""
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
    """The shape's outlines, turned and stretched a little.

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


def _texture(rng: np.random.Generator, texture: str, extent: float, w: int, h: int) -> np.ndarray:
    """How much of the companion tone each pixel of a patch shows, 0 to 1, float32 [h, w]."""
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
    """The colour, jittered, and the lighter or darker companion tone that textures are drawn in; RGB."""
    tone = np.array(COLOURS[colour], np.float32)
    light = tone @ np.array([0.299, 0.587, 0.114], np.float32) > 115
    companion = tone * 0.3 if light else 255 - (255 - tone) * 0.3
    if colour in ('white', 'black'):  # a grey: black stripes on white would be white stripes on black
        companion = np.full(3, 90 if light else 165, np.float32)
    gain, shift = rng.uniform(0.88, 1.08), rng.uniform(-8, 8, 3)
    return tone * gain + shift, companion * gain + shift


def draw_object(
    rng: np.random.Generator, image: np.ndarray, attributes: dict, contours: list[np.ndarray], corner: np.ndarray
) -> tuple[list[int], int]:
    """Draw one object into the float32 RGB image in place.

    Args:
        contours: from :func:`outline`.
        corner: x and y, in pixels, of the corner of the contours' box.

    Returns:
        The tight COCO box ``[x, y, w, h]`` of the pixels that the object covers at least half of, and their
        number.
    """
    scale = 4  # supersampling
    origin = np.floor(corner).astype(int)
    extent = np.max([points.max(0) for points in contours], 0)
    w, h = (np.ceil(extent + corner - origin).astype(int) + 1).tolist()
    mask = np.zeros((h * scale, w * scale), np.uint8)
    points = [np.round((contour + corner - origin) * scale * 16).astype(np.int32) for contour in contours]
    cv2.fillPoly(mask, points, 255, shift=4)
    mask = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA)
    x, y = origin.tolist()
    mask = mask[: image.shape[0] - y, : image.shape[1] - x]
    h, w = mask.shape
    tone, companion = _tones(rng, attributes['colour'])
    share = _texture(rng, attributes['texture'], float(extent.max()), w, h)[..., None]
    alpha = mask[..., None].astype(np.float32) / 255
    patch = image[y : y + h, x : x + w]
    patch += alpha * (tone + share * (companion - tone) - patch)
    covered = (mask >= 128).astype(np.uint8)
    bx, by, bw, bh = cv2.boundingRect(covered)
    return [x + bx, y + by, bw, bh], int(covered.sum())


def _place(rng: np.random.Generator, size: int, extents: np.ndarray, boxes: list) -> Optional[np.ndarray]:
    """A random free corner for a box of these extents [2], or None where there seems to be none."""
    for _ in range(30):
        corner = rng.uniform(0, size - extents)
        for other in boxes:
            sides = np.minimum(corner + extents, other[2:]) - np.maximum(corner, other[:2])
            both = max(sides[0], 0) * max(sides[1], 0)
            areas = extents.prod(), (other[2:] - other[:2]).prod()
            # a pixel of rounding on each side must not push a pair over the limit: ask for a little less
            if both > 0.9 * MAX_COVERED * min(areas) or both > 0.8 * MAX_IOU * (sum(areas) - both):
                break
        else:
            return corner
    return None


def draw_image(
    rng: np.random.Generator, size: int, concepts: Sequence[dict], extent: tuple[float, float]
) -> tuple[np.ndarray, list[dict]]:
    """Draw the concepts, as many as find a place (the first always does).

    Returns:
        uint8 RGB image [size, size, 3], and for each object drawn ``dict(concept, bbox, area, size)``: the
        tight COCO box, the pixels of its mask, and the word for its size.
    """
    image = draw_background(rng, size)
    boxes, objects = [], []
    for concept in concepts:
        share = rng.uniform(*extent)
        contours = outline(rng, concept['attributes']['shape'], share * size)
        sides = np.max([points.max(0) for points in contours], 0)
        corner = _place(rng, size, sides, boxes)
        if corner is None:
            continue
        boxes.append(np.concatenate([corner, corner + sides]))
        bbox, area = draw_object(rng, image, concept['attributes'], contours, corner)
        word = next(word for word, limit in SIZE_WORDS if share < limit)
        objects.append(dict(concept=concept, bbox=bbox, area=area, size=word))
    image += rng.uniform(3, 9) * rng.standard_normal(image.shape, np.float32)
    return image.clip(0, 255).round().astype(np.uint8), objects


# ---------------------------------------------------------------------------------------------- captions
TEMPLATES = ('{}', '{}', 'a photo of {}', 'a picture of {}', 'an image of {}', 'a drawing of {}')
EMPTY_CAPTIONS = (
    'an empty background',
    'nothing but a background',
    'a photo of an empty background',
    'a picture of nothing',
)
NUMBERS = {2: 'two', 3: 'three', 4: 'four'}


def _article(phrase: str) -> str:
    return ('an ' if phrase[0] in 'aeiou' else 'a ') + phrase


def write_caption(
    rng: np.random.Generator, objects: Sequence[dict], sized: bool, hypernym: bool = False, bare: bool = False
) -> str:
    """A caption that names every object of :func:`draw_image` in random order, or vaguely what they are.

    A bare one names the shapes alone, as people mostly name things without saying what colour they are.
    """
    if not objects:
        return str(rng.choice(EMPTY_CAPTIONS))
    if bare:
        return ' and '.join(sorted(_article(item['concept']['attributes']['shape']) for item in objects))
    if hypernym:
        word = str(rng.choice(['shape', 'object']))
        if len(objects) > 1:
            return str(rng.choice(TEMPLATES)).format(f'{NUMBERS[len(objects)]} {word}s')
        named = objects[0]['concept']['attributes']
        texture, colour, shape = named['texture'], named['colour'], named['shape']
        phrase = rng.choice(
            [
                word,
                f'{colour} {word}',
                f'{texture} {word}',
                f'{texture} {colour} {word}',
                shape,
                f'{colour} {shape}',
                f'{texture} {shape}',
            ]
        )
        return str(rng.choice(TEMPLATES)).format(_article(str(phrase)))
    phrases = [
        _article(f'{item["size"]} {item["concept"]["name"]}' if sized else item['concept']['name'])
        for item in (objects[index] for index in rng.permutation(len(objects)))
    ]
    text = ', '.join(phrases[:-1]) + ' and ' + phrases[-1] if len(phrases) > 1 else phrases[0]
    return str(rng.choice(TEMPLATES)).format(text)


# ---------------------------------------------------------------------------------------------- splits
def split_samples(
    split: str, seed: int, number: int, image_size: int, concepts: Sequence[dict]
) -> Iterator[tuple[np.ndarray, list[dict], list[str]]]:
    """Yield (uint8 RGB image, objects as in :func:`draw_image`, captions) of each image of a split.

    In ``teacher`` and ``train`` every other image has a single object, of each concept in turn; ``val`` and
    ``test`` are scenes; ``test_single`` has single objects, of each concept in turn.
    """
    code = SPLITS.index(split)
    allowed = [concept for concept in concepts if split != 'train' or concept['group'] != 'unseen']
    turn = _rng(seed, code).permutation(len(allowed))
    for index in range(number):
        rng = _rng(seed, code, index)
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


def _write_split(root: Path, split: str, config: dict, concepts: list[dict]) -> None:
    """Write one split; its image folder is renamed into place last, and so tells that all of it is there."""
    part = root / f'.{split}.part'
    for stale in (part, root / split):
        if stale.exists():
            shutil.rmtree(stale)
    part.mkdir()
    number, size = config['sizes'][split], config['image_size']
    images, annotations, captions = [], [], []
    samples = split_samples(split, config['seed'], number, size, concepts)
    for image_id, (image, objects, texts) in enumerate(tqdm(samples, f'shapes world: {split}', number), 1):
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
            dict(id=len(captions) + number, image_id=image_id, caption=text) for number, text in enumerate(texts, 1)
        ]
    info = dict(description=f'shapes world, {split}', version=str(VERSION))
    folder = root / 'annotations'
    folder.mkdir(exist_ok=True)
    instances = dict(info=info, images=images, annotations=annotations, categories=concepts)
    write_atomically(folder / f'instances_{split}.json', json.dumps(instances))
    write_atomically(
        folder / f'captions_{split}.json', json.dumps(dict(info=info, images=images, annotations=captions))
    )
    os.replace(part, root / split)


def encode_image(image: np.ndarray, suffix: str, options: Sequence[int] = ()) -> bytes:
    """Encode a BGR image as ``cv2.imwrite`` does, which crashes where a path is not UTF-8.

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


def _is_complete(root: Path, split: str) -> bool:
    return (root / split).is_dir() and all(
        (root / 'annotations' / f'{kind}_{split}.json').is_file() for kind in ('instances', 'captions')
    )


def _check_world(root: Path, config: dict) -> None:
    """Raise ValueError where root holds anything but (a part of) the world of this config."""
    path = root / 'world.json'
    fix = 'choose another root, or remove the folder to generate the world anew'
    if not path.is_file():
        foreign = sorted(item.name for item in root.iterdir() if not item.name.startswith('.'))
        if foreign:
            raise ValueError(f'{root} is no shapes world: it has no world.json but holds {foreign[:3]}; {fix}')
        return
    try:
        found = read_json(path, max_bytes=MAX_METADATA_BYTES, what='shapes world')
    except InputError as error:
        raise InputError(f'{error}; {fix}') from error
    differing = [
        f'{key} is {brief(found.get(key))} there and {value!r} here'
        for key, value in config.items()
        if found.get(key) != value
    ]
    if differing:
        raise ValueError(f'{root} holds another shapes world: {"; ".join(differing)}; {fix}')


def ensure_world(
    root: str = 'data/shapes',
    seed: int = 0,
    image_size: int = 128,
    sizes: Optional[dict] = None,
    shares: Optional[dict] = None,
    splits: Sequence[str] = SPLITS,
) -> None:
    """Generate those of the splits that root lacks; return at once when it has them all.

    A split appears whole or not at all: an interrupted run leaves nothing that looks finished.

    Args:
        root: folder of the world; made when absent.
        seed: draws the groups of the concepts and all images. The concepts are the same for each seed.
        image_size: side of the square images in pixels, at least 64.
        sizes: images a split, see :data:`SIZES` for those not given.
        shares: shares of the groups, see :func:`world_concepts`.
        splits: which splits to provide, of :data:`SPLITS`.

    Raises:
        ValueError: when root holds another world or other files (nothing is touched then), or an argument is
            impossible.
    """
    root, sizes, shares = Path(root), _merge('sizes', SIZES, sizes), _merge('shares', SHARES, shares)
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ValueError(f'unknown splits: {unknown}; known are {list(SPLITS)}')
    if image_size < 64:
        raise ValueError(f'image_size must be at least 64 for the textures to be told apart, got {image_size}')
    if min(sizes.values()) < 1:
        raise ValueError(f'sizes must be at least 1, got {sizes}')
    concepts = world_concepts(seed, shares)
    config = dict(version=VERSION, seed=int(seed), image_size=int(image_size), sizes=sizes, shares=shares)
    if root.exists():
        _check_world(root, config)
        if (root / 'world.json').is_file() and all(_is_complete(root, split) for split in splits):
            return
    root.mkdir(parents=True, exist_ok=True)
    with lock_folder(root, 'shapes world', wait=True):  # another run may be writing the same one
        _check_world(root, config)
        write_atomically(root / 'world.json', json.dumps(config))
        for split in splits:
            if not _is_complete(root, split):
                _write_split(root, split, config, concepts)
