"""What the commands of ``kdeov`` do; the command line itself is read by ``kdeov/__main__.py``, which starts at once."""

import argparse
import importlib.util
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, TextIO

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.apis.inferencer import index_result
from kdeov_mm.structures import Detections, Result, SearchResult
from kdeov_mm.structures.results import picture_path
from kdeov_mm.utils import InputError, user_errors
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import one_line
from kdeov_mm.utils.files import write_atomically
from kdeov_mm.utils.model_index import index_root, read_index

DIGITS = 6  # of the pictures' numbers


def run(args: argparse.Namespace, tools: Dict[str, tuple]) -> int:
    """Run a parsed command.

    Args:
        args: What was given.
        tools: Of each command that is a script of ``tools/``, its file's name first.

    Returns:
        int: The exit status.

    Raises:
        SystemExit: With 2, after one line on stderr: what was given cannot be used.
    """
    stdout = sys.stdout
    if args.command in tools:
        return run_tool(args, tools[args.command][0], stdout)
    with redirect_stdout(sys.stderr if args.json else stdout):
        return dict(detect=detect, classify=classify, search=search)[args.command](args, stdout)


def run_tool(args: argparse.Namespace, script: str, stdout: TextIO) -> int:
    """Run a script of ``tools/``, with a model's name in place of a config where one is given."""
    with user_errors():
        path = index_root() / 'tools' / script
        if not path.is_file():
            raise FileNotFoundError(f'kdeov {args.command}: this installation has no tools/{script}')
        rest = list(args.rest)
        if rest and rest[0] in (models := read_index()):
            model, rest[0] = models[rest[0]], models[rest[0]].config
            if args.command in ('test', 'export') and (len(rest) == 1 or rest[1].startswith('-')) and model.weights:
                rest.insert(1, model.weights)
    sys.argv = [f'kdeov {args.command}', *rest]
    sys.path.insert(0, str(path.parent))
    printed = io.StringIO()
    with redirect_stdout(Both(printed, sys.stderr) if args.json else stdout):
        spec = importlib.util.spec_from_file_location(f'kdeov_tool_{path.stem}', path)
        sys.modules[spec.name] = tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        tool.__doc__ = (tool.__doc__ or '').replace(f'python tools/{script}', f'kdeov {args.command}')  # its --help
        returned = tool.main()
    if args.json:
        told = dict(output=printed.getvalue().splitlines()) if returned is None else dict(result=returned)
        print(json.dumps(dict(command=args.command, **told), default=str), file=stdout)
    return 0


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


def make_inferencer(args: argparse.Namespace, skipped: List[str]) -> KDEOVInferencer:
    """The model that was asked for; images that cannot be read are reported and counted."""

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


def given_images(paths: List[str]) -> List[Any]:
    """Paths as they are, and numbers of cameras as numbers."""
    return [int(path) if path.isdecimal() and not Path(path).exists() else path for path in paths]


def each_image(
    args: argparse.Namespace,
    start: Callable[[KDEOVInferencer], Iterator[Result]],
    tell: Callable[[int, Result], None],
    stdout: TextIO,
) -> int:
    """Do a task with one image after the other, and tell or print each result at once."""
    skipped: List[str] = []
    with user_errors():
        inferencer = make_inferencer(args, skipped)
        inferencer.set_vocabulary(args.names or args.names_file, args.templates, args.embeddings)
        results = start(inferencer)
    number = -1
    for number, result in enumerate(results):
        tell(number, result)
        if args.json:
            print(json.dumps(result.to_dict()), file=stdout, flush=True)
    if skipped and number < 0:
        raise ValueError(f'images: none of the {len(skipped)} can be read')
    return 0


def detect(args: argparse.Namespace, stdout: TextIO) -> int:
    """``kdeov detect``."""
    content: Dict[str, list] = dict(images=[], categories=[], annotations=[])
    out_dir = args.out_dir or (None if args.json else 'work_dirs/detect')

    def tell(number: int, result: Detections) -> None:
        if args.coco:
            result.add_to_coco(content)
        told = ', '.join(f'{name} {score:.2f}' for name, score in zip(result.names, result.scores)) or 'nothing found'
        drawn = f' -> {result.save(picture_path(out_dir, number, DIGITS, result.image.name))}' if out_dir else ''
        print(printable(f'{result.image.name}: {told}{drawn}'))

    status = each_image(
        args,
        lambda inferencer: inferencer.detect(given_images(args.images), score_threshold=args.score_thr, stream=True),
        tell,
        stdout,
    )
    if args.coco:
        written = write_atomically(Path(args.coco), json.dumps(content))
        print(printable(f'{len(content["annotations"])} objects: {written}'))
    return status


def classify(args: argparse.Namespace, stdout: TextIO) -> int:
    """``kdeov classify``."""

    def tell(number: int, result: Result) -> None:
        told = ', '.join(f'{name} {share:.2f}' for name, share in zip(result.names, result.probabilities))
        drawn = ''
        if args.out_dir:
            drawn = f' -> {result.save(picture_path(args.out_dir, number, DIGITS, result.image.name))}'
        print(printable(f'{result.image.name}: {told}{drawn}'))

    return each_image(
        args, lambda inferencer: inferencer.classify(given_images(args.images), top=args.top, stream=True), tell, stdout
    )


def search(args: argparse.Namespace, stdout: TextIO) -> int:
    """``kdeov search``."""
    with user_errors():
        given = [each for each in (args.query, *args.images) if each is not None]
        words, images = (None, given) if args.image else (args.query, given[1:])
        if not args.image and words is None:
            raise InputError('search: give words, or --image')
        if bool(images) == bool(args.index):
            raise InputError('search: give images to look in, or --index; not both, nor none')
        result = (
            search_index(args, words)
            if args.index
            else make_inferencer(args, []).search(words or Path(args.image), given_images(images), args.top)
        )
    for row in result.rows():
        print(f'{row["rank"]:3} {row["score"]:.4f} {printable(row["image"])}')
    if args.picture:
        print(printable(str(result.save(args.picture))))
    if args.json:
        print(json.dumps(result.to_dict()), file=stdout)
    return 0


def search_index(args: argparse.Namespace, words: Optional[str]) -> SearchResult:
    """Search an index; without ``--model`` by the encoders that it names, if they are unchanged ONNX files."""
    from kdeov.__main__ import MODEL
    from kdeov_mm.search import ImageStore, embed_query, image_encoder_file, text_encoder_file

    store = ImageStore.open(args.index)
    if args.model != MODEL or words is not None and store.model.text is None:
        return make_inferencer(args, []).search(words or Path(args.image), store, args.top)
    if words is None:
        return KDEOVInferencer([image_encoder_file(store)]).search(Path(args.image), store, args.top)
    embedding = embed_query(words, text_encoder_file(store), store.model)
    return index_result(words, store.search(embedding, args.top))
