"""JSON from files and metadata that somebody else may have written."""

import json
from pathlib import Path
from typing import Any

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
    return parse_json(read_file(path, max_bytes, what), f'{what} "{path}"', kind)


def parse_json(content: str | bytes, name: str, kind: type = dict) -> Any:
    """Parse JSON; numbers must be finite, as the standard (RFC 8259) demands.

    Args:
        content: UTF-8.
        name: Where the content comes from, for messages.
        kind: The Python type that the outermost value must have.

    Raises:
        InputError: If it is not JSON, is nested too deeply, holds NaN or Infinity, or is of another type.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f'{constant} is not a number in JSON')

    try:
        value = json.loads(content, parse_constant=refuse)
    except RecursionError:
        raise InputError(f'{name} is nested too deeply; expected at most some hundred levels') from None
    except ValueError as error:  # both of JSONDecodeError and UnicodeDecodeError
        raise InputError(f'{name} is not JSON: {error}') from error
    if not isinstance(value, kind):
        raise InputError(f'{name} must hold a JSON {NAMES[kind]}, got a {type(value).__name__}')
    return value


NAMES = {dict: 'object', list: 'array', str: 'string', object: 'value'}
