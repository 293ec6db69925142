"""Prompt templates: the sentences around a class name."""

from pathlib import Path
from typing import List, Sequence, Union

import open_clip

from kdeov_mm.deploy.text import check_templates, fill
from .vocabulary import read_lines


def vild_templates() -> List[str]:
    """The 63 templates of ViLD (Gu et al. 2022, "Open-vocabulary object detection via vision and language knowledge
    distillation", appendix), built from their parts.

    Their order has no influence: the class embedding is a mean. The authors' demo code can also put "This is" before
    those that begin with an article; that is left out here.
    """
    kinds = (
        'good',
        'bad',
        'bright',
        'dark',
        'low resolution',
        'cropped',
        'close-up',
        'jpeg corrupted',
        'blurry',
        'pixelated',
        'black and white',
    )
    looks = ('nice', 'cool', 'weird', 'small', 'large', 'clean', 'dirty', 'hard to see')
    return [
        *(f'There is {which} {{}} in the scene.' for which in ('{article}', 'the')),
        *(f'a photo of {which} {{}} in the scene.' for which in ('{article}', 'the', 'one')),
        *(f'a photo of {which} {{}}.' for which in ('{article}', 'the', 'my', 'one', 'many')),
        *(f'itap of {which} {{}}.' for which in ('{article}', 'the', 'my')),  # "I took a picture"
        *(f'a {kind} photo of {which} {{}}.' for kind in kinds for which in ('{article}', 'the')),
        *(f'a photo of {which} {look} {{}}.' for look in looks for which in ('a', 'the')),
        *(f'{which} {made} {{}}.' for made in ('plastic', 'toy', 'plushie', 'cartoon') for which in ('a', 'the')),
        *(f'{which} embroidered {{}}.' for which in ('an', 'the')),
        *(f'a painting of {which} {{}}.' for which in ('a', 'the')),
    ]


TEMPLATES = {
    'none': ['{}'],
    'single': ['a photo of a {}.'],
    'openai_imagenet_7': [template('{}') for template in open_clip.SIMPLE_IMAGENET_TEMPLATES],
    'openai_imagenet_80': [template('{}') for template in open_clip.OPENAI_IMAGENET_TEMPLATES],
    'vild': vild_templates(),
}

__all__ = ['TEMPLATES', 'fill', 'resolve_templates', 'vild_templates']


def resolve_templates(templates: Union[str, Sequence[str]]) -> List[str]:
    """Turn the name of a template set, a single template, a file with one a line, or a list of templates into a list.

    A template has one ``{}`` for the name, and may have one ``{article}`` for its "a" or "an".

    Raises:
        ValueError: Unknown name, no template, or one without ``{}``.
        FileNotFoundError: ``templates`` looks like a file that does not exist.
    """
    source = 'templates'
    if isinstance(templates, str):
        if templates in TEMPLATES:
            return TEMPLATES[templates]
        templates = [templates] if '{}' in templates else templates
    if isinstance(templates, str):
        if '/' not in templates and not Path(templates).suffix and not Path(templates).is_file():
            raise ValueError(
                f'templates: unknown set {templates!r}; choose one of {", ".join(TEMPLATES)}, '
                'or give a list, or a .txt file with one template a line'
            )
        source, templates = f'templates: {templates!r}', read_lines(templates, 'templates')
    check_templates(templates, source)
    return list(templates)
