"""Checks of a checkpoint's pickles before they are loaded, and of their content after that.

PyTorch's loader for weights only executes nothing, but a small file can still cost hours or gigabytes, and an object
can carry attributes that shadow its methods.
"""

import codecs
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

MAX_TUPLE = 100_000  # elements, with those of the tuples in it
MAX_KEY = 100  # elements of a tuple that is a key of a dict: to look a key up is to hash all of them
MAX_META = 1_000_000  # values in a checkpoint's ``meta``, each counted as often as it would be printed
CODECS = ('latin-1', 'utf-8')  # that NumPy's pickles ask for; others, one after the other, grow without limit
ZIP = b'PK\x03\x04'  # by which torch.load tells an archive from a plain pickle


class Item(NamedTuple):
    """What is followed of a value on the pickle's stack."""

    size: int = 1
    value: Any = None  # a text, the name of a global, or the elements of a tuple


MARK = Item(0)


def check_archive(file: Any) -> None:
    """Refuse a checkpoint that takes far more memory or time to read than its size says.

    ``torch.save`` compresses nothing, writes one pickle, and its tuples are short. A tuple of tuples that share their
    elements takes exponential time to hash.

    Args:
        file: A path, or a file object that can seek.

    Raises:
        UnpicklingError: If an entry is compressed or stands there twice, there are several pickles, or a pickle is
            refused by :func:`check_pickle`.
    """
    opened = open(file, 'rb') if isinstance(file, (str, os.PathLike)) else file
    begin = opened.tell()
    try:
        if opened.read(len(ZIP)) == ZIP:
            check_zip(opened)
        else:  # torch before 1.6: five pickles, then the tensors
            opened.seek(begin)
            for _ in range(5):
                check_pickle(opened)
    except (zipfile.BadZipFile, ValueError, IndexError, KeyError, EOFError, OverflowError, TypeError) as error:
        raise pickle.UnpicklingError(f'damaged: {error}') from error
    finally:
        opened.seek(begin) if opened is file else opened.close()


def check_zip(file: Any) -> None:
    """Check an archive; see :func:`check_archive`. PyTorch looks names up in either case of letters."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len({entry.header_offset for entry in entries}) < len(entries):
            raise pickle.UnpicklingError('entries of the archive share their content')
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise pickle.UnpicklingError(f'{entry.filename} is compressed; torch.save compresses nothing')
        pickles = [entry for entry in entries if entry.filename.lower().endswith('.pkl')]
        if len(pickles) > 1:
            raise pickle.UnpicklingError(f'the archive holds {len(pickles)} pickles; torch.save writes one')
        for entry in pickles:
            check_pickle(archive.read(entry))


def check_pickle(content: Any) -> None:
    """Follow a pickle through its stack and memo, without making any of its objects.

    Raises:
        UnpicklingError: If a tuple has more than ``MAX_TUPLE`` elements, with those inside it, or more than ``MAX_KEY``
            where it is a key; or a text is encoded by anything but one of ``CODECS``.
    """
    stack: list[Item] = []
    memo: dict[int, Item] = {}
    for code, argument, _ in pickletools.genops(content):
        name = code.name
        if name in ('BINGET', 'LONG_BINGET', 'GET'):
            stack.append(memo[int(argument)])
        elif name in ('BINPUT', 'LONG_BINPUT', 'PUT', 'MEMOIZE'):
            memo[len(memo) if name == 'MEMOIZE' else int(argument)] = stack[-1]
        elif name == 'MARK':
            stack.append(MARK)
        elif name == 'DUP':
            stack.append(stack[-1])
        else:
            taken = take(stack, code)
            stack += [describe(name, argument, taken)] * len(code.stack_after)


def take(stack: list[Item], code: Any) -> list[Item]:
    """Remove what an operation takes from the stack, and return it without marks, the deepest first."""
    taken: list[Item] = []
    for item in reversed(code.stack_before):
        if item is pickletools.stackslice:
            while stack[-1] is not MARK:
                taken.append(stack.pop())
        else:
            taken.append(stack.pop())
    return [item for item in reversed(taken) if item is not MARK]


def describe(name: str, argument: Any, taken: list[Item]) -> Item:
    """Return what an operation makes of what it takes; see :func:`check_pickle`."""
    if name in ('TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3'):
        size = 1 + sum(item.size for item in taken)
        if size > MAX_TUPLE:
            raise pickle.UnpicklingError(f'a tuple of more than {MAX_TUPLE} elements')
        return Item(size, taken[:3])
    if name in ('SETITEM', 'SETITEMS', 'DICT'):
        keys = taken[::2] if name == 'DICT' else taken[1::2]
        if any(key.size > MAX_KEY for key in keys):
            raise pickle.UnpicklingError(f'a key of more than {MAX_KEY} elements')
    elif name == 'GLOBAL':
        return Item(1, argument)
    elif name == 'STACK_GLOBAL':
        return Item(1, f'{taken[0].value} {taken[1].value}')
    elif name in ('REDUCE', 'NEWOBJ') and taken[0].value == '_codecs encode':
        arguments = taken[1].value
        codec = arguments[1].value if isinstance(arguments, list) and len(arguments) == 2 else None
        if not isinstance(codec, str) or codecs.lookup(codec).name not in [codecs.lookup(each).name for each in CODECS]:
            raise pickle.UnpicklingError('a text in another encoding than latin-1 or UTF-8')
    elif isinstance(argument, str):
        return Item(1, argument)
    return Item()


def check_content(content: Any) -> None:
    """Check the dicts in what was loaded, each once.

    Raises:
        UnpicklingError: If a dict is of another class, or has attributes beside ``_metadata`` of a ``state_dict``: one
            called "get" would hide what the dict holds.
    """
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            waiting += dict.values(value) if isinstance(value, dict) else value
        if isinstance(value, dict):
            attributes = getattr(value, '__dict__', {})
            if type(value) not in (dict, OrderedDict) or set(attributes) - {'_metadata'}:
                raise pickle.UnpicklingError(f'a {type(value).__name__} with attributes {list(attributes)[:3]}')
            waiting += attributes.values()


def without_configs(content: Any) -> Any:
    """Remove the config texts from a checkpoint of MMEngine's runner, which executes them when a training resumes.

    Raises:
        UnpicklingError: If ``meta``, which MMEngine prints, holds more than ``MAX_META`` values.
    """
    if not isinstance(content, dict):
        return content
    hub, meta = content.get('message_hub'), content.get('meta')
    for part in (meta, hub.get('runtime_info') if isinstance(hub, dict) else None):
        if isinstance(part, dict):
            for name in ('config', 'cfg'):
                part.pop(name, None)
    waiting, count = [meta], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MAX_META:
            raise pickle.UnpicklingError(f'its meta has more than {MAX_META} values')
        if isinstance(value, (dict, list, tuple)):
            waiting += value.values() if isinstance(value, dict) else value
    return content
