"""Classify whole images.

kdeov classify photo.jpg --names star circle fish
kdeov classify photos/ --names-file names.txt --top 1 --json
"""

import argparse
from typing import TYPE_CHECKING

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError, user_errors
from .images import Answer, add_images, add_model, add_names, draw, each_image, given_images

if TYPE_CHECKING:
    from kdeov_mm.structures import ClassificationResult

JSON_LINES = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_images(parser)
    add_names(parser)
    parser.add_argument('--top', type=int, default=5, metavar='K', help='class names for each image; default: 5')
    parser.add_argument('--out-dir', metavar='DIR', help='folder of pictures; default: no pictures')
    add_model(parser)


def run(args: argparse.Namespace, answer: Answer) -> None:
    """Classify images, and draw pictures with --out-dir."""
    with user_errors():
        if args.top < 1:
            raise InputError(f'--top {args.top}: must be at least 1')

    def report(index: int, result: 'ClassificationResult') -> None:
        answers = ', '.join(f'{name} {probability:.2f}' for name, probability in zip(*result.with_none()))
        print(printable(f'{result.image_name}: {answers}{draw(result, args.out_dir, index)}'))

    each_image(
        args,
        lambda inferencer: inferencer.classify(given_images(args.images), top=args.top, stream=True),
        report,
        answer,
    )
