"""Build, update and query a search index of your own images. See docs/search.md.

    kdeov index build photos/ --model encoder.onnx --text text.onnx --index work_dirs/index
    kdeov index query "a red bus at night" --index work_dirs/index --picture found.png
    kdeov index add more/ --index work_dirs/index
    kdeov index remove photos/private photos/1.jpg --index work_dirs/index
    kdeov index verify --index work_dirs/index

If "build" or "add" is interrupted or killed, running it again resumes it.
"""

import argparse
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError, one_line, user_errors
from kdeov_mm.utils.options import check_files
from .search import add_threshold, check_threshold

if TYPE_CHECKING:
    import numpy as np

    from kdeov_mm.search import ImageStore, Report

DEFAULT_INDEX = 'work_dirs/index'
COLUMNS = 8  # of the picture
CELL = 400  # maximum pixels of an image in the picture
MINIMUM = dict(batch_size=1, commit_size=1, workers=1, thumbnail=0, decode_size=0)  # of the options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the commands of an index and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        '--index',
        default=DEFAULT_INDEX,
        metavar='DIR',
        help=f'folder, or URI such as s3://bucket/index; default: {DEFAULT_INDEX}',
    )
    filling = argparse.ArgumentParser(add_help=False)
    filling.add_argument('images', nargs='+', help='image files, or folders of them')
    filling.add_argument('--batch-size', type=int, default=32, help='images in one run of the model; default: 32')
    filling.add_argument('--commit-size', type=int, default=1024, help='files in one transaction; default: 1024')
    filling.add_argument('--workers', type=int, help='threads that decode; default: number of cores minus one')
    filling.add_argument('--threads', type=int, help="threads of the model; default: ONNX Runtime's choice")
    filling.add_argument(
        '--thumbnail',
        type=int,
        default=160,
        metavar='PIXELS',
        help='longer side of the thumbnails in the index, 0 for none; default: 160',
    )
    filling.add_argument(
        '--decode-size',
        type=int,
        metavar='PIXELS',
        help="minimum size to which JPEG may be reduced while decoding, 0: full size; default: the model's input size",
    )
    filling.add_argument('--broken', metavar='FILE', help='list of images that cannot be read; default: DIR/broken.tsv')
    filling.add_argument(
        '--distributed',
        action='store_true',
        help='embed with Ray Data on the cluster that RAY_ADDRESS names, or on this machine',
    )
    commands = parser.add_subparsers(dest='task', required=True, metavar='TASK')

    build = commands.add_parser('build', parents=[common, filling], help='build an index, or resume building it')
    build.add_argument('--model', required=True, metavar='FILE', help='image encoder (.onnx) of "kdeov export"')
    build.add_argument(
        '--text', metavar='FILE', help='text encoder (.onnx) that embeds queries; its path is stored in the index'
    )
    add = commands.add_parser('add', parents=[common, filling], help='add images to an index')
    add.add_argument('--model', metavar='FILE', help='where the image encoder is now, if it was moved')

    remove = commands.add_parser('remove', parents=[common], help='remove images from an index')
    remove.add_argument('images', nargs='*', help='files or folders, which need not exist any more')
    remove.add_argument('--missing', action='store_true', help='remove all images whose files do not exist any more')

    query = commands.add_parser('query', parents=[common], help='find images')
    query.add_argument('query', nargs='?', help='a text')
    query.add_argument('--text', metavar='FILE', help='text encoder, if the index has none, or it was moved')
    query.add_argument('--image', metavar='FILE', help='an image in place of a text')
    query.add_argument('--embedding', metavar='FILE', help='.npy of shape [D] or [1, D] in place of a text')
    query.add_argument(
        '--model', metavar='FILE', help='for --image and --threshold: where the image encoder is now, if it was moved'
    )
    query.add_argument('--top', type=int, default=10, metavar='K', help='number of images; default: 10')
    add_threshold(query)
    query.add_argument('--picture', metavar='FILE', help='draw the results')
    query.add_argument('--json', metavar='FILE', help='write the results')
    query.add_argument('--version', type=int, metavar='N', help='an earlier state of the index, see "info"')

    commands.add_parser('info', parents=[common], help='print the content of an index')
    verify = commands.add_parser('verify', parents=[common], help='check the integrity of an index')
    verify.add_argument('--files', action='store_true', help='also read all image files, and compare their content')


