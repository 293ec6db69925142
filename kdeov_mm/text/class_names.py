"""Reading and checking of class names and their synonyms."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdeov_mm.utils.display import short_repr, shorten
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.json_files import read_json
from .lines import MAX_CHARACTERS, is_unicode, read_lines

NAME_AND_THRESHOLD = re.compile(r'(.*\S)\s*=\s*([-+]?\d*\.?\d+)')  # a line without a number after "=" is a class name


def check_class_names(names: Sequence[str]) -> None:
    """Check the class names of a vocabulary.

    Raises:
        ValueError: If there is none, or one is not a string, is empty, is longer than ``MAX_CHARACTERS`` or is
            duplicate.
    """
    if isinstance(names, str):
        raise ValueError(f'names: expected a list, got the string {shorten(names)!r}; for a file use read_class_names')
    if not len(names):
        raise ValueError('names: the vocabulary is empty; give at least one class name')
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'names: each must be a non-empty string, but number {index + 1} is {short_repr(name)}')
        if len(name) > MAX_CHARACTERS:
            raise ValueError(
                f'names: number {index + 1}, {shorten(name)!r}, has {len(name)} characters; CLIP reads '
                f'far fewer than {MAX_CHARACTERS}: shorten it, or check that this is a list of class names'
            )
        if not is_unicode(name):
            raise ValueError(f'names: number {index + 1}, {shorten(name)!r}, is not valid Unicode; correct the file')
    repeated = [shorten(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        duplicates = ', '.join(map(repr, repeated[:5]))
        raise ValueError(f'names: duplicate names: {duplicates}; give each class name once')


def read_class_names(path: str) -> list[str]:
    """Read the class names of a vocabulary.

    Args:
        path: A text file with one class name a line (empty lines are skipped), or a ``.json`` file: a list of names, a
            list of category records with a ``name`` field, or a COCO or LVIS annotation file. A line may end with the
            name's own threshold, see :func:`read_thresholds`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is invalid, has no class names or invalid ones; see :func:`check_class_names`.
    """
    if Path(path).suffix == '.json':
        content = read_categories(path, 'names')
        if not isinstance(content, list):
            raise ValueError(
                f'names: {str(path)!r} must hold a list of names or of records with a "name", '
                f'got a {type(content).__name__}'
            )
        names: list[Any] = [item.get('name') if isinstance(item, dict) else item for item in content]
    else:
        names = [name for name, _ in read_name_lines(path)]
    try:
        check_class_names(names)
    except ValueError as error:
        raise InputError(f'{error} (in {str(path)!r})') from error
    return names


def read_thresholds(path: str) -> dict[str, float]:
    """Read the minimum scores in a text file of class names, from its lines such as ``red star = 0.4``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not text, or a threshold is not from 0 to 1.
    """
    if Path(path).suffix == '.json':
        return {}
    return {name: threshold for name, threshold in read_name_lines(path) if threshold is not None}


def read_name_lines(path: str) -> list[tuple[str, float | None]]:
    """Read each line's class name and threshold, or None; see :func:`read_thresholds`."""
    lines = []
    for line in read_lines(path, 'names'):
        match = NAME_AND_THRESHOLD.fullmatch(line)
        name, threshold = (match[1], float(match[2])) if match else (line, None)
        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(
                f'names: the threshold in the line {shorten(line)!r} must be from 0 to 1 (in {str(path)!r})'
            )
        lines.append((name, threshold))
    return lines


def read_synonyms(source: str | Path | Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Read the synonyms of class names.

    Args:
        source: ``{name: [synonym, ...]}``, or a ``.json`` file with that or with category records that have
            ``synonyms``, as in LVIS' annotation files; None: no synonyms.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the content is of another type, or a synonym is not a non-empty string.
    """
    where = f' in {str(source)!r}' if isinstance(source, (str, Path)) else ''
    content: Any = read_categories(source, 'synonyms') if isinstance(source, (str, Path)) else source
    if isinstance(content, list) and all(
        isinstance(item, dict) and isinstance(item.get('name'), str) for item in content
    ):
        content = {item['name']: item.get('synonyms', []) for item in content}
    content = content or {}
    if not isinstance(content, Mapping):
        raise ValueError(
            f'synonyms{where}: expected {{name: [synonym, ...]}} or category records with a "name" and '
            f'"synonyms", got a {type(content).__name__}'
        )
    for name, words in content.items():
        if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(
                f'synonyms{where}: synonyms of {short_repr(name)} must be a list of non-empty strings, got '
                f'{short_repr(words)}'
            )
    return {name: list(words) for name, words in content.items()}


def read_categories(path: str | Path, what: str) -> Any:
    """Return the content of a JSON file, or the categories of a COCO or LVIS annotation file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not JSON.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f'{what}: no file {str(path)!r}')
    content = read_json(path, object, what=f'{what}:')
    return content['categories'] if isinstance(content, dict) and 'categories' in content else content
