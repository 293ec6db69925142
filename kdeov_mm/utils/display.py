"""Text from files, names and other people, made safe to print on a terminal."""

import difflib
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

HIDDEN = ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')  # control, format (right-to-left marks), surrogates, line and paragraph ends
JOINERS = '\u200c\u200d'  # needed by Persian and by emoji; they change no order and start no sequence


def printable(text: str) -> str:
    r"""Replace characters that a terminal would obey or hide with their escapes, such as ``\x1b`` or ``\u202e``.

    Bytes of a file name that are not UTF-8, which Python holds as surrogates, become ``\udcff``, and can be printed.
    """
    if text.isascii() and text.isprintable():
        return text
    return ''.join(escape(c) if unicodedata.category(c) in HIDDEN and c not in JOINERS else c for c in text)


def escape(character: str) -> str:
    """Return the escape sequence that Python's source code would use for a character."""
    return character.encode('unicode_escape').decode() if not is_surrogate(character) else f'\\u{ord(character):04x}'


def is_surrogate(character: str) -> bool:
    """Return whether a character is a surrogate, such as Python uses for bytes that are not UTF-8."""
    return 0xD800 <= ord(character) <= 0xDFFF


def short_repr(value: Any) -> str:
    """Return a value as Python source, safe to print on a terminal, and short however long or deep the value is."""
    return SHORT.repr(value)


SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80


def short_text(value: Any) -> str:
    """Return a text without quotes and any other value as :func:`short_repr`; safe to print and short."""
    return printable(value[:80]) if isinstance(value, str) else short_repr(value)


def shorten(text: str, length: int = 60) -> str:
    """Cut a text to ``length`` characters, for an error message."""
    return text if len(text) <= length else text[: length - 3] + '...'


def suggest(name: str, known: Iterable[str]) -> str:
    """``'; did you mean a, b?'`` for the known names closest to ``name``, empty if none is close."""
    close = difflib.get_close_matches(name, list(known))
    return f'; did you mean {", ".join(close)}?' if close else ''
