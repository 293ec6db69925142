"""User errors: one line on stderr and exit status 2."""

import errno
import os
import sys
from contextlib import contextmanager
from typing import Any, Iterator

from .display import printable

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, over quota, larger than the system allows


class InputError(ValueError):
    """What the user gave cannot be used; the message names the input, its value and the fix."""


@contextmanager
def user_errors(until: Any = None) -> Iterator[None]:
    """Turn a ``ValueError`` or ``OSError`` of the body into one line and exit status 2.

    Args:
        until: An object with a flag ``reached``, such as the hook ``FirstStep``. Once it is set, errors keep their
            traceback, but for those of a full disk. ``KDEOV_TRACEBACK=1`` in the environment keeps it always.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        training = until is not None and until.reached and getattr(error, 'errno', None) not in DISK_ERRORS
        if os.environ.get('KDEOV_TRACEBACK') or training:
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)
        sys.exit(2)


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, safe to print on a terminal."""
    return printable(' '.join(str(error).split()))
