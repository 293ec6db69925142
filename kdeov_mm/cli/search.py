"""Find the images that best match a text or another image.

kdeov search "a red bus at night" photos/ --top 5 --picture found.png
kdeov search --image bus.jpg photos/
kdeov index query "a red bus at night" --index work_dirs/index   an index of "kdeov index build"
"""

import argparse
from pathlib import Path

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError, user_errors
from kdeov_mm.utils.options import check_files
from .images import Answer, add_images, add_model, check_model, given_images, make_inferencer

JSON_LINES = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('query', nargs='?', help='a text; omit it with --image')
    add_images(parser, '*')
    parser.add_argument('--image', metavar='FILE', help='an image in place of a text')
    parser.add_argument('--top', type=int, default=10, metavar='K', help='number of images; default: 10')
    parser.add_argument('--picture', metavar='FILE', help='draw the results')
    add_model(parser)


def run(args: argparse.Namespace, answer: Answer) -> None:
    """Search images, and draw the results with --picture."""
    with user_errors():
        given = [each for each in (args.query, *args.images) if each is not None]
        text, images = (None, given) if args.image else (args.query, given[1:])
        check(args, text, images)
        result = make_inferencer(args, []).search(text or Path(args.image), given_images(images), args.top)
    for row in result.rows():
        print(f'{row["rank"]:3} {row["score"]:.4f} {printable(row["image"])}')
    if args.picture:
        print(printable(str(result.save(args.picture))))
    answer(result.to_dict())


def check(args: argparse.Namespace, text: str | None, images: list[str]) -> None:
    """Check the arguments, without loading anything.

    Raises:
        ValueError, FileNotFoundError: If an argument is invalid or a file is missing.
    """
    if not args.image and text is None:
        raise InputError('search: give a text, or --image')
    if not images:
        raise InputError('search: give images to search; "kdeov index query" searches an index')
    if args.top < 1:
        raise InputError(f'--top {args.top}: must be at least 1')
    if args.image:
        check_files('--image', args.image)
    from kdeov_mm.apis.sources import check_paths

    check_paths(given_images(images))
    check_model(args)
