"""torchrun for dist_train.sh and dist_test.sh: after Ctrl-C, which the processes report, it prints no traceback."""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
