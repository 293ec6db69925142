"""``python -m kdeov_mm`` is the command ``kdeov``."""

import sys

from kdeov_mm.cli import main

if __name__ == '__main__':
    sys.exit(main())
