"""Detect your own words in your own images.

python tools/detect.py configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n scene.jpg photos/ --names "red circle" dog
python tools/detect.py CONFIG CHECKPOINT photos/ --names-file names.txt --templates openai_imagenet_80
python tools/detect.py CONFIG CHECKPOINT photos/ --names-file names.txt --embeddings embeddings.npy
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import List

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import torch
from kdeov_mm.apis import (
    InputImage,
    Results,
    build_vocabulary,
    find_images,
    inference_pipeline,
    load_model,
)
from kdeov_mm.apis.detection import as_detections
from kdeov_mm.datasets.coco_file import image_defect
from kdeov_mm.structures.results import picture_path
from kdeov_mm.text import read_class_names
from kdeov_mm.utils import InputError, check_checkpoint, load_config, resolve_checkpoint, user_errors
from kdeov_mm.utils.display import printable
from kdeov_mm.utils.files import write_atomically
from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a work dir, whose last complete one is taken')
    parser.add_argument('images', nargs='+', help='image files, or folders of them')
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument('--names', nargs='+', metavar='NAME', help='what to detect')
    names.add_argument('--names-file', metavar='FILE', help='a text file with one name a line, or a .json file')
    parser.add_argument(
        '--embeddings', metavar='FILE', help='.npy or .safetensors with one row for each name: needs no text encoder'
    )
    parser.add_argument('--templates', help="none, single, openai_imagenet_80, vild or a file; default: the config's")
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='S', help='least score, 0 to 1; default: 0.3')
    parser.add_argument('--out-dir', default='work_dirs/detect', help='for pictures and detections.json')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='FIELD=VALUE', help='replace fields of the config'
    )
    return parser.parse_args()


def readable(paths: List[str]) -> List[str]:
    """The images that can be read; the others are reported."""
    good = []
    for path in paths:
        defect = image_defect(path)
        if defect:
            report(path, defect)
        else:
            good.append(path)
    if not good:
        raise InputError(f'images: none of the {len(paths)} can be read')
    return good


def report(path: str, reason: object) -> None:
    print(f'skipped {printable(path)}: {printable(" ".join(str(reason).split()))}', file=sys.stderr)


def main() -> None:
    args = parse_args()
    with user_errors():
        if not 0 <= args.score_thr <= 1:
            raise InputError(f'--score-thr {args.score_thr}: give a number from 0 to 1')
        if args.embeddings and args.templates:
            raise InputError('--templates: ready --embeddings have theirs already; give one of the two')
        cfg = load_config(args.config, args.cfg_options)
        names = args.names or read_class_names(args.names_file)
        paths = readable(find_images(args.images))
        checkpoint = resolve_checkpoint(args.checkpoint)
        check_checkpoint(checkpoint)
        bank = build_vocabulary(cfg, names, args.templates, args.embeddings)
        pipeline, model = inference_pipeline(cfg), load_model(cfg, checkpoint, bank, args.device)

    results, digits = Results(), len(str(len(paths)))
    for path in paths:
        try:
            data = pipeline(dict(img_path=path, img_id=0))
            (sample,) = model.test_step(dict(inputs=[data['inputs']], data_samples=[data['data_samples']]))
        except Exception as error:  # decoders raise anything
            report(path, error)
            continue
        result = replace(as_detections(sample, names).above(args.score_thr), image=InputImage(path, path))
        picture = result.save(picture_path(args.out_dir, len(results), digits, path))
        results.append(result)
        told = ', '.join(f'{name} {score:.2f}' for name, score in zip(result.names, result.scores)) or 'nothing found'
        print(printable(f'{path}: {told} -> {picture}'))
    content = results.to_coco()
    written = write_atomically(Path(args.out_dir, 'detections.json'), json.dumps(content))
    print(printable(f'{len(content["annotations"])} objects: {written}'))


if __name__ == '__main__':
    main()
