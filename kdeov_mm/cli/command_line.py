"""Reading of the command line, and what all commands have in common: answers in JSON, exit status, Ctrl-C."""

import argparse
import importlib
import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Optional, Sequence, TextIO

from kdeov_mm.utils.errors import interruptible, one_line
from kdeov_mm.version import __version__

ABOUT = """One small YOLO that knows CLIP's words: classify, search and detect with names of your own.

    kdeov detect photo.jpg --names "red circle" dog      boxes, drawn into work_dirs/detect
    kdeov classify photos/ --names cat dog --top 1       the best name of each image
    kdeov search "a red bus at night" photos/            the images that fit a text best
    kdeov detect clip.mp4 --names dog --json | jq .      results for a script, one line an image
"""
AFTER = """Exit status: 0 done; 1 it failed on the way; 2 something that was given cannot be used (one line says what).
Set KDEOV_TRACEBACK=1 to see where an error comes from."""
COMMANDS = dict(  # the module of this package: what it does
    detect='find words of your own in images, with boxes',
    classify='name whole images',
    search='find the images that fit a text',
    index='make, fill and ask an index of many images; such as: kdeov index build photos/ '
    '--model work_dirs/export/image_encoder.onnx --text work_dirs/export/text_encoder.onnx',
    export='write a model as ONNX files, which need no PyTorch; such as: '
    'kdeov export kdeov_yolov8n --vocabulary names.txt',
    demo='a web page to try an exported model on; such as: kdeov demo work_dirs/export',
    bench='measure speed and size of exported models; such as: kdeov bench --help',
    train='train a model from a config; such as: kdeov train configs/kdeov_yolov8n.py --work-dir work_dirs/mine',
    test='measure a model on the data of its config; such as: kdeov test kdeov_yolov8n',
)
WITH_WEIGHTS = dict(train=False, test=True, export=True)  # commands on a config: whether a checkpoint follows it
STYLE = argparse.RawDescriptionHelpFormatter


class Call(NamedTuple):
    """What was asked for.

    Attributes:
        command: The command.
        module: The command's module.
        args: What it was given.
        json: Whether stdout is for JSON alone.
    """

    command: str
    module: ModuleType
    args: argparse.Namespace
    json: bool


def make_parser() -> argparse.ArgumentParser:
    """The parser of everything up to the command."""
    parser = argparse.ArgumentParser('kdeov', description=ABOUT, epilog=AFTER, formatter_class=STYLE)
    parser.add_argument('--version', action='version', version=f'kdeov_mm {__version__}')
    parser.add_argument('--json', action='store_true', help='print JSON on stdout, and all else on stderr')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, about in COMMANDS.items():
        commands.add_parser(name, add_help=False, prefix_chars='\0', help=about).add_argument(
            'rest', nargs=argparse.REMAINDER
        )
    return parser


def parse(argv: Sequence[str], program: Optional[str] = None) -> Call:
    """Read the command line.

    Args:
        argv: The arguments.
        program: What usage messages call the command; default: ``kdeov`` and its name.

    Raises:
        SystemExit: With 2, after a usage message; with 0, after ``--help`` or ``--version``.
    """
    given = make_parser().parse_args(argv)
    command, rest = given.command, given.rest
    module = importlib.import_module(f'kdeov_mm.cli.{command}')
    parser = argparse.ArgumentParser(program or f'kdeov {command}', description=module.__doc__, formatter_class=STYLE)
    module.add_options(parser)
    if not hasattr(module, 'JSON_LINES') and rest[-1:] == ['--json']:
        given.json, rest = True, rest[:-1]
    if command in WITH_WEIGHTS:
        rest = find_config(rest, WITH_WEIGHTS[command])
    args = parser.parse_args(rest)
    as_lines = hasattr(module, 'JSON_LINES') and args.json
    if hasattr(module, 'check_options'):
        module.check_options(parser, args)
    return Call(command, module, args, given.json or as_lines)


def find_config(rest: list[str], weights: bool) -> list[str]:
    """Put config and weights in the place of a model's name at the start of a command's arguments."""
    if not rest or rest[0].endswith('.py') or rest[0].startswith('-'):
        return rest
    from kdeov_mm.utils.model_index import read_index

    model = read_index().get(rest[0])
    if model is None:
        return rest
    alone = len(rest) == 1 or rest[1].startswith('-')
    return [model.config, *([model.weights] if weights and alone and model.weights else []), *rest[1:]]


def run(call: Call) -> Any:
    """Run a command, and print its answer as JSON if that is asked for."""
    stdout = sys.stdout
    if hasattr(call.module, 'JSON_LINES'):

        def answer(content: dict) -> None:
            if call.json:
                print(json.dumps(content), file=stdout, flush=True)

        call.args.json = call.json
        with redirect_stdout(sys.stderr if call.json else stdout):
            return call.module.run(call.args, answer)
    printed = io.StringIO()
    with redirect_stdout(Both(printed, sys.stderr) if call.json else stdout):
        returned = call.module.run(call.args)
    if call.json:
        told = dict(output=printed.getvalue().splitlines()) if returned is None else dict(result=returned)
        print(json.dumps(dict(command=call.command, **told), default=str), file=stdout)
    return returned


class Both(io.TextIOBase):
    """Writes to two places."""

    def __init__(self, *places: TextIO) -> None:
        self.places = places

    def write(self, text: str) -> int:
        for place in self.places:
            place.write(text)
        return len(text)

    def flush(self) -> None:
        for place in self.places:
            place.flush()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line.

    Returns:
        int: The exit status: 0 done, 1 an error on the way.

    Raises:
        SystemExit: With 2 if something that was given cannot be used, with 130 after Ctrl-C.
    """
    try:
        with interruptible():
            run(parse(sys.argv[1:] if argv is None else argv))
        return 0
    except BrokenPipeError:  # of "| head", which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get('KDEOV_TRACEBACK'):
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 1


def run_script(command: str) -> Any:
    """Run a command for its script in ``tools/``: what goes wrong on the way keeps its traceback.

    Returns:
        What the command returns, such as the metrics of a test.
    """
    with interruptible():
        return run(parse([command, *sys.argv[1:]], Path(sys.argv[0]).name))
