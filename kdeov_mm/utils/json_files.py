"""JSON from files and metadata that somebody else may have written."""

import json
import math
from pathlib import Path
from typing import Any

from .display import printable
from .errors import InputError
from .files import read_file

MAX_BYTES = 8 * 2**30  # the largest public annotation file, Objects365's, has about 6 GiB
MAX_METADATA_BYTES = 64 * 2**20  # of the small files that describe a store, a model or a table


def read_json(path: str | Path, kind: type = dict, max_bytes: int = MAX_BYTES, what: str = 'file') -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        kind: The Python type that the outermost value must have.
        max_bytes: The largest size that is read.
        what: What the file is, for messages, such as ``annotation file``.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a regular file, is too large, or is no JSON; see :func:`parse_json`.
    """
    return parse_json(read_file(path, max_bytes, what), f'{what} "{printable(str(path))}"', kind)


def parse_json(content: str | bytes, name: str, kind: type = dict, finite: bool = True) -> Any:
    """Parse JSON; numbers must be finite, as the standard (RFC 8259) demands.

    A number that is too large for a float, such as 1e999, is read as infinity: who uses a number checks that it is
    finite.

    Args:
        content: UTF-8.
        name: Where the content comes from, for messages.
        kind: The Python type that the outermost value must have.
        finite: Whether to refuse NaN and Infinity; False where only texts are used.

    Raises:
        InputError: If it is not JSON, is nested too deeply, holds NaN or Infinity, or is of another type.
    """
    constants: list[str] = []

    def note(constant: str) -> float:
        constants.append(constant)
        return float(constant)

    try:
        value = json.loads(content, parse_constant=note)
    except RecursionError:
        raise InputError(f'{name} is nested too deeply; expected at most some hundred levels') from None
    except ValueError as error:  # both of JSONDecodeError and UnicodeDecodeError
        raise InputError(f'{name} is not JSON: {error}') from error
    if constants and finite:
        raise InputError(
            f'{name} is not JSON: {find_constant(value)} is {constants[0]}; expected a finite number or null'
        )
    if not isinstance(value, kind):
        raise InputError(f'{name} must hold a JSON {NAMES[kind]}, got a {type(value).__name__}')
    return value


def find_constant(value: Any) -> str:
    """Return where the first NaN or infinity stands in a JSON value, such as ``annotations[17].bbox[0]``."""
    left = [(value, '')]
    while left:
        found, place = left.pop()
        if isinstance(found, dict):
            left += [(item, f'{place}.{printable(key)}'.lstrip('.')) for key, item in reversed(found.items())]
        elif isinstance(found, list):
            left += [(item, f'{place}[{index}]') for index, item in reversed(list(enumerate(found)))]
        elif isinstance(found, float) and not math.isfinite(found):
            break
    return place or 'the value'


NAMES = {dict: 'object', list: 'array', str: 'string', object: 'value'}
