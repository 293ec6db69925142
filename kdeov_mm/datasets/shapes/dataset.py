"""The folder of a shapes dataset: missing splits are generated, and other content is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import write_atomically
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json
from kdeov_mm.utils.lock import lock_folder
from .coco import is_complete, write_split
from .concepts import FRACTIONS, SPLITS, merge, world_concepts
from .samples import STYLES

SIZES = dict(teacher=16000, train=4000, val=200, test=800, test_single=1920)


def ensure_world(
    root: str = 'data/shapes',
    seed: int = 0,
    image_size: int = 128,
    sizes: dict | None = None,
    shares: dict | None = None,
    splits: Sequence[str] = SPLITS,
    style: str = 'plain',
) -> None:
    """Generate the splits of the shapes dataset that ``root`` does not have.

    A split is complete or absent, also after an interrupted run.

    Args:
        root: Folder of the data set; created if it does not exist.
        seed: Seed of the concepts' groups and of all images. The concepts are the same for each seed.
        image_size: Side of the square images in pixels, at least 64.
        sizes: Number of images of each split; see :data:`SIZES` for the defaults.
        shares: Fractions of the groups, see :func:`world_concepts`.
        splits: Splits to provide, of :data:`SPLITS`.
        style: ``plain``, or ``hard``: 5 to 15 objects from 8 pixels up that hide each other, on textures and in uneven
            light.

    Raises:
        ValueError: If root holds another shapes dataset or other files, which stay unchanged, or an argument is out of
            range.
    """
    root, sizes, shares = Path(root), merge('sizes', SIZES, sizes), merge('shares', FRACTIONS, shares)
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ValueError(f'unknown splits: {unknown}; known are {list(SPLITS)}')
    if style not in STYLES:
        raise ValueError(f'unknown style {style!r}; known are {list(STYLES)}')
    if image_size < 64:
        raise ValueError(f'image_size must be at least 64 for textures to be distinguishable, got {image_size}')
    if min(sizes.values()) < 1:
        raise ValueError(f'sizes must be at least 1, got {sizes}')
    concepts = world_concepts(seed, shares)
    config = dict(
        version=STYLES[style].version,
        style=style,
        seed=int(seed),
        image_size=int(image_size),
        sizes=sizes,
        shares=shares,
    )
    if root.exists():
        check_world(root, config)
        if (root / 'world.json').is_file() and all(is_complete(root, split) for split in splits):
            return
    root.mkdir(parents=True, exist_ok=True)
    with lock_folder(root, 'shapes dataset', wait=True):  # another run may be writing the same one
        check_world(root, config)
        write_atomically(root / 'world.json', json.dumps(config))
        for split in splits:
            if not is_complete(root, split):
                write_split(root, split, config, concepts)


def check_world(root: Path, config: dict) -> None:
    """Raise ValueError if root holds anything but a part of the data set of this config."""
    path = root / 'world.json'
    fix = 'choose another root, or remove the folder to generate the data set again'
    if not path.is_file():
        foreign = sorted(item.name for item in root.iterdir() if not item.name.startswith('.'))
        if foreign:
            raise ValueError(f'{root} is no shapes dataset: it has no world.json but holds {foreign[:3]}; {fix}')
        return
    try:
        existing = read_json(path, max_bytes=MAX_METADATA_BYTES, what='shapes dataset')
        existing = {'style': 'plain', **existing}  # of version 0.1
    except InputError as error:
        raise InputError(f'{error}; {fix}') from error
    differing = [
        f'{key} is {short_repr(existing.get(key))} there and {value!r} here'
        for key, value in config.items()
        if existing.get(key) != value
    ]
    if differing:
        raise ValueError(f'{root} holds another shapes dataset: {"; ".join(differing)}; {fix}')
