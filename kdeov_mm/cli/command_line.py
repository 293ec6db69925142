"""Parsing of the command line, JSON output, exit status and Ctrl-C of all commands."""

import argparse
import importlib
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TextIO

from kdeov_mm.utils.errors import interruptible, one_line
from kdeov_mm.version import __version__

ABOUT = """A small open-vocabulary YOLO: classify, search and detect with class names of your own.

    kdeov detect photo.jpg --names "red circle" star     boxes, drawn into work_dirs/detect
    kdeov classify photos/ --names circle star --top 1   the best class name of each image
    kdeov search "a red bus at night" photos/            the images that best match a text
    kdeov detect clip.mp4 --names star --json | jq .     results for a script, one line for each image
"""
AFTER = """Exit status: 0 success; 1 error while running; 2 invalid arguments or files (one line says which).
Set KDEOV_TRACEBACK=1 to see where an error comes from."""
COMMANDS = dict(  # module in this package: description
    detect='detect objects in images, with boxes',
    classify='classify whole images',
    search='find the images that match a text',
    index='build, update and query an index of many images; such as: kdeov index build photos/ '
    '--model work_dirs/export/image_encoder.onnx --text work_dirs/export/text_encoder.onnx',
    export='export a model to ONNX files, which need no PyTorch; such as: '
    'kdeov export kdeov_yolov8n --vocabulary names.txt',
    calibrate="calibrate a detector's scores on validation data, and store that with its weights; such as: "
    'kdeov calibrate kdeov_yolov8n -o calibrated.safetensors',
    demo='start a web page to try an exported model; such as: kdeov demo work_dirs/export',
    bench='measure speed and size of exported models; such as: kdeov bench --help',
    train='train a model from a config; such as: kdeov train configs/kdeov_yolov8n.py --work-dir work_dirs/mine',
    test='evaluate a model on the data of its config; such as: kdeov test kdeov_yolov8n',
)
# Commands with a config, and whether a checkpoint follows
WITH_WEIGHTS = dict(train=False, test=True, export=True, calibrate=True)
STYLE = argparse.RawDescriptionHelpFormatter


class Call(NamedTuple):
    """Holds a parsed command line.

    Attributes:
        command: Name of the command.
        module: Module of the command.
        args: Arguments of the command.
        json: Whether stdout is for JSON only.
    """

    command: str
    module: ModuleType
    args: argparse.Namespace
    json: bool


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of everything up to the command."""
    parser = argparse.ArgumentParser('kdeov', description=ABOUT, epilog=AFTER, formatter_class=STYLE)
    parser.add_argument('--version', action='version', version=f'kdeov_mm {__version__}')
    parser.add_argument('--json', action='store_true', help='print JSON on stdout, and all else on stderr')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, about in COMMANDS.items():
        commands.add_parser(name, add_help=False, prefix_chars='\0', help=about).add_argument(
            'rest', nargs=argparse.REMAINDER
        )
    return parser


def parse(argv: Sequence[str], program: str | None = None) -> Call:
    """Parse the command line.

    Args:
        argv: Arguments, the command first.
        program: Name of the program in usage messages; default: ``kdeov`` and the command.

    Raises:
        SystemExit: If the arguments are invalid, with 2; after ``--help`` or ``--version``, with 0.
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
    """Replace a model's name at the start of the arguments by its config and weights.

    Args:
        rest: Arguments after the command.
        weights: Whether a checkpoint may follow the config; the model's own is added if none is given.
    """
    if not rest or rest[0].endswith('.py') or rest[0].startswith('-'):
        return rest
    from kdeov_mm.utils.model_index import read_index

    model = read_index().get(rest[0])
    if model is None:
        return rest
    alone = len(rest) == 1 or rest[1].startswith('-')
    return [model.config, *([model.weights] if weights and alone and model.weights else []), *rest[1:]]


def run(call: Call) -> Any:
    """Run a command, and print its result as JSON with --json.

    A command whose module has ``JSON_LINES`` prints one line of JSON for each result, by its argument ``answer``. The
    other commands print one object at the end.
    """
    stdout = sys.stdout
    if hasattr(call.module, 'JSON_LINES'):

        def answer(content: dict) -> None:
            """Print one result as a line of JSON."""
            if call.json:
                print(json.dumps(content), file=stdout, flush=True)

        call.args.json = call.json
        with redirect_stdout(sys.stderr if call.json else stdout):
            return call.module.run(call.args, answer)
    printed = io.StringIO()
    with redirect_stdout(Tee(printed, sys.stderr) if call.json else stdout):
        returned = call.module.run(call.args)
    if call.json:
        result = dict(output=printed.getvalue().splitlines()) if returned is None else dict(result=returned)
        print(json.dumps(dict(command=call.command, **result), default=str), file=stdout)
    return returned


class Tee(io.TextIOBase):
    """Writes each text to several streams."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        """Write a text to all streams."""
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush all streams."""
        for stream in self.streams:
            stream.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        int: Exit status: 0 for success, 1 for an error while running.

    Raises:
        SystemExit: If arguments or files are invalid, with 2; after Ctrl-C, with 130.
    """
    try:
        with interruptible(), warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f'warning: {one_line(message)}', file=sys.stderr)
            run(parse(sys.argv[1:] if argv is None else argv))
        return 0
    except BrokenPipeError:  # a reader such as "head" has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get('KDEOV_TRACEBACK'):
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 1


def run_script(command: str) -> Any:
    """Run a command for its script in ``tools/``; errors while running keep their traceback.

    Returns:
        Result of the command, such as the metrics of a test.
    """
    with interruptible():
        return run(parse([command, *sys.argv[1:]], Path(sys.argv[0]).name))
