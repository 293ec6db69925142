"""The commands that the documents show: where they stand, and whether each can be what its program takes."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple
from unittest import mock

import torch
from safetensors.torch import load_file

from kdeov_mm.cli.command_line import parse as parse_kdeov
from kdeov_mm.utils import load_config
from kdeov_mm.utils.model_index import find_model
from tool_loading import load_tool

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path for pattern in ('*.md', 'docs/**/*.md', 'kdeov_mm/**/*.md') for path in ROOT.glob(pattern))
PROGRAMS = (
    'python',
    'tools/',
    'torchrun',
    'make',
    'kdeov',
    'mim',
    'pip',
    'pytest',
    'ln',
    'git',
    'cd',
    'nox',
    'pre-commit',
    'mkdocs',
    'tensorboard',
    'export',
    'curl',
    'npm',
    'docker',
    'apt',
    'source',
)
SHELLS = ('', 'sh', 'bash', 'shell', 'console')
MIM = ('search', 'install', 'train', 'test', 'list', 'download')


class Command(NamedTuple):
    """A command of a document: its words, without comments, with variables of the block filled in."""

    path: Path
    line: int
    words: List[str]

    def __str__(self) -> str:
        return f'{self.path.relative_to(ROOT)}:{self.line} {" ".join(self.words[:3])}'


def read_commands(path: Path) -> Iterator[Command]:
    """The commands in a document's blocks of code, whether fenced or indented."""
    fence, variables, held, first = None, {}, '', 0
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if match := re.match(r'\s*```(\w*)', line):
            fence, variables = match[1] if fence is None else None, {}
            continue
        if fence not in (*SHELLS, None) or (fence is None and not held and not line.startswith('    ')):
            continue
        first, held = (first, f'{held} {line.strip()}') if held else (number, line.strip())
        if held.endswith('\\'):
            held = held[:-1]
            continue
        text, held = held.removeprefix('$ '), ''
        if assigned := re.fullmatch(r'(\w+)=(\S+)', text):
            variables[assigned[1]] = assigned[2]
        elif text.split(' ')[0].startswith(PROGRAMS) or '/bin/python' in text.split(' ')[0]:
            for name, value in variables.items():
                text = text.replace(f'${name}', value)
            for part in re.split(r'\s+&&\s+', text):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r'\w+=\S*', words[0]) and words[0] != 'export':
                    words = words[1:]
                yield Command(path, first, words)


def check(command: Command) -> None:
    """Raise an AssertionError unless the program has such options, and the files and fields that are named exist."""
    words = list(command.words)
    if words[0] == 'torchrun':
        words = ['python', *words[next(i for i, word in enumerate(words) if word.startswith('tools/')) :]]
    program = words[0].split('/')[-1]
    if words[0].startswith('tools/dist_'):
        tool, config, *rest = words
        rest = rest[2 if 'test' in tool else 1 :]
        words = [
            'python',
            f'tools/{"test" if "test" in tool else "train"}.py',
            config,
            *(['CHECKPOINT'] if 'test' in tool else []),
            *rest,
        ]
        assert (ROOT / tool).is_file(), f'{tool} does not exist'
        program = 'python'
    for word in words:
        if re.fullmatch(r'(configs|tools|docs|tests|requirements|kdeov_mm)/[\w./-]+\.\w+', word):
            assert (ROOT / word).is_file(), f'{word} does not exist'
    if program.startswith('python') and len(words) > 1 and words[1].startswith('tools/'):
        check_tool(ROOT / words[1], words[2:])
    elif program == 'kdeov':
        check_kdeov(words[1:])
    elif program == 'make':
        targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        variables = re.findall(r'^(\w+) *=', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        for word in words[1:]:
            assert word in targets or word.split('=')[0] in variables, f'the Makefile has no {word}'
    elif program == 'mim':
        assert words[1] in MIM, f'mim has no command {words[1]}'
        package = next((word for word in words[2:] if not word.startswith('-')), None)
        assert package in (None, '.', 'kdeov_mm', 'openmim'), f'which package is {package}?'
    elif program == 'pip' or words[1:3] == ['-m', 'pip']:
        extras = re.findall(r'kdeov_mm\[([\w,]+)\]', ' '.join(words))
        known = (ROOT / 'setup.py').read_text()
        for extra in ','.join(extras).split(',') if extras else ():
            assert re.search(rf'\b{extra}=', known), f'setup.py has no extra {extra}'


def check_tool(path: Path, words: List[str]) -> None:
    """Let a tool parse its command line, and look up the fields of the config that it names."""
    assert path.is_file(), f'{path.name} does not exist'
    if path.parent == ROOT / 'tools':  # the script of a command
        return check_kdeov([path.stem, *words])
    check_config(parse(path, words))


def check_config(args: argparse.Namespace) -> None:
    """Look up the fields of the config that a command line names."""
    config = getattr(args, 'config', None)
    options = getattr(args, 'cfg_options', None)
    if not isinstance(config, str) or config.isupper() or not (ROOT / config).is_file():
        return
    with mock.patch('os.getcwd', lambda: str(ROOT)):
        load_config(str(ROOT / config), options, getattr(args, 'data_root', None))


class Parsed(BaseException):
    """What a tool made of its command line; no error that it would report."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__()
        self.namespace = args


def parse(path: Path, words: List[str]) -> argparse.Namespace:
    """The tool's own reading of its arguments: it runs until it has parsed them."""
    module = load_tool(path.relative_to(ROOT / 'tools').with_suffix(''))
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        raise Parsed(original(self, args, namespace))

    with (
        mock.patch.object(argparse.ArgumentParser, 'parse_args', parse_args),
        mock.patch.object(sys, 'argv', [str(path), *words]),
    ):
        try:
            module.main()
        except Parsed as parsed:
            return parsed.namespace
        except SystemExit as error:
            raise AssertionError(f'{path.name} does not take {" ".join(words)}') from error
    raise AssertionError(f'{path.name} has no command line')


def check_kdeov(words: List[str]) -> None:
    """Let ``kdeov`` parse its arguments, and look up the fields of the config that they name."""
    if '--help' in words or '--version' in words:
        return
    try:
        args = parse_kdeov(words).args
    except SystemExit as error:
        raise AssertionError(f'kdeov does not take {" ".join(words)}') from error
    check_config(args)


def make_checkout(folder: Path) -> Path:
    """Fill a folder with links to the code, and the shipped student as the last checkpoint of ``make demo``."""
    for name in ('configs', 'tools', 'kdeov_mm'):
        (folder / name).symlink_to(ROOT / name)
    trained = folder / 'work_dirs' / 'kdeov_yolov8n'
    trained.mkdir(parents=True)
    checkpoint = dict(state_dict=load_file(find_model('kdeov_yolov8n').weights), meta={}, optimizer={}, message_hub={})
    torch.save(checkpoint, trained / 'epoch_14.pth')
    (trained / 'last_checkpoint').write_text(str(trained / 'epoch_14.pth'))
    return folder


def run_command(words: List[str], folder: Path) -> None:
    """Run a ``python`` or ``kdeov`` command in such a folder; raise an AssertionError unless it succeeds."""
    done = subprocess.run(
        [sys.executable, *(['-m', 'kdeov_mm'] if words[0] == 'kdeov' else []), *words[1:]],
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'{" ".join(words)}: {done.stdout[-1000:]}{done.stderr[-3000:]}'
