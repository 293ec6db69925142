"""Export a trained model to ONNX files for kdeov_mm.deploy.Runtime (docs/deploy.md).

kdeov export configs/kdeov_yolov8n.py work_dirs/kdeov_yolov8n --vocabulary names.txt
kdeov export CONFIG CHECKPOINT --vocabulary names.txt --check photos/ --int8 calibration_photos/
kdeov export CONFIG CHECKPOINT --kinds image_encoder text_encoder
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kdeov_mm.deploy.kinds import KINDS, RUNTIMES
from kdeov_mm.utils.errors import InputError, user_errors
from kdeov_mm.utils.options import add_cfg_options, check_checkpoint_file, check_config_file, check_files

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config
    from torch import nn

    from kdeov_mm.deploy import Runtime
    from kdeov_mm.models import ClassEmbeddings

MAX_CHECKED, MAX_CALIBRATION = 100, 512  # images; rare high activations need hundreds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a work dir, whose last complete checkpoint is used')
    parser.add_argument(
        '--vocabulary', metavar='FILE', help='class names to fold into the detector: one a line, or .json'
    )
    parser.add_argument('--templates', help="none, single, openai_imagenet_80, vild or a file; default: the config's")
    parser.add_argument('--embeddings', metavar='FILE', help='.npy or .safetensors with one row for each class name')
    parser.add_argument(
        '--kinds',
        nargs='+',
        choices=KINDS,
        metavar='KIND',
        help=f'what to write, of {", ".join(KINDS)}; default: all that the model and options allow',
    )
    parser.add_argument('--image-size', type=int, metavar='PIXELS', help="side of the input; default: the config's")
    parser.add_argument('--out-dir', default='work_dirs/export', help='folder of the files')
    parser.add_argument(
        '--int8',
        nargs='+',
        metavar='IMAGES',
        help='also write {kind}_int8.onnx, calibrated with these images (hundreds)',
    )
    parser.add_argument(
        '--int8-for',
        nargs='+',
        choices=RUNTIMES,
        default=RUNTIMES[:1],
        metavar='RUNTIME',
        help=f'of {", ".join(RUNTIMES)}, which compute different parts in INT8; default: {RUNTIMES[0]}',
    )
    parser.add_argument('--check', nargs='+', metavar='IMAGES', help='images to compare ONNX Runtime with PyTorch on')
    add_cfg_options(parser)


def choose_kinds(args: argparse.Namespace, cfg: 'Config') -> list[str]:
    """Choose the kinds of files to write.

    Raises:
        InputError: If a kind needs an option or a part of the model that is missing.
    """
    possible = dict(
        image_encoder=None,
        detector=None if args.vocabulary else 'give --vocabulary',
        open_detector=None,
        text_encoder=None if cfg.model.get('text_encoder') else 'the config has no model.text_encoder',
    )
    if not cfg.model.get('bbox_head'):
        possible.update(dict.fromkeys(('detector', 'open_detector'), 'the model has no bbox_head'))
    if args.vocabulary and possible['detector']:
        raise InputError(f'--vocabulary {args.vocabulary}: {possible["detector"]}')
    for kind in args.kinds or ():
        if possible[kind]:
            raise InputError(f'--kinds {kind}: {possible[kind]}')
    return args.kinds or [kind for kind in KINDS if not possible[kind]]


def load_inputs(paths: list[str], runtime: 'Runtime') -> Iterator['np.ndarray']:
    """Yield the network's inputs of the images that can be read, and report the others."""
    from kdeov_mm.deploy import ImageError, read_image

    for path in paths:
        try:
            yield runtime.preprocess(read_image(path, min_size=min(runtime.input_size)))
        except ImageError as error:
            print(f'skipped {error}', file=sys.stderr)


def compare(runtime: 'Runtime', model: 'nn.Module', inputs: list['np.ndarray']) -> str:
    """Compare a file in ONNX Runtime with the model in PyTorch.

    Args:
        runtime: One file, opened.
        model: The model that was exported, with a vocabulary.
        inputs: Inputs of the network, ``[3, H, W]`` each.

    Returns:
        str: The result for the user.

    Raises:
        InputError: If there are no inputs.
    """
    import numpy as np
    import torch
    from kdeov_mm.benchmarks.agreement import cosines, unexplained, unmatched
    from kdeov_mm.deploy.graphs import vocabulary_inputs
    from mmdet.structures import DetDataSample

    if not inputs:
        raise InputError('--check: no image can be read')
    (kind,) = runtime.sessions
    feeds = vocabulary_inputs(model) if kind == 'open_detector' else {}
    outputs = [runtime.session.run(None, {'images': image[None], **feeds}) for image in inputs]
    if kind == 'image_encoder':
        with torch.no_grad():
            expected = [model.encode_image(torch.from_numpy(image[None])) for image in inputs]
        agreement = cosines(np.concatenate([result for (result,) in outputs]), torch.cat(expected).numpy())
        return f'{len(inputs)} images, minimum cosine to PyTorch {agreement.min():.6f}, mean {agreement.mean():.6f}'
    shape = inputs[0].shape[1:]
    meta = dict(ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0))
    missing = wrong = count = 0
    limits = model.bbox_head.test_cfg
    for image, (boxes, scores, labels) in zip(inputs, outputs):
        with torch.no_grad():
            (sample,) = model.predict(torch.from_numpy(image[None]), [DetDataSample(metainfo=meta)], rescale=False)
        expected = sample.pred_instances
        keep = labels[0] >= 0
        both = (
            dict(boxes=boxes[0][keep], scores=scores[0][keep], labels=labels[0][keep]),
            dict(boxes=expected.bboxes.numpy(), scores=expected.scores.numpy(), labels=expected.labels.numpy()),
        )
        missing += unmatched(*both)
        wrong += unexplained(*both, limits.nms.iou_threshold, limits.max_per_img, limits.score_thr)
        count += len(expected)
    return (
        f'{len(inputs)} images, {count} detections in PyTorch; {missing} of either side unmatched at '
        f'IoU 0.99 and score difference 0.001, of which {missing - wrong} by ties of scores'
    )


