"""User errors and Ctrl-C: one line on stderr, and exit status 2 or 130."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .display import printable

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, over quota, larger than the system allows


class InputError(ValueError):
    """Reports an input that cannot be used; the message names the input, its value and the fix."""


@contextmanager
def user_errors(until: Any = None) -> Iterator[None]:
    """Turn a ``ValueError`` or ``OSError`` of the body into one line and exit status 2.

    Args:
        until: An object with a flag ``reached``, such as the hook ``FirstStepHook``. Errors after this flag is set keep
            their traceback, except for a full disk. ``KDEOV_TRACEBACK=1`` in the environment keeps every traceback.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        keep_traceback = until is not None and until.reached and getattr(error, 'errno', None) not in DISK_ERRORS
        if os.environ.get('KDEOV_TRACEBACK') or keep_traceback:
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)
        sys.exit(2)


@contextmanager
def interruptible(advice: Callable[[], str] = lambda: 'run the same command again') -> Iterator[None]:
    """Turn Ctrl-C in the body, or in the function that this decorates, into one line and exit status 130.

    Under torchrun only rank 0 prints the line. ``KDEOV_TRACEBACK=1`` in the environment keeps the traceback, which
    shows where a program hangs.

    Args:
        advice: Says what is saved and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        if os.environ.get('KDEOV_TRACEBACK'):
            raise
        # Ignore the second SIGINT: torchrun forwards what the terminal already sent.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.environ.get('RANK', '0') == '0':
            start = '\n' if sys.stderr.isatty() else ''  # after a progress bar and the terminal's ^C
            print(f'{start}interrupted: {one_line(advice())}', file=sys.stderr)
        sys.exit(130)


def one_line(error: object) -> str:
    """Return an error's message, or another text, on one line, safe to print on a terminal."""
    return printable(' '.join(str(error).split()))
