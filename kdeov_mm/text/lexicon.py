"""Lexicons: the silent competitors of the names that a user asks for."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdeov_mm.utils.display import short_repr
from .class_names import check_class_names, read_class_names

FOLDER = Path(__file__).parent / 'lexicons'
# Files of FOLDER. For shapes, WordNet is not asked: it reads "red clover" as a plant, not as a red clover shape.
LEXICONS = dict(shapes=dict(hierarchy=False, complete=True), nouns={})


@dataclass(frozen=True)
class Lexicon:
    """Holds names of everything that may be seen.

    Attributes:
        entries: L names.
        hierarchy: What finds the hyponyms of a name, the entries that mean the same or a kind of it. True: WordNet, see
            :mod:`~kdeov_mm.text.hierarchy`, and :func:`phrase_rule` for words that WordNet does not know. False:
            :func:`phrase_rule` alone.
        complete: Whether the model knows nothing else; see :meth:`warn_unknown`.
    """

    entries: tuple[str, ...] = ()
    hierarchy: bool = True
    complete: bool = False

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
                return cls(tuple(read_class_names(str(FOLDER / f'{source}.txt'))), **LEXICONS[source])
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
        """Return which entries compete with each name: all but its hyponyms, bool ``[K, L]``.

        A hyponym means the same as the name or a kind of it. It would take the name's own objects away.
        """
        if not self.entries:
            return np.ones((len(names), 0), bool)
        rule = phrase_rule(names, self.entries)
        if not self.hierarchy:
            return ~rule
        from .hierarchy import hyponyms

        known = hyponyms(names, self.entries)
        return np.where(known < 0, ~rule, known == 0)

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """Return the texts that a complete lexicon cannot know; none if it is not complete.

        A text is known if one of its words, or its singular, ends an entry, as "star" does, or if all of its words are
        in entries. So "the red stars" and "striped" are known to the lexicon ``shapes``, "dog" and "red car" are not.
        """
        if not self.complete:
            return []
        entries = [words(entry) for entry in self.entries]
        nouns, all_words = {entry[-1] for entry in entries}, {word for entry in entries for word in entry}
        found = []
        for text in texts:
            asked = [word if word in all_words else re.sub('(?<=..)(es|s)$', '', word) for word in words(text)]
            if nouns.isdisjoint(asked) and not all_words.issuperset(asked):
                found.append(text)
        return found

    def warn_unknown(self, texts: Sequence[str]) -> None:
        """Warn of texts that a complete lexicon cannot know."""
        unknown = self.unknown(texts)
        if unknown:
            more = f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''
            nouns = sorted({words(entry)[-1] for entry in self.entries})
            known = ', '.join(nouns[:20]) + (', ...' if len(nouns) > 20 else '')
            warnings.warn(
                f'{short_repr(unknown[0])}{more}: this model has not learnt it and answers at random. It knows {known}',
                stacklevel=3,
            )


def words(name: str) -> list[str]:
    """Split a name into words in lower case, without punctuation; a name without any is one word."""
    return re.findall(r'\w+', name.lower().replace('_', ' ')) or [name]


def phrase_rule(names: Sequence[str], entries: Sequence[str]) -> np.ndarray:
    """Return which entries are hyponyms of each name by their words, bool ``[K, L]``.

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
