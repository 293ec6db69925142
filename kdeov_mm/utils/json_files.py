"""Reading of untrusted JSON from files and metadata."""

import json
from pathlib import Path
from typing import Any

from .display import printable
from .errors import InputError
from .files import read_file

MAX_JSON_BYTES = 8 * 2**30  # the largest public annotation file, Objects365's, has about 6 GiB
MAX_METADATA_BYTES = 64 * 2**20  # of the small files that describe a store, a model or a table


def read_json(path: str | Path, expected_type: type = dict, max_bytes: int = MAX_JSON_BYTES, what: str = 'file') -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        expected_type: The Python type that the outermost value must have.
        max_bytes: The largest size that is read.
        what: What the file is, for messages, such as ``annotation file``.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a regular file, is too large, or is no JSON; see :func:`parse_json`.
    """
    return parse_json(read_file(path, max_bytes, what), f'{what} "{printable(str(path))}"', expected_type)


def parse_json(content: str | bytes, name: str, expected_type: type = dict, finite: bool = True) -> Any:
    """Parse JSON and refuse NaN and infinity, which the standard (RFC 8259) does not have.

    A number that is too large for a float, such as 1e999, is read as infinity. The caller must check the numbers that
    it uses; see ``kdeov_mm.utils.records``.

    Args:
        content: UTF-8.
        name: Where the content comes from, for messages.
        expected_type: The Python type that the outermost value must have.
        finite: Whether to refuse NaN and infinity. False suits callers that use texts only.

    Raises:
        InputError: If it is not JSON, is nested too deeply, holds NaN or Infinity, or is of another type.
    """
    constants: list[Constant] = []

    def note(constant: str) -> float:
        if not finite:
            return float(constant)
        constants.append(Constant(constant))
        return constants[-1]

    try:
        value = json.loads(content, parse_constant=note)
    except RecursionError:
        raise InputError(f'{name} is nested too deeply; expected at most some hundred levels') from None
    except ValueError as error:  # both of JSONDecodeError and UnicodeDecodeError
        raise InputError(f'{name} is not JSON: {error}') from error
    if constants:
        raise InputError(
            f'{name} is not JSON: {find_constant(value)} is NaN or infinite; expected a finite number or null'
        )
    if not isinstance(value, expected_type):
        raise InputError(f'{name} must hold a JSON {JSON_TYPES[expected_type]}, got a {type(value).__name__}')
    return value


class Constant(float):
    """Marks the value of ``NaN``, ``Infinity`` or ``-Infinity`` in JSON; 1e999 is an ordinary float."""


def find_constant(value: Any) -> str:
    """Return the place of the first :class:`Constant` in a JSON value, such as ``annotations[17].bbox[0]``."""
    waiting = [(value, '')]
    while waiting:
        item, place = waiting.pop()
        if isinstance(item, dict):
            waiting += [(child, f'{place}.{printable(key)}'.lstrip('.')) for key, child in reversed(item.items())]
        elif isinstance(item, list):
            waiting += [(child, f'{place}[{index}]') for index, child in reversed(list(enumerate(item)))]
        elif isinstance(item, Constant):
            return place or 'the value'
    return 'a value'  # of a key that the text repeats: the last one counts


JSON_TYPES = {dict: 'object', list: 'array', str: 'string', object: 'value'}
