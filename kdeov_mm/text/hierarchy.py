"""A hierarchy of nouns: which words mean the same thing, or a kind of it.

The hierarchy is WordNet 3.0's (Princeton University), reduced to the nouns of visible things. The file
``hierarchies/wordnet.txt`` is read when the first word is looked up. ``tools/dataset_converters/make_nouns.py`` writes
it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / 'hierarchies' / 'wordnet.txt'
NOUNS = Path(__file__).parent / 'lexicons' / 'nouns.txt'
ARTICLES = frozenset(('a', 'an', 'the', 'some'))
PREPOSITIONS = frozenset(
    ('of', 'with', 'without', 'in', 'on', 'at', 'for', 'from', 'by', 'under', 'near', 'behind', 'beside', 'wearing')
)
# A "black heart" is a cherry in WordNet, but most likely a heart that is black: both readings count.
COLOURS = frozenset(
    'black blue brown cyan gold gray green grey magenta orange pink purple red silver turquoise white yellow'.split()
)
# A toy car is no car.
PRIVATIVE = frozenset(('artificial', 'dummy', 'fake', 'imitation', 'mock', 'model', 'plush', 'stuffed', 'toy'))
ENDINGS = (  # of plurals
    ('ies', 'y'),
    ('ves', 'f'),
    ('xes', 'x'),
    ('ches', 'ch'),
    ('shes', 'sh'),
    ('sses', 'ss'),
    ('zes', 'z'),
    ('oes', 'o'),
    ('men', 'man'),
    ('s', ''),
)
IRREGULAR = {
    'calves': 'calf',
    'children': 'child',
    'dice': 'die',
    'feet': 'foot',
    'geese': 'goose',
    'halves': 'half',
    'knives': 'knife',
    'leaves': 'leaf',
    'loaves': 'loaf',
    'mice': 'mouse',
    'oxen': 'ox',
    'people': 'person',
    'teeth': 'tooth',
    'wives': 'wife',
    'wolves': 'wolf',
}


def normalize(name: str) -> str:
    """Return a name in lower case, with single spaces for underscores and hyphens, without what is in parentheses."""
    name = re.sub(r'\([^()]*\)', ' ', name)
    return ' '.join(name.lower().replace('_', ' ').replace('-', ' ').replace('.', ' ').split())


def singular_forms(word: str) -> list[str]:
    """Return a word and what it may be the plural of, most likely first."""
    last = word.split(' ')[-1]
    start = word[: len(word) - len(last)]
    forms = [word]
    if last in IRREGULAR:
        forms.append(start + IRREGULAR[last])
    for ending, singular in ENDINGS:
        if last.endswith(ending) and len(last) > len(ending) + 1 and not (ending == 's' and last.endswith('ss')):
            forms.append(start + last[: -len(ending)] + singular)
    return forms


@dataclass(frozen=True)
class Phrase:
    """Holds one reading of a name: its head, whose senses are known or not, and its modifiers.

    "red sports car" has the head "sports car" and the modifier "red"; "glass of wine" has the head "glass".

    Attributes:
        head: The words that say what kind of thing it is.
        modifiers: The other words.
        senses: Indices of the head's senses, the most likely first; empty: unknown.
    """

    head: str
    modifiers: frozenset[str]
    senses: tuple[int, ...]

    @property
    def privatives(self) -> frozenset[str]:
        """The modifiers after which a thing is none of its head's: "toy", "fake"."""
        return self.modifiers & PRIVATIVE


