"""Prompt templates of class names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError
from .lines import MAX_CHARACTERS, is_unicode, read_lines


def fill(template: str, name: str) -> str:
    """Fill a template with a class name, with spaces in place of underscores.

    Only ``{}`` and ``{article}`` are replaced; ``str.format`` would also look up attributes and pad without limit.
    """
    name = name.replace('_', ' ').strip()
    fields = {'{}': name, '{article}': 'an' if name[:1].lower() in 'aeiou' else 'a'}
    return FIELDS.sub(lambda field: fields[field[0]], template)


FIELDS = re.compile(r'\{(?:article)?\}')


def build_prompts(
    names: Sequence[str], templates: Sequence[str], synonyms: Mapping[str, Sequence[str]] | None = None
) -> list[list[str]]:
    """Return the prompts of each class name: every template filled with the name and with each of its synonyms.

    Args:
        names: K class names.
        templates: Checked templates, see :func:`check_templates`.
        synonyms: Synonyms of each class name; names without synonyms may be missing.

    Returns:
        list: K lists of prompts.

    A class embedding is the normalised mean of the embeddings of its prompts (Radford et al. 2021, "Learning
    transferable visual models from natural language supervision", section 3.1.4).
    """
    # Each class name with its synonyms, in order and without duplicates.
    phrases = [dict.fromkeys([name, *(synonyms or {}).get(name, ())]) for name in names]
    return [[fill(template, phrase) for phrase in each for template in templates] for each in phrases]


def average_prompts(features: np.ndarray, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """Average the text features of each class's prompts, as CLIP does (Radford et al. 2021, section 3.1.4).

    Args:
        features: L2-normalised text features of all prompts in order, ``[P, D]``.
        prompts: The prompts of each class, see :func:`build_prompts`.

    Returns:
        np.ndarray: Class embeddings; float32, L2-normalised, ``[K, D]``. A class whose features cancel out has zeros.
    """
    counts = [len(each) for each in prompts]
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(np.asarray(features, np.float64), starts)
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def check_templates(templates: Sequence[str], what: str = 'templates') -> None:
    """Check prompt templates.

    Raises:
        InputError: If there is none, or one does not have exactly one ``{}``, has more than one ``{article}`` or
            another brace, or is longer than ``MAX_CHARACTERS``.
    """
    bad = [template for template in templates if not is_template(template)]
    if bad or not len(templates):
        raise InputError(
            f'{what}: each needs exactly one "{{}}" for the name, may have one "{{article}}", no other brace, and at '
            f'most {MAX_CHARACTERS} characters; got {short_repr(bad or templates)}'
        )


def is_template(template: Any) -> bool:
    """Return whether a value is a text with one ``{}``, at most one ``{article}``, and no other brace."""
    if not isinstance(template, str) or len(template) > MAX_CHARACTERS or not is_unicode(template):
        return False
    rest = template.replace('{article}', '', 1)
    return '{}' in rest and rest.count('{') == rest.count('}') == 1


TEMPLATE_SETS = ('none', 'single', 'openai_imagenet_7', 'openai_imagenet_80', 'vild')


def template_set(name: str) -> list[str]:
    """Return the templates of one of ``TEMPLATE_SETS``.

    OpenCLIP has those of OpenAI and is imported on demand.

    Raises:
        KeyError: If the set is unknown.
    """
    if name == 'vild':
        return vild_templates()
    if name.startswith('openai_imagenet'):
        import open_clip

        simple, all80 = open_clip.SIMPLE_IMAGENET_TEMPLATES, open_clip.OPENAI_IMAGENET_TEMPLATES
        return [template('{}') for template in dict(openai_imagenet_7=simple, openai_imagenet_80=all80)[name]]
    return [dict(none='{}', single='a photo of a {}.')[name]]


def vild_templates() -> list[str]:
    """Build the 63 templates of ViLD from their parts.

    Gu et al. 2022, "Open-vocabulary object detection via vision and language knowledge distillation", appendix. Their
    order has no influence, as a class embedding is a mean. The option of the authors' code to put "This is" before
    templates that begin with an article is not supported.
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


def resolve_templates(templates: str | Sequence[str]) -> list[str]:
    """Return a list of templates from the name of a set, a template, a file with one a line, or a list.

    A template has one ``{}`` for the class name, and may have one ``{article}`` for its "a" or "an".

    Raises:
        ValueError: If the set is unknown, there is no template, or a template is invalid.
        FileNotFoundError: If ``templates`` looks like a file that does not exist.
    """
    source = 'templates'
    if isinstance(templates, str):
        if templates in TEMPLATE_SETS:
            return template_set(templates)
        templates = [templates] if '{}' in templates else templates
    if isinstance(templates, str):
        if '/' not in templates and not Path(templates).suffix and not Path(templates).is_file():
            raise ValueError(
                f'templates: unknown set {templates!r}; choose one of {", ".join(TEMPLATE_SETS)}, '
                'or give a list, or a .txt file with one template a line'
            )
        source, templates = f'templates: {templates!r}', read_lines(templates, 'templates')
    check_templates(templates, source)
    return list(templates)
