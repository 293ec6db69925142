"""Captions of the shapes dataset."""

from collections.abc import Sequence

import numpy as np

TEMPLATES = ('{}', '{}', 'a photo of {}', 'a picture of {}', 'an image of {}', 'a drawing of {}')
EMPTY_CAPTIONS = (
    'an empty background',
    'nothing but a background',
    'a photo of an empty background',
    'a picture of nothing',
)
MAX_NAMED = 4  # objects that a caption names
NUMBERS = {2: 'two', 3: 'three', 4: 'four'}


def _article(phrase: str) -> str:
    return ('an ' if phrase[0] in 'aeiou' else 'a ') + phrase


def write_caption(
    rng: np.random.Generator, objects: Sequence[dict], sized: bool, hypernym: bool = False, bare: bool = False
) -> str:
    """Write a caption that names the first :data:`MAX_NAMED` objects in random order, or only a hypernym.

    A bare caption names the shapes only, as people often name things without their colour.
    """
    if not objects:
        return str(rng.choice(EMPTY_CAPTIONS))
    named = objects[:MAX_NAMED]
    if bare:
        return ' and '.join(sorted(_article(item['concept']['attributes']['shape']) for item in named))
    if hypernym:
        word = str(rng.choice(['shape', 'object']))
        if len(objects) > 1:
            return str(rng.choice(TEMPLATES)).format(f'{NUMBERS.get(len(objects), "many")} {word}s')
        attributes = objects[0]['concept']['attributes']
        texture, colour, shape = attributes['texture'], attributes['colour'], attributes['shape']
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
        for item in (named[index] for index in rng.permutation(len(named)))
    ]
    text = ', '.join(phrases[:-1]) + ' and ' + phrases[-1] if len(phrases) > 1 else phrases[0]
    return str(rng.choice(TEMPLATES)).format(text)
