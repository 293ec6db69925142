"""Class names and their synonyms: reading and checking."""

from collections import Counter
from pathlib import Path
from typing import Any, Mapping, Sequence

from kdeov_mm.utils.display import short_repr, shorten
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.json_files import read_json
from .lines import MAX_CHARACTERS, is_unicode, read_lines


def check_class_names(names: Sequence[str]) -> None:
    """Check a vocabulary's names.

    Raises:
        ValueError: There is none, or one is not a string, is empty, is longer than ``MAX_CHARACTERS`` or stands
            there more than once.
    """
    if isinstance(names, str):
        raise ValueError(f'names: expected a list, got the string {shorten(names)!r}; for a file use read_class_names')
    if not len(names):
        raise ValueError('names: the vocabulary is empty; give at least one name')
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'names: each must be a non-empty string, but number {index + 1} is {short_repr(name)}')
        if len(name) > MAX_CHARACTERS:
            raise ValueError(
                f'names: number {index + 1}, {shorten(name)!r}, has {len(name)} characters; CLIP reads '
                f'far fewer than {MAX_CHARACTERS}: shorten it, or check that this is a list of names'
            )
        if not is_unicode(name):
            raise ValueError(f'names: number {index + 1}, {shorten(name)!r}, is not valid Unicode; correct the file')
    repeated = [shorten(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f'names: {repeated[:5]!r} stand there more than once; name each class once')


def read_class_names(path: str) -> list[str]:
    """Read a vocabulary's names.

    Args:
        path: A text file with one name a line (empty lines do not count), or a ``.json`` file: a list of names, a list
            of category records with a ``name`` field, or a COCO or LVIS annotation file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no names, or bad ones; see :func:`check_class_names`.
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
        names = read_lines(path, 'names')
    try:
        check_class_names(names)
    except ValueError as error:
        raise InputError(f'{error} (in {str(path)!r})') from error
    return names


def read_synonyms(source: str | Path | Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """The synonyms of some names.

    Args:
        source: ``{name: [synonym, ...]}``, or a ``.json`` file with that or with category records that have
            ``synonyms``, as LVIS' annotation files; None: no name has any.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, or a synonym is not a non-empty string.
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
                f'synonyms{where}: those of {short_repr(name)} must be a list of non-empty strings, got '
                f'{short_repr(words)}'
            )
    return {name: list(words) for name, words in content.items()}


def read_categories(path: str | Path, what: str) -> Any:
    """The content of a JSON file; of a COCO or LVIS annotation file its categories.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f'{what}: no file {str(path)!r}')
    content = read_json(path, object, what=f'{what}:')
    return content['categories'] if isinstance(content, dict) and 'categories' in content else content