class Hierarchy:
    """Nouns, their senses, and the more general sense or senses of each.

    Args:
        parents: Indices of the more general senses, for each sense.
        words: ``{word: (sense, ...)}``, the most likely sense first.
        entry_senses: How many senses of an entry count, the most likely ones.
        name_senses: How many senses of a name count.
    """

    def __init__(
        self,
        parents: Sequence[tuple[int, ...]],
        words: dict[str, tuple[int, ...]],
        entry_senses: int = 3,
        name_senses: int = 2,
    ) -> None:
        self.parents = parents
        self.words = words
        self.entry_senses = entry_senses
        self.name_senses = name_senses
        self.ancestors = lru_cache(maxsize=None)(self._ancestors)
        self.parse = lru_cache(maxsize=65536)(self._parse)

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> 'Hierarchy':
        """Return the hierarchy that the package ships; it is read once."""
        return Hierarchy.read(DATA)

    @classmethod
    def read(cls, path: Path, entry_senses: int = 3, name_senses: int = 2) -> 'Hierarchy':
        """Read a hierarchy from a file.

        Args:
            path: A text file with a line for each sense: the numbers of the lines of its parents, a tab, and its words.
                ``mouse:2`` marks the second sense of "mouse". Lines with ``#`` are comments and have no number.
            entry_senses: How many senses of an entry count, the most likely ones.
            name_senses: How many senses of a name count.
        """
        parents: list[tuple[int, ...]] = []
        words: dict[str, list[int]] = {}
        later: list[tuple[str, str, int]] = []
        lines = (line for line in path.read_text(encoding='utf-8').splitlines() if not line.startswith('#'))
        for number, line in enumerate(lines):
            more_general, _, names = line.partition('\t')
            parents.append(tuple(map(int, more_general.split())))
            for name in names.split(','):
                word, _, rank = name.partition(':')
                if rank:
                    later.append((rank, word, number))
                else:
                    words[word] = [number]
        for _, word, number in sorted(later):
            words[word].append(number)
        return cls(parents, {word: tuple(senses) for word, senses in words.items()}, entry_senses, name_senses)

    def _ancestors(self, sense: int) -> frozenset[int]:
        """Return a sense and all that are more general."""
        return frozenset({sense}).union(*map(self.ancestors, self.parents[sense]))

    def lookup(self, word: str) -> tuple[int, ...]:
        """Return the senses of a normalised word, or of its singular; empty if it is unknown."""
        for form in singular_forms(word):
            for spelling in (form, form.replace(' ', '')):
                if spelling in self.words:
                    return self.words[spelling]
        return ()

    def senses(self, name: str) -> tuple[int, ...]:
        """Return the senses of a whole name, the most likely first; empty if it is unknown.

        A qualifier in parentheses selects the senses that are a kind of it: "mouse (animal)".
        """
        senses = self.lookup(normalize(name))
        qualifier = re.search(r'\(([^()]*)\)', name)
        if qualifier and senses:
            text = normalize(qualifier.group(1))
            for part in (text, text.split(' ')[-1]):
                general = set(self.lookup(part))
                selected = tuple(sense for sense in senses if self.ancestors(sense) & general)
                if selected:
                    return selected
        return senses

    def _parse(self, name: str) -> tuple[Phrase, ...]:
        """Return the readings of a name, the most likely first: "black heart" is a cherry, or a heart that is black."""
        words = normalize(name).split(' ')
        if len(words) > 1 and words[0] in ARTICLES:
            words = words[1:]
            name = ' '.join(words)
        start, end, senses = self.find_head(name, words)
        modifiers = frozenset(words[:start] + words[end:])
        readings = [Phrase(' '.join(words[start:end]), modifiers, senses)]
        if words[start] in COLOURS and end - start > 1:
            literal = self.parse(' '.join(words[start + 1 : end]))[0]
            readings.append(Phrase(literal.head, literal.modifiers | modifiers | {words[start]}, literal.senses))
        return tuple(readings)

    def find_head(self, name: str, words: Sequence[str]) -> tuple[int, int, tuple[int, ...]]:
        """Find the head of a name: all words, or else the longest known ones that end before the first preposition.

        Args:
            name: The name.
            words: Its words, normalised, without an article.

        Returns:
            tuple: Start and end of the head in ``words``, and its senses. If no head is known, it is the last word
            before the preposition, and has no senses.
        """
        senses = self.senses(name)
        if senses:
            return 0, len(words), senses
        end = next((i for i, word in enumerate(words) if i and word in PREPOSITIONS), len(words))
        for start in range(end):
            senses = self.lookup(' '.join(words[start:end]))
            if senses:
                return start, end, senses
        return end - 1, end, ()

    def is_kind_of(self, entry: str, name: str) -> bool | None:
        """Whether an entry means the same as a name or a kind of it; None if the hierarchy does not know one of them.

        A phrase that the hierarchy does not have is read as its head and modifiers: "red taxi" is a kind of "red car",
        of "car" and of "vehicle", and no kind of "blue car". "toy car" and "model car" are no kinds of "car".
        """
        return self.compare(self.parse(entry), self.parse(name))

    def compare(self, entry: tuple[Phrase, ...], name: tuple[Phrase, ...]) -> bool | None:
        """Do what :meth:`is_kind_of` does, for the readings of an entry and of a name.

        Any reading of the entry may be a kind of any reading of the name. If none is, the most likely readings decide
        between False and None.
        """
        answers = [self.compare_readings(a, b) for a in entry for b in name]
        return True if True in answers else answers[0]

    def compare_readings(self, entry: Phrase, name: Phrase) -> bool | None:
        """Do what :meth:`is_kind_of` does, for one reading of each."""
        if entry.head != name.head:
            if not entry.senses or not name.senses:
                return None
            general = name.senses[: self.name_senses]
            if all(self.ancestors(sense).isdisjoint(general) for sense in entry.senses[: self.entry_senses]):
                # a toy car is a toy
                return name.head in entry.privatives and name.modifiers <= entry.modifiers
        return name.modifiers <= entry.modifiers and name.privatives == entry.privatives

    def hyponyms(self, names: Sequence[str], entries: Sequence[str]) -> np.ndarray:
        """Return which entries are hyponyms of each name: they mean the same or a kind of it.

        Returns:
            int8 ``[K, L]``, names by entries: 1: yes, 0: no, -1: the hierarchy does not know one of them.
        """
        parsed_names = [self.parse(name) for name in names]
        parsed_entries = [self.parse(entry) for entry in entries]
        by_sense: dict[int, list[int]] = {}
        by_head: dict[str, list[int]] = {}
        for row, readings in enumerate(parsed_names):
            for reading in readings:
                by_head.setdefault(reading.head, []).append(row)
                for sense in reading.senses[: self.name_senses]:
                    by_sense.setdefault(sense, []).append(row)
        result = np.zeros((len(names), len(entries)), dtype=np.int8)
        result[[not readings[0].senses for readings in parsed_names]] = -1
        result[:, [not readings[0].senses for readings in parsed_entries]] = -1
        for column, entry in enumerate(parsed_entries):
            rows: set[int] = set()
            for reading in entry:
                for head in (reading.head, *reading.privatives):
                    rows.update(by_head.get(head, ()))
                for sense in reading.senses[: self.entry_senses]:
                    for ancestor in self.ancestors(sense):
                        rows.update(by_sense.get(ancestor, ()))
            for row in rows:  # all others are 0 or -1
                answer = self.compare(entry, parsed_names[row])
                result[row, column] = -1 if answer is None else answer
        return result


def is_kind_of(entry: str, name: str) -> bool | None:
    """Whether ``entry`` means the same as ``name`` or a kind of it; None if the hierarchy does not know one of them."""
    return Hierarchy.load().is_kind_of(entry, name)


def hyponyms(names: Sequence[str], entries: Sequence[str]) -> np.ndarray:
    """Return which entries mean the same as each name or a kind of it, as :meth:`Hierarchy.hyponyms`."""
    return Hierarchy.load().hyponyms(names, entries)


kinds = hyponyms  # the old name, for one release
