"""The concepts of the shapes dataset and their groups, which a seed draws."""

import numpy as np

from .drawing import COLOURS, SHAPES, TEXTURES

GROUPS = ('base', 'recombined', 'novel', 'unseen')
SPLITS = ('teacher', 'train', 'val', 'test', 'test_single')  # the index of a split is part of its images' seed
FRACTIONS = dict(novel=0.25, unseen=0.1, recombined=0.1)


def world_concepts(seed: int = 0, shares: dict | None = None) -> list[dict]:
    """Return the 480 concepts, in an order that no seed changes, with the groups that the seed draws.

    Args:
        seed: Seed of the data set, at least 0.
        shares: Fractions: ``novel`` of the shapes; ``unseen`` and ``recombined`` of the compositions of the other
            shapes. Missing ones are as in :data:`FRACTIONS`.

    Returns:
        One COCO category ``dict(id, name, group, supercategory, attributes)`` for each concept. ``id`` counts
        from 1, ``name`` is "{texture} {colour} {shape}", ``attributes`` holds these three by name.

    Raises:
        ValueError: If the seed or a fraction is out of range, or the fractions leave an attribute without a base
            concept.
    """
    shares = merge('shares', FRACTIONS, shares)
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f'seed must be an integer of at least 0, got {seed!r}')
    if min(shares.values()) < 0 or shares['novel'] >= 1 or shares['unseen'] + shares['recombined'] >= 1:
        raise ValueError(f'shares must be at least 0, novel below 1 and unseen + recombined below 1, got {shares}')
    rng = seeded(seed, len(SPLITS))
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


def seeded(*key: int) -> np.random.Generator:
    """Return a random generator for a key, such as (seed, split, index)."""
    return np.random.default_rng(np.random.SeedSequence(key))


def merge(what: str, defaults: dict, given: dict | None) -> dict:
    """Return the defaults, updated with given values; raise ValueError for unknown names."""
    unknown = sorted(set(given or {}) - set(defaults))
    if unknown:
        raise ValueError(f'unknown {what}: {unknown}; known are {list(defaults)}')
    return {**defaults, **(given or {})}
