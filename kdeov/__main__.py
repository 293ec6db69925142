"""Reading of the command line; what the commands do is in ``kdeov_mm/cli.py``."""

import argparse
import os
import runpy
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

MODEL = 'kdeov_yolov8n'
ABOUT = """One small YOLO that knows CLIP's words: classify, search and detect with names of your own.

    kdeov detect photo.jpg --names "red circle" dog      boxes, drawn into work_dirs/detect
    kdeov classify photos/ --names cat dog --top 1       the best name of each image
    kdeov search "a red bus at night" photos/            the images that fit a text best
    kdeov detect clip.mp4 --names dog --json | jq .      results for a script, one line an image
"""
AFTER = """Exit status: 0 done; 1 it failed on the way; 2 something that was given cannot be used (one line says what).
Set KDEOV_TRACEBACK=1 to see where an error comes from."""
TOOLS = dict(  # command: (script in tools/, what it does, example)
    index=(
        'index.py',
        'make, fill and ask an index of many images',
        'kdeov index build photos/ --model work_dirs/export/image_encoder.onnx '
        '--text work_dirs/export/text_encoder.onnx',
    ),
    export=(
        'export.py',
        'write a model as ONNX files, which need no PyTorch',
        'kdeov export kdeov_yolov8n --vocabulary names.txt',
    ),
    bench=('benchmark.py', 'measure speed and size of exported models', 'kdeov bench --help'),
    train=('train.py', 'train a model from a config', 'kdeov train configs/kdeov_yolov8n.py --work-dir work_dirs/mine'),
    test=('test.py', 'measure a model on the data of its config', 'kdeov test kdeov_yolov8n'),
)


def version() -> str:
    """Of kdeov_mm, which is not imported for it."""
    return run_part('version.py')['__version__']


def run_part(name: str) -> Dict[str, Any]:
    """Run a file of kdeov_mm that imports nothing of it; the package itself takes seconds, or cannot be imported."""
    return runpy.run_path(str(Path(__file__).resolve().parents[1] / 'kdeov_mm' / name))


def add_model(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that use a model on images."""
    parser.add_argument(
        '--model',
        default=MODEL,
        metavar='MODEL',
        help='a name of the model index, a config (.py), a '
        f'work dir (with a separator: ./mine), an ONNX file or the folder that "kdeov export" wrote; default: {MODEL}',
    )
    parser.add_argument('--checkpoint', metavar='FILE', help="weights; default: the model's own")
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the GPU where there is one')
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='images in one run; default: 8')
    parser.add_argument(
        '--json', action='store_true', default=argparse.SUPPRESS, help='print JSON on stdout, and all else on stderr'
    )


def add_names(parser: argparse.ArgumentParser) -> None:
    """The vocabulary."""
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument('--names', nargs='+', metavar='NAME', help='the words to choose from')
    names.add_argument('--names-file', metavar='FILE', help='a text file with one name a line, or a .json file')
    parser.add_argument(
        '--templates', metavar='T', help="none, single, openai_imagenet_80, vild or a file; default: the model's"
    )
    parser.add_argument(
        '--embeddings', metavar='FILE', help='.npy or .safetensors with one row for each name: needs no text encoder'
    )


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    style = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser('kdeov', description=ABOUT, epilog=AFTER, **style)
    parser.add_argument('--version', action='version', version=f'kdeov_mm {version()}')
    parser.add_argument('--json', action='store_true', help='print JSON on stdout, and all else on stderr')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    images = dict(nargs='+', metavar='IMAGE', help='files, folders, globs, videos, or the number of a camera')

    detect = commands.add_parser(
        'detect',
        help='find words of your own in images, with boxes',
        description="""Find \
words of your own in images.

    kdeov detect photo.jpg --names "red circle" dog
    kdeov detect photos/ "more/*.png" --names-file names.txt --score-thr 0.5 --out-dir found
    kdeov detect clip.mp4 --names dog --json > found.jsonl      one line a frame
    kdeov detect photos/ --names dog --coco found.json          a COCO file, with scores""",
        **style,
    )
    detect.add_argument('images', **images)
    add_names(detect)
    detect.add_argument('--score-thr', type=float, default=0.3, metavar='S', help='least score, 0 to 1; default: 0.3')
    detect.add_argument(
        '--out-dir',
        metavar='DIR',
        help='folder of the pictures; default: work_dirs/detect, and no pictures with --json',
    )
    detect.add_argument('--coco', metavar='FILE', help='write all detections as a COCO annotation file')
    add_model(detect)

    classify = commands.add_parser(
        'classify',
        help='name whole images',
        description="""Name whole images.

    kdeov classify photo.jpg --names cat dog bird
    kdeov classify photos/ --names-file names.txt --top 1 --json""",
        **style,
    )
    classify.add_argument('images', **images)
    add_names(classify)
    classify.add_argument('--top', type=int, default=5, metavar='K', help='names of each image; default: 5')
    classify.add_argument('--out-dir', metavar='DIR', help='folder of pictures; default: none are drawn')
    add_model(classify)

    search = commands.add_parser(
        'search',
        help='find the images that fit a text',
        description="""Find the images that \
fit a text, or another image.

    kdeov search "a red bus at night" photos/ --top 5 --picture found.png
    kdeov search --image bus.jpg photos/
    kdeov search "a red bus at night" --index work_dirs/index   an index that "kdeov index" made""",
        **style,
    )
    search.add_argument('query', nargs='?', help='words; left out with --image')
    search.add_argument('images', **dict(images, nargs='*'))
    search.add_argument('--image', metavar='FILE', help='an image in place of words')
    search.add_argument('--index', metavar='DIR', help='look in this index in place of images')
    search.add_argument('--top', type=int, default=10, metavar='K', help='how many; default: 10')
    search.add_argument('--picture', metavar='FILE', help='draw them')
    add_model(search)

    for name, (_, about, example) in TOOLS.items():
        commands.add_parser(name, add_help=False, prefix_chars='\0', help=f'{about}; such as: {example}').add_argument(
            'rest', nargs=argparse.REMAINDER
        )
    return parser


def parse(argv: List[str]) -> argparse.Namespace:
    """Read the command line. What follows a command of ``TOOLS`` is for the script, but for a final ``--json``."""
    args = make_parser().parse_args(argv)
    if args.command in TOOLS and args.rest[-1:] == ['--json']:
        args.json, args.rest = True, args.rest[:-1]
    return args


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command.

    Returns:
        int: The exit status: 0 done, 1 an error on the way, 130 interrupted; argparse and checks of the input exit
        with 2.
    """
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        from kdeov_mm import cli  # which takes seconds

        return cli.run(args, TOOLS)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # of "| head", which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get('KDEOV_TRACEBACK'):
            raise
        printable = run_part('utils/display.py')['printable']
        print(f'error: {printable(" ".join(str(error).split()))}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
