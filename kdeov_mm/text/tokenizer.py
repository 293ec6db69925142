"""CLIP's tokenizer, without PyTorch or a tokenizer package."""

import html
import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np


def byte_characters() -> list[str]:
    """Return the printable characters that represent the 256 bytes in GPT-2's and CLIP's vocabularies."""
    printable = [*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1), *range(ord('®'), ord('ÿ') + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [characters[byte] for byte in range(256)]


@lru_cache(maxsize=1)
def word_pattern() -> re.Pattern:
    """Return the pattern of words: endings of contractions, runs of letters, digits, runs of other characters."""
    # Python's \w has letters, decimal digits, these numbers, and the underscore
    numbers = ''.join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in ('Nl', 'No'))
    return re.compile(
        rf"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|(?:(?![{numbers}])[^\W\d_])+"
        rf'|[\d{numbers}]|(?:[^\s\w]|_)+',
        re.IGNORECASE,
    )


class Tokenizer:
    """Encodes texts with CLIP's byte pair encoding (Radford et al. 2021; Sennrich et al. 2016), in lower case.

    OpenCLIP's tokenizer also repairs wrongly decoded text with ftfy. This one only normalises HTML entities, curly
    quotes and composed characters.

    Args:
        merges: Pairs of symbols such as ``'t h'`` in the order of learning. The vocabulary is 256 bytes, the same bytes
            at the end of a word, one symbol for each merge, and start and end of text.
        context_length: Number of tokens of each text; shorter texts are padded with zeros, longer ones truncated.
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
        """Return token ids of texts, int64 ``[N, context_length]``."""
        result = np.zeros((len(texts), self.context_length), dtype=np.int64)
        for row, text in zip(result, texts):
            ids = [self.start, *self.encode(text)][: self.context_length - 1] + [self.end]
            row[: len(ids)] = ids
        return result

    def encode(self, text: str) -> list[int]:
        """Return token ids of one text of any length, without start and end."""
        text = html.unescape(html.unescape(unicodedata.normalize('NFC', text)))
        text = re.sub('[\u2018\u2019]', "'", re.sub('[\u201c\u201d]', '"', text))
        words = word_pattern().findall(' '.join(text.split()).lower())
        return [index for word in words for index in self.encode_word(word)]

    def _encode_word(self, word: str) -> list[int]:
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
