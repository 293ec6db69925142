"""Lexicons: the silent competitors of the names that a user asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .class_names import check_class_names, read_class_names

FOLDER = Path(__file__).parent / 'lexicons'
# Files of FOLDER, and whether WordNet knows their words. In the shapes dataset, a purple clover is no red clover.
LEXICONS = dict(shapes=False, nouns=True)


@dataclass(frozen=True)
class Lexicon:
    """Holds names of everything that may be seen.

    Attributes:
        entries: L names.
        hierarchy: Whether WordNet says which entries mean a name or a kind of it, see
            :mod:`~kdeov_mm.text.hierarchy`. For words that it does not know, and without it, :func:`phrase_rule` says
            so.
    """

    entries: tuple[str, ...] = ()
    hierarchy: bool = True

    @classmethod
    def read(cls, source: 'str | Sequence[str] | Lexicon | None') -> 'Lexicon':
        """Read a lexicon.

        Args:
            source: A name of ``LEXICONS``, a file for :func:`read_class_names`, the entries, or a lexicon; None: no
                entries.

        Raises:
            InputError: If an entry is bad or a duplicate, or the file is not a list of names.
            FileNotFoundError: If there is neither a lexicon nor a file of that name.
        """
        if isinstance(source, Lexicon):
            return source
        if source is None:
            return cls()
        if isinstance(source, str):
            if source in LEXICONS:
                return cls(tuple(read_class_names(str(FOLDER / f'{source}.txt'))), LEXICONS[source])
            if not Path(source).is_file():
                raise FileNotFoundError(
                    f'lexicon: {source} is neither a file nor one of {", ".join(LEXICONS)}; give a file with a name a '
                    'line'
                )
            return cls(tuple(read_class_names(source)))
        check_class_names(source)
        return cls(tuple(source))

    def __len__(self) -> int:
        return len(self.entries)

    def competes(self, names: Sequence[str]) -> np.ndarray:
        """Return which entries compete with each name: those that mean something else, bool ``[K, L]``.

        An entry that means the same as a name, or a kind of it, would take the name's own objects away.
        """
        if not self.entries:
            return np.ones((len(names), 0), bool)
        rule = phrase_rule(names, self.entries)
        if not self.hierarchy:
            return ~rule
        from .hierarchy import kinds

        known = kinds(names, self.entries)
        return np.where(known < 0, ~rule, known == 0)


def words(name: str) -> list[str]:
    """Split a name into words in lower case, without punctuation; a name without any is one word."""
    return re.findall(r'\w+', name.lower().replace('_', ' ')) or [name]


def phrase_rule(names: Sequence[str], entries: Sequence[str]) -> np.ndarray:
    """Return which entries are a kind of each name by their words, bool ``[K, L]``.

    English phrases end with the noun that they are about. So an entry is a kind of a name if it has all of the name's
    words and the same last word: "striped red star" is a kind of "red star" and of "star", but "star fish" is none.
    """
    by_last: dict[str, list[tuple[int, set[str]]]] = {}
    for column, entry in enumerate(entries):
        by_last.setdefault(words(entry)[-1], []).append((column, set(words(entry))))
    table = np.zeros((len(names), len(entries)), bool)
    for row, name in enumerate(names):
        for column, entry_words in by_last.get(words(name)[-1], ()):
            table[row, column] = entry_words.issuperset(words(name))
    return table
