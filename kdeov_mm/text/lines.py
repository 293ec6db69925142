"""Files with one class name or template a line."""

from pathlib import Path

from kdeov_mm.utils.display import is_surrogate
from kdeov_mm.utils.files import read_file
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES

MAX_CHARACTERS = 2000  # of a class name or template; CLIP reads at most 77 tokens, about 300 characters


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8; a lone surrogate, as JSON may hold, cannot."""
    return not any(map(is_surrogate, text))


def read_lines(path: str, what: str) -> list[str]:
    """Read the non-empty lines of a text file, stripped of white space.

    Args:
        path: A UTF-8 file.
        what: Purpose of the file, with which errors begin.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not text, or is empty.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f'{what}: no file {str(path)!r}')
    try:
        text = read_file(path, MAX_METADATA_BYTES, f'{what}:').decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{what}: {str(path)!r} is not UTF-8 text: {error}') from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f'{what}: {str(path)!r} is empty; give one line for each')
    return lines
