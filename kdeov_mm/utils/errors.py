"""User errors: one line on stderr and exit status 2."""
import os
import sys
from contextlib import contextmanager
from typing import Iterator


class InputError(ValueError):
    """What the user gave cannot be used; the message names the input, its value and the fix."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a ``ValueError`` or ``OSError`` of the body into one line and exit status 2.

    For the part of a tool that reads the user's input. ``KDEOV_TRACEBACK=1`` in the environment keeps the
    traceback.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if os.environ.get('KDEOV_TRACEBACK'):
            raise
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        sys.exit(2)