def check(args: argparse.Namespace) -> list[str] | None:
    """Check the options before heavy imports, and return the class names to fold into the detector.

    Raises:
        ValueError, FileNotFoundError: If a file is missing or invalid.
    """
    check_config_file(args.config)
    check_checkpoint_file(args.checkpoint)
    for option in ('check', 'int8'):
        check_files(f'--{option}', getattr(args, option))
    if not args.vocabulary:
        return None
    from kdeov_mm.text import read_class_names

    return read_class_names(args.vocabulary)


def run(args: argparse.Namespace) -> None:
    """Write the files, compare and quantise them."""
    with user_errors():
        names = check(args)
        write_files(args, names)


def write_files(args: argparse.Namespace, names: list[str] | None) -> None:
    """Write the files; ``names`` are the class names to fold into the detector, or None."""
    from kdeov_mm.apis import build_vocabulary, find_images, load_model
    from kdeov_mm.deploy.export import describe, export_text_encoder
    from kdeov_mm.models import build_text_encoder
    from kdeov_mm.text import read_thresholds, resolve_templates
    from kdeov_mm.utils import check_checkpoint, load_config, resolve_checkpoint

    cfg = load_config(args.config, args.cfg_options)
    kinds = choose_kinds(args, cfg)
    checked, calibration = (find_images(paths) if paths else [] for paths in (args.check, args.int8))
    checkpoint = resolve_checkpoint(args.checkpoint)
    check_checkpoint(checkpoint)
    metadata = describe(cfg, checkpoint, args.image_size)
    vocabulary = build_vocabulary(cfg, names, args.templates, args.embeddings) if names else None
    model = load_model(cfg, checkpoint, vocabulary)
    if vocabulary is None and kinds != ['text_encoder']:
        model.set_vocabulary(sample_vocabulary(model))
    out_dir = Path(args.out_dir)
    thresholds = read_thresholds(args.vocabulary) if args.vocabulary else {}
    for kind in kinds:
        path = out_dir / f'{kind}.onnx'
        print(f'writing {path}', file=sys.stderr)
        if kind == 'text_encoder':
            encoder = build_text_encoder(cfg.model)
            templates = resolve_templates(args.templates or encoder.templates)
            export_text_encoder(encoder, templates, path, metadata)
            print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')
        else:
            write_network(kind, model, path, metadata, args.int8_for, checked, calibration, thresholds)


def sample_vocabulary(model: 'nn.Module') -> 'ClassEmbeddings':
    """Return 80 classes to compare and calibrate a detector with: of its lexicon, or with random embeddings."""
    import torch
    import torch.nn.functional as F
    from kdeov_mm.models import ClassEmbeddings

    if len(model.lexicon):
        lexicon = model.lexicon_embeddings
        return ClassEmbeddings(list(lexicon.class_names[:80]), lexicon.embeddings[:80])
    embeddings = F.normalize(torch.randn(80, model.embed_dims, generator=torch.Generator().manual_seed(0)))
    return ClassEmbeddings([f'class {index}' for index in range(len(embeddings))], embeddings)


def write_network(
    kind: str,
    model: 'nn.Module',
    path: Path,
    metadata: dict[str, str],
    int8_for: list[str],
    checked: list[str],
    calibration: list[str],
    thresholds: dict[str, float],
) -> None:
    """Write one network, in float and in INT8, and compare the files with the model.

    Args:
        kind: Kind of the file, not a text encoder.
        model: The model, with a vocabulary.
        path: File to write; those in INT8 are beside it.
        metadata: Metadata of all files of the model.
        int8_for: Target runtimes of the INT8 files.
        checked: Images to compare on; empty: no comparison.
        calibration: Images to calibrate with; empty: no INT8.
        thresholds: Minimum scores of those class names that have their own.
    """
    from kdeov_mm.deploy import Runtime
    from kdeov_mm.deploy.export import export_detector, export_image_encoder, export_open_detector
    from kdeov_mm.deploy.graphs import vocabulary_inputs
    from kdeov_mm.deploy.quantize import quantize

    writers: dict[str, Callable] = dict(
        image_encoder=export_image_encoder,
        detector=partial(export_detector, thresholds=thresholds),
        open_detector=export_open_detector,
    )
    writers[kind](model, path, metadata)
    runtime = Runtime(path)
    float_layers: dict[Path, dict[str, str]] = {path: {}}  # by file
    for target in int8_for if calibration else ():
        file = path.with_stem(f'{kind}_int8' + ('' if target == RUNTIMES[0] else f'_{target}'))
        float_layers[file] = quantize(
            path,
            load_inputs(calibration[:MAX_CALIBRATION], runtime),
            file,
            vocabulary_inputs(model) if kind == 'open_detector' else None,
            runtime=target,
        )
    inputs = list(load_inputs(checked[:MAX_CHECKED], runtime))
    for file, layers in float_layers.items():
        agreement = compare(Runtime(file), model, inputs) if checked else ''
        print(f'{file}: {file.stat().st_size / 2**20:.1f} MiB' + (agreement and f'; {agreement}'))
        if file != path:
            print(f'{file}: float layers:')
        for layer, reason in layers.items():
            print(f'    {layer}: {reason}')
