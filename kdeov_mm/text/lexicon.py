"""Lexicons: the silent competitors of the names that a user asks for."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .class_names import check_class_names, read_class_names

FOLDER = Path(__file__).parent / 'lexicons'
LEXICONS = ('shapes',)  # files of FOLDER


def read_lexicon(source: str | Sequence[str] | None) -> list[str]:
    """Return the entries of a lexicon.

    Args:
        source: A name of ``LEXICONS``, a file for :func:`read_class_names`, or the entries; None: no entries.

    Raises:
        InputError: If an entry is bad or a duplicate, or the file is not a list of names.
        FileNotFoundError: If there is neither a lexicon nor a file of that name.
    """
    if source is None:
        return []
    if isinstance(source, str):
        if source not in LEXICONS and not Path(source).is_file():
            raise FileNotFoundError(
                f'lexicon: {source} is neither a file nor one of {", ".join(LEXICONS)}; give a file with a name a line'
            )
        return read_class_names(str(FOLDER / f'{source}.txt') if source in LEXICONS else source)
    check_class_names(source)
    return list(source)


def words(name: str) -> list[str]:
    """Split a name into words in lower case, without punctuation; a name without any is one word."""
    return re.findall(r'\w+', name.lower().replace('_', ' ')) or [name]


def competes(names: Sequence[str], lexicon: Sequence[str]) -> np.ndarray:
    """Return which entries of a lexicon compete with each name: those that mean something else.

    An entry that means the same as a name, or a kind of it, would take the name's own objects away. English phrases end
    with the noun that they are about. So an entry is a kind of a name if it has all of the name's words and the same
    last word: "striped red star" is a kind of "red star" and of "star", but "star fish" is none.

    Args:
        names: K class names.
        lexicon: L entries.

    Returns:
        np.ndarray: bool ``[K, L]``.
    """
    by_last: dict[str, list[tuple[int, set[str]]]] = {}
    for column, entry in enumerate(lexicon):
        by_last.setdefault(words(entry)[-1], []).append((column, set(words(entry))))
    table = np.ones((len(names), len(lexicon)), bool)
    for row, name in enumerate(names):
        for column, entry_words in by_last.get(words(name)[-1], ()):
            table[row, column] = not entry_words.issuperset(words(name))
    return table
