"""User errors: one line on stderr and exit status 2."""

import errno
import os
import sys
from contextlib import contextmanager
from typing import Iterator, Optional

from mmengine.hooks import Hook

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, over quota, larger than the system allows


class InputError(ValueError):
    """What the user gave cannot be used; the message names the input, its value and the fix."""


class FirstStep(Hook):
    """Knows whether training or testing has begun: before, an error is most likely one of the input."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.reached = False

    def before_train_iter(self, *args, **kwargs) -> None:
        self.reached = True

    before_test_iter = before_train_iter


@contextmanager
def user_errors(until: Optional[FirstStep] = None) -> Iterator[None]:
    """Turn a ``ValueError`` or ``OSError`` of the body into one line and exit status 2.

    Args:
        until: once this hook has seen the first step, errors keep their traceback, but for those of a full disk.
            ``KDEOV_TRACEBACK=1`` in the environment keeps it always.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        training = until is not None and until.reached and getattr(error, 'errno', None) not in DISK_ERRORS
        if os.environ.get('KDEOV_TRACEBACK') or training:
            raise
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        sys.exit(2)
