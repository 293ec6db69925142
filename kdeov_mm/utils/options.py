"""Common options of commands and their checks; needs neither torch nor MMEngine."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .display import suggest
from .errors import InputError


class RawOptions(dict):
    """Values of ``--cfg-options`` as they were typed, by field; :func:`load_config` parses them."""

    def parse(self) -> dict:
        """Return the values as MMEngine's ``DictAction`` reads them.

        Raises:
            InputError: If a value cannot be read, such as a list without its end.
        """
        from mmengine.config import DictAction

        options = {}
        for name, text in self.items():
            try:
                options[name] = DictAction._parse_iterable(text)
            except (AssertionError, ValueError, SyntaxError) as error:
                raise InputError(f'--cfg-options {name}={text} cannot be read: {error}') from error
        return options


class CfgOptions(argparse.Action):
    """Collects ``FIELD=VALUE`` as MMEngine's ``DictAction`` does, whose import takes longer than all other checks."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        found = RawOptions(getattr(namespace, self.dest) or {})
        for value in values:
            name, equals, text = value.partition('=')
            if not equals:
                parser.error(f'{option}: expected FIELD=VALUE, got {value!r}')
            found[name] = text
        setattr(namespace, self.dest, found)


def add_cfg_options(parser: argparse.ArgumentParser, example: str = '') -> None:
    """Add ``--cfg-options``."""
    such = f', such as {example}' if example else ''
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='FIELD=VALUE',
        help=f'replace fields of the config{such}',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and the rank that a launcher gives."""
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def parse_launched(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line of a tool that a job launcher may start, with ``--launcher`` and its rank."""
    add_launcher(parser)
    args = parser.parse_args()
    set_local_rank(args)
    return args


def set_local_rank(args: argparse.Namespace) -> None:
    """Tell MMEngine the rank that a launcher gave as an option."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


def check_at_least(parser: argparse.ArgumentParser, args: argparse.Namespace, **least: int) -> None:
    """End the program with a usage message if a numeric option is below its least value; None is not looked at."""
    for name, value in least.items():
        given = getattr(args, name)
        if given is not None and given < value:
            parser.error(f'--{name.replace("_", "-")} must be at least {value}, got {given}')


def check_config_file(path: str | Path) -> None:
    """Raise InputError if there is no such config file; name files beside it with a similar name."""
    file = Path(path)
    if not file.is_file():
        names = [str(other) for other in sorted(file.parent.glob('*.py'))] if file.parent.is_dir() else []
        raise InputError(f'config file not found: {path}{suggest(str(path), names)}')


def check_checkpoint_file(path: str | None) -> None:
    """Raise InputError if there is neither such a checkpoint nor such a work dir; addresses are not looked at."""
    if path is not None and '://' not in path and not os.path.exists(path):
        raise InputError(f'checkpoint not found: {path}; give a .pth or .safetensors file, or a work dir with one')


def check_files(option: str, paths: str | Path | Sequence[str | Path] | None) -> None:
    """Raise FileNotFoundError if a file or folder that an option names does not exist; None is not looked at."""
    for path in () if paths is None else [paths] if isinstance(paths, (str, Path)) else paths:
        if '://' not in str(path) and not os.path.exists(path):
            raise FileNotFoundError(f'{option}: no file or folder {str(path)!r}')
