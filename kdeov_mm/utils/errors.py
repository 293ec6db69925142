"""User errors and Ctrl-C: one line on stderr, and exit status 2 or 130."""

import errno
import os
import signal
import sys
from contextlib import contextmanager
from typing import Any, Callable, Iterator

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


@contextmanager
def interruptible(advice: Callable[[], str] = lambda: 'run the same command again') -> Iterator[None]:
    """Turn Ctrl-C in the body, or in the function that this decorates, into one line and exit status 130.

    Of several processes that torchrun started, the first prints it. ``KDEOV_TRACEBACK=1`` in the environment keeps the
    traceback, which tells where a program hangs.

    Args:
        advice: Says what is saved and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        if os.environ.get('KDEOV_TRACEBACK'):
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun hands on the one that the terminal has sent already
        if os.environ.get('RANK', '0') == '0':
            start = '\n' if sys.stderr.isatty() else ''  # after a progress bar and the terminal's ^C
            print(f'{start}interrupted: {one_line(advice())}', file=sys.stderr)
        sys.exit(130)


def one_line(error: object) -> str:
    """Return an error's message, or another text, on one line, safe to print on a terminal."""
    return printable(' '.join(str(error).split()))
