"""Find the images that best match a text or another image.

kdeov search "a red bus at night" photos/ --top 5 --picture found.png
kdeov search "a red bus at night" photos/ --threshold 0.9   "no image matches" if no image shows it
kdeov search --image bus.jpg photos/
kdeov search "a red bus at night" --index work_dirs/index   an index of "kdeov index"
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError, user_errors
from kdeov_mm.utils.options import check_files
from .images import MODEL, Answer, add_images, add_model, check_model, given_images, make_inferencer

if TYPE_CHECKING:
    from kdeov_mm.structures import SearchResult

JSON_LINES = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('query', nargs='?', help='a text; omit it with --image')
    add_images(parser, '*')
    parser.add_argument('--image', metavar='FILE', help='an image in place of a text')
    parser.add_argument('--index', metavar='DIR', help='search this index in place of images')
    parser.add_argument('--top', type=int, default=10, metavar='K', help='number of images; default: 10')
    add_threshold(parser)
    parser.add_argument('--picture', metavar='FILE', help='draw the results')
    add_model(parser)


def run(args: argparse.Namespace, answer: Answer) -> None:
    """Search images, and draw the results with --picture."""
    with user_errors():
        given = [each for each in (args.query, *args.images) if each is not None]
        text, images = (None, given) if args.image else (args.query, given[1:])
        check(args, text, images)
        result = (
            search_index(args, text)
            if args.index
            else make_inferencer(args, []).search(
                text or Path(args.image), given_images(images), args.top, args.threshold
            )
        )
    print_rows(result)
    if args.picture and len(result):
        print(printable(str(result.save(args.picture))))
    answer(result.to_dict())


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Add the option for the minimum probability of a text's matches."""
    parser.add_argument(
        '--threshold', type=float, metavar='P', help='minimum probability, from 0 to 1, of the matches of a text'
    )


def check_threshold(threshold: float | None, text: str | None) -> None:
    """Check the option of :func:`add_threshold`.

    Raises:
        InputError: If the threshold is out of range, or the query is no text.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f'--threshold {threshold}: must be from 0 to 1')
    if threshold is not None and text is None:
        raise InputError(f'--threshold {threshold}: only matches of a text have a probability; remove --threshold')


def print_rows(result: 'SearchResult') -> None:
    """Print rank, cosine similarity, probability if there is one, and name of each image."""
    for row in result.rows():
        probability = f' {row["probability"]:.2f}' if 'probability' in row else ''
        print(f'{row["rank"]:3} {row["score"]:.4f}{probability} {printable(row["image"])}')
    if not len(result):
        print('no image matches')


def check(args: argparse.Namespace, text: str | None, images: list[str]) -> None:
    """Check the arguments, without loading anything.

    Raises:
        ValueError, FileNotFoundError: If an argument is invalid or a file is missing.
    """
    if not args.image and text is None:
        raise InputError('search: give a text, or --image')
    if bool(images) == bool(args.index):
        raise InputError('search: give either images to search or --index')
    if args.top < 1:
        raise InputError(f'--top {args.top}: must be at least 1')
    check_threshold(args.threshold, text)
    if args.image:
        check_files('--image', args.image)
    if images:
        from kdeov_mm.apis.sources import check_paths

        check_paths(given_images(images))
    if images or args.model != MODEL:
        check_model(args)
    elif '://' not in args.index and not Path(args.index).is_dir():
        raise FileNotFoundError(f'index: no index in {args.index!r}; build one with "kdeov index build"')


def search_index(args: argparse.Namespace, text: str | None) -> 'SearchResult':
    """Search an index by a text, or by ``--image`` if that is None.

    Without ``--model`` the encoders that the index names embed the query, if they are unchanged ONNX files.
    """
    from kdeov_mm.apis import KDEOVInferencer
    from kdeov_mm.apis.inferencer import index_result
    from kdeov_mm.search import ImageStore, embed_query, image_encoder_file, text_encoder_file, text_presence

    store = ImageStore.open(args.index)
    if args.model != MODEL or text is not None and store.model.text is None:
        return make_inferencer(args, []).search(text or Path(args.image), store, args.top, args.threshold)
    if text is None:
        return KDEOVInferencer([image_encoder_file(store)]).search(Path(args.image), store, args.top)
    embedding = embed_query(text, text_encoder_file(store), store.model)
    rows = store.search(embedding, args.top)
    if args.threshold is None:  # the matches have no probability: it needs the image encoder's file, too
        return index_result(text, rows)
    presence = text_presence(text, embedding, image_encoder_file(store))
    return index_result(text, rows, presence).above(args.threshold)
