"""The names of a vocabulary and their synonyms: reading and checking."""

from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Union

from kdeov_mm.deploy.text import check_names, shorten
from kdeov_mm.utils import json_files
from kdeov_mm.utils.display import brief
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import read_file
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES

__all__ = ['check_names', 'read_json', 'read_lines', 'read_names', 'read_synonyms', 'shorten']


def read_lines(path: str, what: str) -> List[str]:
    """The lines of a text file that hold something, without space around them.

    Args:
        path: A UTF-8 file.
        what: What the file is for; errors begin with it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not text, or nothing is in it.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f'{what}: no file {str(path)!r}')
    try:
        text = read_file(path, MAX_METADATA_BYTES, f'{what}:').decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{what}: {str(path)!r} is not UTF-8 text: {error}') from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f'{what}: {str(path)!r} is empty; give one line for each')
    return lines


def read_json(path: str, what: str) -> object:
    """The content of a JSON file; of a COCO or LVIS annotation file its categories.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f'{what}: no file {str(path)!r}')
    content = json_files.read_json(path, object, what=f'{what}:')
    return content['categories'] if isinstance(content, dict) and 'categories' in content else content


def read_names(path: str) -> List[str]:
    """Read a vocabulary's names.

    Args:
        path: A text file with one name a line (empty lines do not count), or a ``.json`` file: a list of names, a list
            of category records with a ``name`` field, or a COCO or LVIS annotation file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no names, or bad ones; see :func:`check_names`.
    """
    if Path(path).suffix == '.json':
        content = read_json(path, 'names')
        if not isinstance(content, list):
            raise ValueError(
                f'names: {str(path)!r} must hold a list of names or of records with a "name", '
                f'got a {type(content).__name__}'
            )
        names = [item.get('name') if isinstance(item, dict) else item for item in content]
    else:
        names = read_lines(path, 'names')
    try:
        check_names(names)
    except ValueError as error:
        raise InputError(f'{error} (in {str(path)!r})') from error
    return names


def read_synonyms(source: Union[str, Mapping[str, Sequence[str]], None]) -> Dict[str, List[str]]:
    """The synonyms of some names.

    Args:
        source: ``{name: [synonym, ...]}``, or a ``.json`` file with that or with category records that have
            ``synonyms``, as LVIS' annotation files; None: no name has any.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, or a synonym is not a non-empty string.
    """
    where = f' in {str(source)!r}' if isinstance(source, (str, Path)) else ''
    if isinstance(source, (str, Path)):
        source = read_json(source, 'synonyms')
    if isinstance(source, list) and all(
        isinstance(item, dict) and isinstance(item.get('name'), str) for item in source
    ):
        source = {item['name']: item.get('synonyms', []) for item in source}
    if not isinstance(source or {}, Mapping):
        raise ValueError(
            f'synonyms{where}: expected {{name: [synonym, ...]}} or category records with a "name" and '
            f'"synonyms", got a {type(source).__name__}'
        )
    for name, words in (source or {}).items():
        if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(
                f'synonyms{where}: those of {brief(name)} must be a list of non-empty strings, got {brief(words)}'
            )
    return {name: list(words) for name, words in (source or {}).items()}
