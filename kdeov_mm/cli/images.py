"""Options, checks and the loop over images of the commands that run a model on images."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdeov_mm.utils.errors import InputError, one_line, user_errors
from kdeov_mm.utils.options import check_checkpoint_file, check_files

if TYPE_CHECKING:
    from kdeov_mm.apis import KDEOVInferencer
    from kdeov_mm.structures.results import ImageResult

MODEL = 'kdeov_yolov8n'
DIGITS = 6  # of the index in picture names
Answer = Callable[[dict], None]  # prints one result as a line of JSON with --json


def add_images(parser: argparse.ArgumentParser, nargs: str = '+') -> None:
    """Add the argument for images."""
    parser.add_argument(
        'images', nargs=nargs, metavar='IMAGE', help='files, folders, globs, videos, or the index of a camera'
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model."""
    parser.add_argument(
        '--model',
        default=MODEL,
        metavar='MODEL',
        help='a name of the model index, a config (.py), a '
        f'work dir (with a separator: ./mine), an ONNX file or the folder of "kdeov export"; default: {MODEL}',
    )
    parser.add_argument('--checkpoint', metavar='FILE', help="weights; default: the model's own")
    parser.add_argument('--device', help='such as cpu or cuda:0; default: a GPU if there is one')
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='images in one run; default: 8')
    parser.add_argument('--json', action='store_true', help='print JSON on stdout, and everything else on stderr')


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the options that give the vocabulary."""
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument('--names', nargs='+', metavar='NAME', help='class names to choose from')
    names.add_argument(
        '--names-file',
        metavar='FILE',
        help='a text file with one class name a line, also "red star = 0.4" with its minimum score, or a .json file',
    )
    parser.add_argument(
        '--templates', metavar='T', help="none, single, openai_imagenet_80, vild or a file; default: the model's"
    )
    parser.add_argument(
        '--embeddings',
        metavar='FILE',
        help='.npy or .safetensors with one row for each class name, in place of the text encoder',
    )


def given_images(paths: list[str]) -> list[str | int]:
    """Return paths without duplicates, with indices of cameras as integers."""
    return [int(path) if path.isdecimal() and not Path(path).exists() else path for path in dict.fromkeys(paths)]


def check_model(args: argparse.Namespace) -> None:
    """Check the options of :func:`add_model`, without loading anything.

    Raises:
        ValueError, FileNotFoundError: If there is no such model or file.
    """
    from kdeov_mm.apis.resolve import is_exported, resolve_model

    if args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: must be at least 1')
    if is_exported(args.model):
        check_files('--model', args.model)
    else:
        config, checkpoint = resolve_model(args.model, args.checkpoint)
        check_files('--model', config)
        check_checkpoint_file(checkpoint)


@contextmanager
def named_by(option: str) -> Iterator[None]:
    """Turn a ValueError about class names into an InputError that names the option that gave them."""
    try:
        yield
    except ValueError as error:
        raise InputError(f'{option}: {str(error).removeprefix("names: ")}') from error


def check_names(args: argparse.Namespace) -> list[str]:
    """Check the options of :func:`add_names`, and return the class names.

    Raises:
        ValueError, FileNotFoundError: If a class name is bad, or there is no such file.
    """
    from kdeov_mm.text import check_class_names, read_class_names, resolve_templates

    with named_by('--names' if args.names else '--names-file'):
        names = args.names or read_class_names(args.names_file)
        check_class_names(names)
    if args.embeddings and args.templates:
        raise InputError('--templates: --embeddings already include their templates; give one of the two')
    if args.templates is not None:
        resolve_templates(args.templates)
    check_files('embeddings', args.embeddings)
    return names


def make_inferencer(args: argparse.Namespace, skipped: list[str]) -> 'KDEOVInferencer':
    """Load the model; images that cannot be read are reported on stderr and collected in ``skipped``."""
    from kdeov_mm.apis import KDEOVInferencer

    def skip(error: Exception) -> None:
        skipped.append(str(error))
        print(f'skipped {one_line(error)}', file=sys.stderr)

    return KDEOVInferencer(
        args.model,
        args.checkpoint,
        args.device,
        args.batch_size,
        on_error=skip,
        show_progress=sys.stderr.isatty() and args.json,
    )


def each_image(
    args: argparse.Namespace,
    start: Callable[['KDEOVInferencer'], Iterator['ImageResult']],
    report: Callable[[int, Any], None],
    answer: Answer,
) -> None:
    """Run a task on one image after the other, and report each result at once.

    Args:
        args: Options of :func:`add_images`, :func:`add_names` and :func:`add_model`.
        start: Starts the task with the loaded model and its vocabulary.
        report: Prints a result for people; gets its index and the result.
        answer: Prints the same result for programs.

    Raises:
        SystemExit: If arguments or files are invalid, with 2.
        ValueError: If no image can be read.
    """
    skipped: list[str] = []
    with user_errors():
        from kdeov_mm.apis.sources import check_paths

        check_paths(given_images(args.images))
        names = check_names(args)
        check_model(args)
        inferencer = make_inferencer(args, skipped)
        inferencer.set_vocabulary(args.names_file or names, args.templates, args.embeddings)
        results = start(inferencer)
    index = -1
    for index, result in enumerate(results):
        report(index, result)
        answer(result.to_dict())
    if skipped and index < 0:
        raise ValueError(f'images: none of the {len(skipped)} can be read')


def draw(result: 'ImageResult', folder: str | None, index: int) -> str:
    """Write a result's picture into a folder, if given, and return a message about it."""
    if not folder:
        return ''
    from kdeov_mm.structures.results import picture_path

    return f' -> {result.save(picture_path(folder, index, DIGITS, result.image_name))}'
