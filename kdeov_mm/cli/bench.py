"""Compare speed and size of exported networks with baselines, interleaved in one run (docs/benchmark.md).

    kdeov bench --prepare-only       # writes the networks' files once
    kdeov bench                      # all available engines, batch sizes 1, 8 and 64
    kdeov bench --engines ort_fp32 ort_int8 --batch-sizes 1 --models KDEOV "CLIP ViT-B/32"

Results are kept in --out-dir: a second call resumes where the first one ended.
"""

import argparse

from kdeov_mm.benchmarks import ENGINE_NAMES
from kdeov_mm.utils.errors import InputError, user_errors


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('--models', nargs='+', metavar='NAME', help='prefixes of model names; default: all')
    parser.add_argument(
        '--engines',
        nargs='+',
        choices=ENGINE_NAMES,
        metavar='ENGINE',
        help=f'of {", ".join(ENGINE_NAMES)}; default: all, cuda if there is a GPU',
    )
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 8, 64], metavar='B', help='default: 1 8 64')
    parser.add_argument(
        '--repeats', type=int, default=30, help='maximum number of measured rounds; the minimum is three; default: 30'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=15,
        help='time for one network and batch size, after which no round starts; default: 15',
    )
    parser.add_argument('--threads', type=int, help="threads of each engine on the CPU; default: PyTorch's choice")
    parser.add_argument('--out-dir', default='work_dirs/benchmark', help='folder of JSON, Markdown, plot, ONNX files')
    parser.add_argument('--prepare-only', action='store_true', help='write the files of the networks and compile them')
    parser.add_argument('--again', action='store_true', help='repeat measurements that exist')


def check(args: argparse.Namespace) -> None:
    """Check the options' ranges.

    Raises:
        InputError: If an option is out of range.
    """
    for option in ('repeats', 'threads'):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise InputError(f'--{option} {value}: must be at least 1')
    if args.seconds < 0:
        raise InputError(f'--seconds {args.seconds:g}: must not be negative')
    if min(args.batch_sizes) < 1:
        raise InputError(f'--batch-sizes {min(args.batch_sizes)}: must be at least 1')


def run(args: argparse.Namespace) -> None:
    """Measure, and write the report."""
    with user_errors():
        check(args)
    from kdeov_mm.benchmarks import deployment

    deployment.run(args)
