"""Names, prompts and CLIP's tokenizer, without PyTorch or a package of tokenizers."""

import html
import re
import sys
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Any, List, Sequence

import numpy as np

from kdeov_mm.utils.display import brief, is_surrogate
from kdeov_mm.utils.errors import InputError

MAX_CHARACTERS = 2000  # of a name; CLIP reads at most 77 tokens, about 300 characters


def fill(template: str, name: str) -> str:
    """Put a name into a template, as a reader would write it: ``traffic_light`` becomes ``traffic light``.

    Only ``{}`` and ``{article}`` are replaced: ``str.format`` would also look up attributes and pad without limit.
    """
    name = name.replace('_', ' ').strip()
    fields = {'{}': name, '{article}': 'an' if name[:1].lower() in 'aeiou' else 'a'}
    return FIELDS.sub(lambda field: fields[field[0]], template)


FIELDS = re.compile(r'\{(?:article)?\}')


def check_templates(templates: Sequence[str], what: str = 'templates') -> None:
    """Check prompt templates.

    Raises:
        InputError: If there is none, or one does not have exactly one ``{}``, has more than one ``{article}`` or
            another brace, or is longer than ``MAX_CHARACTERS``.
    """
    bad = [template for template in templates if not is_template(template)]
    if bad or not len(templates):
        raise InputError(
            f'{what}: each needs exactly one "{{}}" for the name, may have one "{{article}}", no other brace, and at '
            f'most {MAX_CHARACTERS} characters; got {brief(bad or templates)}'
        )


def is_template(template: Any) -> bool:
    """Return whether a value is a text with one ``{}``, at most one ``{article}``, and no other brace."""
    if not isinstance(template, str) or len(template) > MAX_CHARACTERS or not is_unicode(template):
        return False
    rest = template.replace('{article}', '', 1)
    return '{}' in rest and rest.count('{') == rest.count('}') == 1


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: half of a character, as JSON may hold, cannot."""
    return not any(map(is_surrogate, text))


def check_names(names: Sequence[str]) -> None:
    """Check a vocabulary's names.

    Raises:
        ValueError: There is none, or one is not a string, is empty, is longer than ``MAX_CHARACTERS`` or stands
            there more than once.
    """
    if isinstance(names, str):
        raise ValueError(f'names: expected a list, got the string {shorten(names)!r}; for a file use read_names')
    if not len(names):
        raise ValueError('names: the vocabulary is empty; give at least one name')
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'names: each must be a non-empty string, but number {index + 1} is {brief(name)}')
        if len(name) > MAX_CHARACTERS:
            raise ValueError(
                f'names: number {index + 1}, {shorten(name)!r}, has {len(name)} characters; CLIP reads '
                f'far fewer than {MAX_CHARACTERS}: shorten it, or check that this is a list of names'
            )
        if not is_unicode(name):
            raise ValueError(f'names: number {index + 1}, {shorten(name)!r}, is not valid Unicode; correct the file')
    repeated = [shorten(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f'names: {repeated[:5]!r} stand there more than once; name each class once')


def shorten(text: str, length: int = 60) -> str:
    """At most ``length`` characters of a text, for an error message."""
    return text if len(text) <= length else text[: length - 3] + '...'


def byte_characters() -> List[str]:
    """The printable character that stands for each byte in GPT-2's and CLIP's vocabularies, by the byte's value."""
    printable = [*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1), *range(ord('®'), ord('ÿ') + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [characters[byte] for byte in range(256)]


@lru_cache(maxsize=1)
def word_pattern() -> re.Pattern:
    """What byte pair encoding takes apart: contractions' endings, runs of letters, single numbers, runs of the rest."""
    # Python's \w has letters, decimal digits, these, and the underscore
    numbers = ''.join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in ('Nl', 'No'))
    return re.compile(
        rf"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|(?:(?![{numbers}])[^\W\d_])+"
        rf'|[\d{numbers}]|(?:[^\s\w]|_)+',
        re.IGNORECASE,
    )


class Tokenizer:
    """CLIP's byte pair encoding (Radford et al. 2021; Sennrich et al. 2016), lower case.

    OpenCLIP's also repairs wrongly decoded text with ftfy; here only HTML's entities, curly quotes and composed
    characters are put right.

    Args:
        merges: Pairs of symbols in the order in which they are learnt, ``'t h'``; the vocabulary is 256 bytes, the
            same ending a word, one for each merge, and the texts' start and end.
        context_length: Tokens of each text, the rest is zeros; of a longer one only the beginning counts.
    """

    def __init__(self, merges: Sequence[str], context_length: int) -> None:
        pairs = [tuple(merge.split()) for merge in merges]
        self.bytes = byte_characters()
        characters = sorted(self.bytes, key=lambda c: (ord(c) >= 256, ord(c)))
        symbols = [*characters, *(c + '</w>' for c in characters), *map(''.join, pairs)]
        self.ids = {symbol: index for index, symbol in enumerate(symbols)}
        self.start, self.end = len(symbols), len(symbols) + 1
        self.ids.update({'<start_of_text>': self.start, '<end_of_text>': self.end})
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self.context_length = context_length
        self.encode_word = lru_cache(maxsize=65536)(self._encode_word)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of texts, int64 ``[N, context_length]``."""
        result = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in zip(result, texts):
            ids = [self.start, *self.encode(text)][: self.context_length - 1] + [self.end]
            row[: len(ids)] = ids
        return result

    def encode(self, text: str) -> List[int]:
        """Token ids of one text of any length, without start and end."""
        text = html.unescape(html.unescape(unicodedata.normalize('NFC', text)))
        text = re.sub('[\u2018\u2019]', "'", re.sub('[\u201c\u201d]', '"', text))
        words = word_pattern().findall(' '.join(text.split()).lower())
        return [index for word in words for index in self.encode_word(word)]

    def _encode_word(self, word: str) -> List[int]:
        if word in ('<start_of_text>', '<end_of_text>'):
            return [self.ids[word]]
        symbols = [self.bytes[byte] for byte in word.encode()]
        symbols[-1] += '</w>'
        while len(symbols) > 1:
            pairs = set(zip(symbols, symbols[1:]))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            merged, index = [], 0
            while index < len(symbols):
                step = 2 if tuple(symbols[index : index + 2]) == best else 1
                merged.append(''.join(symbols[index : index + step]))
                index += step
            symbols = merged
        return [self.ids[symbol] for symbol in symbols]
