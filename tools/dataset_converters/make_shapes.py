"""Generate the shapes dataset (docs/shapes_world.md) and, with --preview, a contact sheet of it."""

import argparse
import textwrap
from pathlib import Path

import cv2
import numpy as np

from kdeov_mm.datasets.shapes import FRACTIONS, SIZES, SPLITS, STYLES, encode_image, ensure_world
from kdeov_mm.utils import interruptible, user_errors
from kdeov_mm.utils.decode import decode_image
from kdeov_mm.utils.files import atomic_path
from kdeov_mm.utils.image_files import read_image_file
from kdeov_mm.utils.json_files import read_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', default='data/shapes', help='folder of the data set')
    parser.add_argument('--seed', type=int, default=0, help='draws the groups and the images')
    parser.add_argument('--image-size', type=int, default=128, help='side of the images in pixels')
    parser.add_argument('--style', default='plain', choices=STYLES, help='kind of images')
    parser.add_argument('--splits', nargs='+', default=list(SPLITS), choices=SPLITS, help='which to generate')
    parser.add_argument('--size', nargs='+', default=[], metavar='SPLIT=N', help=f'images of a split; default: {SIZES}')
    parser.add_argument('--share', nargs='+', default=[], metavar='GROUP=FRACTION', help=f'default: {FRACTIONS}')
    parser.add_argument('--preview', help='write a contact sheet of the first split with boxes and captions here')
    return parser.parse_args()


def parse_pairs(pairs: list[str], kind: type) -> dict:
    try:
        return {name: kind(value) for name, value in (pair.split('=') for pair in pairs)}
    except ValueError:
        raise SystemExit(f'expected NAME=NUMBER, got {" ".join(pairs)}') from None


def preview(root: Path, split: str, rows: int = 4, columns: int = 6, side: int = 256) -> np.ndarray:
    """Draw a contact sheet, uint8 BGR: images of the split with boxes and first captions."""
    instances, captions = (
        read_json(root / 'annotations' / f'{kind}_{split}.json') for kind in ('instances', 'captions')
    )
    texts = {item['image_id']: item['caption'] for item in reversed(captions['annotations'])}
    tiles = []
    for info in instances['images'][: rows * columns]:
        image = decode_image(read_image_file(root / split / info['file_name']))[0]
        scale = side / info['width']
        tile = np.full((side + 44, side, 3), 255, np.uint8)
        tile[:side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        for item in instances['annotations']:
            if item['image_id'] == info['id']:
                x, y, w, h = (round(value * scale) for value in item['bbox'])
                cv2.rectangle(tile, (x, y), (x + w - 1, y + h - 1), (0, 255, 0), 1)
        lines = textwrap.wrap(texts.get(info['id'], '(no caption)'), 42)
        for row, line in enumerate(lines):
            cv2.putText(
                tile, line, (2, side + 11 + 11 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.34, (0, 0, 0), 1, cv2.LINE_AA
            )
        tiles.append(np.pad(tile, ((2, 2), (2, 2), (0, 0)), constant_values=255))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.concatenate(
        [np.concatenate(tiles[start : start + columns], 1) for start in range(0, len(tiles), columns)]
    )


@interruptible()
def main() -> None:
    args = parse_args()
    sizes, shares = parse_pairs(args.size, int), parse_pairs(args.share, float)
    with user_errors():
        ensure_world(args.root, args.seed, args.image_size, sizes, shares, args.splits, args.style)
        if args.preview:
            with atomic_path(Path(args.preview)) as partial:
                partial.write_bytes(encode_image(preview(Path(args.root), args.splits[0]), partial.suffix))


if __name__ == '__main__':
    main()
