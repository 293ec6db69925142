"""Checks of records that were read from JSON, a column at a time: annotation files have millions of rows."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple

import numpy as np

from .display import short_repr
from .errors import InputError

MAX_NUMBER = 1e15  # of a coordinate or an area; its square is still a finite float32


class Kind(NamedTuple):
    """Describes valid values of a field.

    Attributes:
        fits: Check a list of values. If it returns False for a list, it must return False for every longer list with
            the same beginning; :func:`first_wrong` searches by bisection.
        expected: The expected values in words, for messages.
    """

    fits: Callable[[list], bool]
    expected: str


def check_records(records: Any, fields: Mapping[str, Kind], required: Collection[str], source: str, name: str) -> None:
    """Check a list of JSON objects; other fields than the given ones may hold anything.

    Args:
        records: The list.
        fields: The kind of each known field. A field that is not required may be missing or null.
        required: Fields that each record must have.
        source: The file, for messages.
        name: The list's name in the file.

    Raises:
        InputError: If a record is not an object, lacks a field or has a wrong value; names the file and the row.
    """
    check_values(records, OBJECTS, source, name)
    for field in dict.fromkeys((*required, *fields)):
        try:
            column = list(map(itemgetter(field) if field in required else methodcaller('get', field), records))
        except KeyError:
            row = next(row for row, record in enumerate(records) if field not in record)
            missing = [field for field in required if field not in records[row]]
            raise InputError(f'{source}: {name}[{row}] lacks {missing}; it is {short_repr(records[row])}') from None
        values = column if field in required else [value for value in column if value is not None]
        if not fields[field].fits(values):
            index = first_wrong(values, fields[field])
            rows = [row for row, value in enumerate(column) if field in required or value is not None]
            refuse(f'{source}: {name}[{rows[index]}].{field}', values[index], fields[field])


def check_values(values: Any, kind: Kind, source: str, name: str) -> None:
    """Check that a value is a list whose items are all of one kind; errors as of :func:`check_records`."""
    if not isinstance(values, list):
        refuse(f'{source}: {name}', values, LIST)
    if not kind.fits(values):
        index = first_wrong(values, kind)
        refuse(f'{source}: {name}[{index}]', values[index], kind)


def first_wrong(values: list, kind: Kind) -> int:
    """Return the index of the first value that does not fit, alone or to those before it."""
    return bisect_left(range(len(values)), True, key=lambda index: not kind.fits(values[: index + 1]))


def refuse(where: str, value: Any, kind: Kind) -> None:
    """Raise InputError that says what is wrong where."""
    raise InputError(f'{where} is {short_repr(value)}; expected {kind.expected}; correct or remove this record')


def types_of(values: list) -> set[type]:
    """Return the types in a list; a bool is not an int here."""
    return set(map(type, values))


def are_ids(values: list) -> bool:
    kinds = types_of(values)
    if kinds <= {int}:
        return not values or -(2**63) <= min(values) and max(values) < 2**63
    return kinds == {str}


def are_numbers(values: list) -> bool:
    if not types_of(values) <= {int, float}:
        return False
    try:
        return bool((np.abs(np.array(values, dtype=np.float64)) <= MAX_NUMBER).all())  # False for NaN
    except OverflowError:  # an integer that is too large for a float
        return False


def are_positive(values: list) -> bool:
    return are_numbers(values) and all(value > 0 for value in values)


def are_boxes(values: list) -> bool:
    return types_of(values) <= {list} and set(map(len, values)) <= {4} and are_numbers(flat(values))


def are_texts(values: list) -> bool:
    if not types_of(values) <= {str}:
        return False
    try:
        return bool('\n'.join(values).encode()) or True
    except UnicodeEncodeError:  # half of a character: no tokenizer takes it
        return False


def are_names(values: list) -> bool:
    return are_texts(values) and all(map(str.strip, values))


def are_paths(values: list) -> bool:
    return types_of(values) <= {str} and all(values) and '\0' not in ''.join(values)


def flat(lists: list[list]) -> list:
    """Return the items of all lists in one."""
    return list(chain.from_iterable(lists))


OBJECTS = Kind(lambda values: types_of(values) <= {dict}, 'a JSON object')
LIST = Kind(lambda values: types_of(values) <= {list}, 'a JSON array')
IDS = Kind(are_ids, 'an integer of 64 bits, or a string if all of them are strings')
ID_LISTS = Kind(lambda values: types_of(values) <= {list} and are_ids(flat(values)), 'a list of ids')
NUMBERS = Kind(are_numbers, f'a number between -{MAX_NUMBER:g} and {MAX_NUMBER:g}')
POSITIVE = Kind(are_positive, f'a positive number of at most {MAX_NUMBER:g}')
BOXES = Kind(are_boxes, f'four numbers x, y, width, height between -{MAX_NUMBER:g} and {MAX_NUMBER:g}')
FLAGS = Kind(lambda values: types_of(values) <= {int, bool} and set(values) <= {0, 1}, '0 or 1')
TEXTS = Kind(are_texts, 'a text of valid Unicode')
NAMES = Kind(are_names, 'a text of valid Unicode that is not empty')
PATHS = Kind(are_paths, 'the path of a file, without null characters')
