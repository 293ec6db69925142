"""Detect objects in images, with class names of your own.

kdeov detect photo.jpg --names "red circle" star
kdeov detect photos/ "more/*.png" --names-file names.txt --score-thr 0.5 --out-dir pictures
kdeov detect photos/ --names-file names.txt                      a line may be: red star = 0.4
kdeov detect clip.mp4 --names star --json > detections.jsonl     one line for each frame
kdeov detect photo.jpg --names moon --not "white circle"         what is not looked for
kdeov detect photos/ --names star --coco detections.json         a COCO file, with scores
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError, user_errors
from .images import Answer, add_images, add_model, add_names, draw, each_image, given_images, named_by

if TYPE_CHECKING:
    from kdeov_mm.structures import Detections

JSON_LINES = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_images(parser)
    add_names(parser)
    parser.add_argument(
        '--score-thr',
        type=float,
        metavar='S',
        help="minimum score, 0 to 1, of names without a threshold of their own in the file; default: the model's",
    )
    parser.add_argument(
        '--not',
        dest='others',
        nargs='+',
        metavar='NAME',
        help='names of other things, which compete with the class names but are not detected',
    )
    parser.add_argument(
        '--out-dir',
        metavar='DIR',
        help='folder of the pictures; default: work_dirs/detect, and no pictures with --json',
    )
    parser.add_argument('--coco', metavar='FILE', help='write all detections as a COCO annotation file')
    add_model(parser)


def run(args: argparse.Namespace, answer: Answer) -> None:
    """Detect objects, draw pictures, and write the COCO file."""
    with user_errors():
        if args.score_thr is not None and not 0 <= args.score_thr <= 1:
            raise InputError(f'--score-thr {args.score_thr}: must be from 0 to 1')
        if args.others:
            from kdeov_mm.text import check_class_names

            with named_by('--not'):
                check_class_names(args.others)
    content: dict[str, list] = dict(images=[], categories=[], annotations=[])
    out_dir = args.out_dir or (None if args.json else 'work_dirs/detect')

    def report(index: int, result: 'Detections') -> None:
        if args.coco:
            result.add_to_coco(content)
        objects = (
            ', '.join(f'{name} {score:.2f}' for name, score in zip(result.names, result.scores)) or 'no detections'
        )
        print(printable(f'{result.image_name}: {objects}{draw(result, out_dir, index)}'))

    each_image(
        args,
        lambda inferencer: inferencer.detect(
            given_images(args.images), score_threshold=args.score_thr, stream=True, others=args.others
        ),
        report,
        answer,
    )
    if args.coco:
        from kdeov_mm.utils.files import write_atomically

        written = write_atomically(Path(args.coco), json.dumps(content))
        print(printable(f'{len(content["annotations"])} objects: {written}'))