def find_model(given: str | None, store: 'ImageStore') -> str:
    """Return the file of an index's image encoder: ``--model`` if given, else the file that the index names.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    from kdeov_mm.search import image_encoder_file

    if given is None:
        return image_encoder_file(store)
    if not Path(given).is_file():
        raise FileNotFoundError(f'--model: no file {given!r}')
    return given


def fill(args: argparse.Namespace) -> None:
    """Run the commands ``build`` and ``add``."""
    from kdeov_mm.apis.sources import find_images

    paths = find_images(args.images)
    from kdeov_mm.search import IndexEncoder, ImageStore, remember_text, update_index
    from tqdm import tqdm

    model_file = args.model if args.task == 'build' else find_model(args.model, ImageStore.open(args.index))
    encoder = IndexEncoder(model_file, args.threads, args.decode_size)
    model = encoder.describe()
    if args.task == 'build' and args.text:
        model = remember_text(model, args.text)
    store = ImageStore.create(args.index, model)
    if args.task == 'build' and args.text and store.model.text_sha256 != (model.text_sha256 or 'a config'):
        reason = 'it was built with another' if model.text else 'a config is code; export the text encoder as .onnx'
        print(f'--text: the index does not store {args.text} ({reason}); give --text to "query", too')
    options = dict(batch_size=args.batch_size, commit_size=args.commit_size, thumbnail=args.thumbnail)
    with tqdm(total=len(paths), unit=' files') as bar:
        if args.distributed:
            from kdeov_mm.search.distributed import update_index_distributed

            report = update_index_distributed(
                paths, store, encoder.path, min_size=args.decode_size, progress=bar.update, **options
            )
        else:
            report = update_index(paths, store, encoder, workers=args.workers, progress=bar.update, **options)
    report_build(report, store, args.broken)


def report_build(report: 'Report', store: 'ImageStore', broken_list: str | None) -> None:
    """Print the result of a build, and list the files that cannot be read."""
    print(
        f'{report.files} files: {report.added} images added, {report.unchanged} unchanged, {report.duplicates} '
        f'duplicates, {len(report.broken)} unreadable'
    )
    broken = {printable(row['path']): row['reason'] or 'no reason' for row in store.broken()} | report.broken
    if broken and (broken_list or '://' not in store.folder):
        from kdeov_mm.utils.files import write_atomically

        path = Path(broken_list or Path(store.folder, 'broken.tsv'))
        lines = [f'{printable(name)}\t{printable(" ".join(reason.split()))}\n' for name, reason in broken.items()]
        write_atomically(path, ''.join(lines))
        print(f'{len(broken)} files in all cannot be read: {path}')
    print(f'{store.folder}: {len(store)} images')


def remove(args: argparse.Namespace) -> None:
    """Run the command ``remove``."""
    if bool(args.images) == args.missing:
        raise InputError('remove: give images or folders, or --missing')
    from kdeov_mm.search import ImageStore

    store = ImageStore.open(args.index)
    with store.writing():
        removed_paths = (
            [path for path in store.paths() if not os.path.exists(path)]
            if args.missing
            else [os.path.abspath(path) for path in args.images]
        )
        removed = store.forget(removed_paths, below=not args.missing)
        store.optimize()
    print(f'{removed} images removed\n{args.index}: {len(store)} images')


def embed(args: argparse.Namespace, store: 'ImageStore') -> 'np.ndarray':
    """Embed the query, ``[D]``."""
    from kdeov_mm.search import IndexEncoder, embed_query, text_encoder_file
    from kdeov_mm.utils.arrays import read_npy

    if args.query is not None:
        return embed_query(args.query, args.text or text_encoder_file(store), store.model)
    if args.image is not None:
        from kdeov_mm.utils.images import read_image

        encoder = IndexEncoder(find_model(args.model, store))
        return encoder.encode([encoder.prepare(read_image(args.image, encoder.min_size))])[0]
    return read_npy(args.embedding, '--embedding').reshape(-1)


def thumbnail(row: dict) -> io.BytesIO:
    """Return a row's thumbnail, or else its file, as a small PNG; the content is untrusted.

    Raises:
        FileNotFoundError: If there is neither.
        InputError: If it is not a supported image.
    """
    from kdeov_mm.utils.image_files import open_image, orientation, read_image_file
    from PIL import ImageOps

    content = row['thumbnail'] or read_image_file(row['path'])
    try:
        with open_image(content) as image:
            image.draft('RGB', (CELL, CELL))
            small = (ImageOps.exif_transpose(image) if orientation(image) != 1 else image).convert('RGB')
    except Exception as error:  # Pillow's decoders raise anything from OSError to SyntaxError
        what = 'thumbnail of' if row['thumbnail'] else 'image'
        raise InputError(f'--picture: the {what} "{row["path"]}" cannot be drawn: {one_line(error)}') from error
    small.thumbnail((CELL, CELL))
    file = io.BytesIO()
    small.save(file, 'PNG')
    file.seek(0)
    return file


def query(args: argparse.Namespace) -> None:
    """Run the command ``query``."""
    if sum(value is not None for value in (args.query, args.image, args.embedding)) != 1:
        raise InputError('query: give one of a text, --image and --embedding')
    if args.query is not None and not args.query.strip():
        raise InputError(f'query: must be a non-empty text, got {args.query!r}')
    if args.top < 1:
        raise InputError(f'--top {args.top}: must be at least 1')
    check_threshold(args.threshold, args.query)
    check_files('--image', args.image)
    check_files('--embedding', args.embedding)
    from kdeov_mm.search import ImageStore
    from kdeov_mm.utils.files import write_atomically

    store = ImageStore.open(args.index, args.version)
    vector = embed(args, store)
    results = store.search(vector, args.top)
    if args.threshold is not None:
        results = probable(results, vector, args, store)
    for rank, row in enumerate(results, 1):
        probability = f' {row["probability"]:.2f}' if 'probability' in row else ''
        print(f'{rank:3} {row["score"]:.4f}{probability} {printable(row["path"])}')
    if not results:
        print('no image matches')
    if args.json:
        kept = ('path', 'score', 'probability', 'width', 'height', 'sha256')
        rows = [{name: row[name] for name in kept if name in row} for row in results]
        write_atomically(Path(args.json), json.dumps(rows, indent=1))
    if args.picture and results:
        from kdeov_mm.evaluation.pictures import retrieval_grid

        answers = [dict(img_path=thumbnail(row), score=row['score'], hit=False) for row in results]
        description = args.query or args.image or args.embedding
        lines = [
            dict(query=f'from {start + 1}' if start else description, answers=answers[start : start + COLUMNS])
            for start in range(0, len(answers), COLUMNS)
        ]
        print(retrieval_grid(lines, Path(args.picture), title=f'The nearest of {len(store)} images'))


def probable(rows: list[dict], vector: 'np.ndarray', args: argparse.Namespace, store: 'ImageStore') -> list[dict]:
    """Return the rows whose ``probability``, which they get, is at least ``--threshold``.

    The image encoder's file has what competes with the text.
    """
    import numpy as np
    from kdeov_mm.search import text_presence

    presence = text_presence(args.query, vector, find_model(args.model, store))
    probabilities = presence(np.stack([row['embedding'] for row in rows]))
    found = [dict(row, probability=float(p)) for row, p in zip(rows, probabilities)]
    return [row for row in found if row['probability'] >= args.threshold]


def info(args: argparse.Namespace) -> None:
    """Run the command ``info``."""
    from kdeov_mm.search import ImageStore

    store = ImageStore.open(args.index)
    versions = store.versions()
    print(
        f'{args.index}: {len(store)} images; {store.skipped.count_rows()} duplicates and files that cannot be read\n'
        f'model: {printable(store.model.path)} (SHA-256 {store.model.sha256[:12]}), {store.model.dims} dimensions\n'
        f'text encoder: {printable(store.model.text or "unknown")}\n'
        f'vector index: {store.vector_index() or "none, images are compared one by one"}\n'
        f'versions: {versions[0]["version"]} to {versions[-1]["version"]}, of {versions[-1]["timestamp"]:%Y-%m-%d}'
    )


def verify(args: argparse.Namespace) -> None:
    """Run the command ``verify``; the exit status is 1 if there are problems."""
    from kdeov_mm.search import ImageStore, check_index

    problems = check_index(ImageStore.open(args.index), files=args.files)
    print('\n'.join(problems) or f'{args.index} has no problems')
    if problems:
        raise SystemExit(1)


def check(args: argparse.Namespace) -> None:
    """Check the options' ranges and that the given files exist, before heavy imports.

    Raises:
        FileNotFoundError: If a file is missing.
        InputError: If an option is out of range.
    """
    if args.task in ('build', 'add'):
        check_files('images', args.images)
        for name, minimum in MINIMUM.items():
            value = getattr(args, name)
            if value is not None and value < minimum:
                raise InputError(f'--{name.replace("_", "-")} {value}: must be at least {minimum}')
    for name in ('model', 'text'):
        check_files(f'--{name}', getattr(args, name, None))
    if args.task != 'build' and '://' not in args.index and not Path(args.index).is_dir():
        raise FileNotFoundError(f'index: no index in {args.index!r}; build one with "kdeov index build"')


def run(args: argparse.Namespace) -> None:
    """Run one task with an index."""
    tasks = dict(build=fill, add=fill, remove=remove, query=query, info=info, verify=verify)
    with user_errors():
        check(args)
        tasks[args.task](args)
