"""Export to ONNX files with metadata."""

import base64
import gzip
import importlib.metadata
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx_ir
import open_clip
import torch
import torch.nn.functional as F
from mmengine.config import Config
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from torch import Tensor, nn

from kdeov_mm.models.clip import OpenCLIPTextEncoder, TextEncoder, build_text_encoder, load_open_clip
from kdeov_mm.utils.config import first_test_dataloader
from kdeov_mm.utils.files import atomic_path, sha256
from kdeov_mm.version import __version__
from .graphs import Detector, ImageEncoder, OpenDetector
from .kinds import FORMATS
from .nms import batched_nms_onnx
from .runtime import MAX_SIDE, is_side, parse_metadata

OPSET = 18  # onnxruntime-web, OpenVINO and TensorRT support it
LICENCE = 'GPL-3.0-only'
IMAGES = {0: 'batch', 2: 'height', 3: 'width'}
POOLS = dict(ReduceMean='GlobalAveragePool', ReduceMax='GlobalMaxPool')
OUTPUTS = ('boxes', 'scores', 'labels')


class TextGraph(nn.Module):
    """Embeds tokens int64 ``[N, context_length]``; L2-normalised, ``[N, D]``.

    Args:
        model: An OpenCLIP model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens; see the class."""
        return F.normalize(self.model.encode_text(tokens), dim=-1)


def export_image_encoder(model: nn.Module, path: Path, metadata: dict[str, str]) -> Path:
    """Write ``images [batch, 3, height, width] -> embeddings [batch, D]``; see :func:`write`.

    The metadata have what competes with class names for a whole image, if the model has it.
    """
    competitors = model.image_competitors
    if competitors is not None:
        content = base64.b64encode(competitors.embeddings.astype('<f4').tobytes()).decode()
        described = dict(asdict(competitors.lexicon), background=competitors.background, embeddings=content)
        metadata = dict(metadata, competitors=json.dumps(described))
    return write(
        ImageEncoder(model),
        dict(images=sample_images()),
        (IMAGES,),
        ('embeddings',),
        path,
        dict(metadata, kdeov_kind='image_encoder'),
    )


def export_detector(
    model: nn.Module, path: Path, metadata: dict[str, str], thresholds: dict[str, float] | None = None
) -> Path:
    """Write ``images -> boxes, scores, labels`` for the model's current vocabulary; see :class:`Detector`.

    ``thresholds`` are the minimum scores of those class names that have their own.
    """
    return write(
        Detector(model),
        dict(images=sample_images()),
        (IMAGES,),
        OUTPUTS,
        path,
        dict(
            metadata,
            kdeov_kind='detector',
            names=json.dumps(model.vocabulary),
            threshold=json.dumps(model.calibration.threshold),
            thresholds=json.dumps(thresholds or {}),
        ),
    )


def export_open_detector(model: nn.Module, path: Path, metadata: dict[str, str]) -> Path:
    """Write ``images, texts [names, D] -> boxes, scores, labels``; see :class:`OpenDetector`.

    With independent scores ``others [others, D]`` and ``competes [names, lexicon + others]`` are inputs, too.
    """
    texts = F.normalize(torch.randn(7, model.embed_dims, generator=torch.Generator().manual_seed(0)), dim=1)
    inputs, free = dict(images=sample_images(), texts=texts), [IMAGES, {0: 'names'}]
    if model.background is not None:
        inputs.update(others=texts[:3], competes=torch.ones(7, len(model.lexicon) + 3))
        free += [{0: 'others'}, {0: 'names', 1: torch.export.Dim.DYNAMIC}]
        metadata = dict(metadata, lexicon=json.dumps(asdict(model.lexicon)))
    return write(
        OpenDetector(model),
        inputs,
        tuple(free),
        OUTPUTS,
        path,
        dict(metadata, kdeov_kind='open_detector', threshold=json.dumps(model.calibration.threshold)),
    )


def export_text_encoder(
    text_encoder: TextEncoder, templates: Sequence[str], path: Path, metadata: dict[str, str]
) -> Path:
    """Write ``tokens [texts, context_length] -> embeddings [texts, D]``, with tokenizer and templates in the metadata.

    Args:
        text_encoder: The model's text encoder.
        templates: Prompt templates of class names for the runtime.
        path, metadata: See :func:`write`.

    Raises:
        ValueError: If the encoder is of another type, or its tokenizer is not CLIP's.
    """
    if not isinstance(text_encoder, OpenCLIPTextEncoder):
        raise ValueError(
            f'text_encoder: only OpenCLIPTextEncoder can be exported, got {type(text_encoder).__name__}; embed the '
            'class names with PyTorch and give the runtime their embeddings'
        )
    name = text_encoder.model_name
    tokenizer = open_clip.get_tokenizer(name)
    if type(tokenizer) is not SimpleTokenizer:
        raise ValueError(
            f"text_encoder: the tokenizer of {name} is {type(tokenizer).__name__}; only CLIP's byte pair "
            'encoding can be exported; embed the class names with PyTorch and give the runtime their embeddings'
        )
    model = load_open_clip(name, text_encoder.pretrained)
    described = dict(
        type='clip_bpe',
        lower_case=True,
        context_length=tokenizer.context_length,
        start=tokenizer.sot_token_id,
        end=tokenizer.eot_token_id,
        padding=0,
        merges=read_merges(),
    )
    tokens = tokenizer(['a red bus at night', 'two dogs'])
    return write(
        TextGraph(model),
        dict(tokens=tokens),
        ({0: 'texts'},),
        ('embeddings',),
        path,
        dict(
            metadata,
            kdeov_kind='text_encoder',
            model_name=name,
            tokenizer=json.dumps(described),
            templates=json.dumps(list(templates)),
        ),
    )


def read_merges() -> str:
    """Return the merges of CLIP's byte pair encoding, one a line, in order; MIT licence, OpenAI."""
    with gzip.open(default_bpe()) as file:
        return '\n'.join(file.read().decode('utf-8').split('\n')[1 : 49152 - 256 - 2 + 1])


def sample_images() -> Tensor:
    """Return images to trace with; batch, height and width are dynamic."""
    return torch.rand(2, 3, 160, 128, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def write(
    module: nn.Module,
    inputs: dict[str, Tensor],
    free: tuple[dict[int, str], ...],
    outputs: Sequence[str],
    path: Path,
    metadata: dict[str, str],
) -> Path:
    """Write a module as an ONNX file, complete or not at all.

    Args:
        module: Module with as many arguments as ``inputs``.
        inputs: Names and samples of the arguments.
        free: Names of the dynamic dimensions of each argument.
        outputs: Names of the outputs.
        path: Output file.
        metadata: Metadata of the file.

    Raises:
        InputError: If the runtime would refuse the metadata; nothing is computed then.
    """
    if 'embed_dims' in metadata:  # otherwise not a file for the runtime
        kind = metadata['kdeov_kind']
        metadata = dict(metadata, kdeov_format=FORMATS[kind])
        parse_metadata(path, kind, metadata)
    with warnings.catch_warnings():  # from the exporter's own code
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=free,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
            custom_translation_table={torch.ops.kdeov_mm.batched_nms.default: batched_nms_onnx},
        )
    for node in program.model.graph:
        node.metadata_props.clear()  # removes source paths of this machine
        name_pool(node)
    program.model.metadata_props.clear()
    program.model.metadata_props.update(metadata)
    with atomic_path(Path(path)) as partial:
        program.save(partial)
    return Path(path)


def name_pool(node: onnx_ir.Node) -> None:
    """Replace a mean or maximum over a whole image by global pooling, which runtimes compute without reordering."""
    if node.op_type not in POOLS or len(node.inputs) != 2 or len(node.inputs[0].shape or ()) != 4:
        return
    axes, keep = onnx_ir.convenience.get_const_tensor(node.inputs[1]), node.attributes.get('keepdims')
    if axes is not None and sorted(axes.numpy() % 4) == [2, 3] and (keep is None or keep.value == 1):
        node.op_type = POOLS[node.op_type]
        node.resize_inputs(1)
        node.attributes.clear()


def describe(cfg: Config, checkpoint: str, size: int | None = None) -> dict[str, str]:
    """Return the metadata of all files of one model.

    Args:
        cfg: Config of the model.
        checkpoint: Weights of the model.
        size: Side of the input in pixels, a multiple of 32; default: that of the config.

    Raises:
        ValueError: If the runtime does not support the preprocessing of the config.
    """
    versions = {name: importlib.metadata.version(name) for name in ('torch', 'mmengine', 'mmdet', 'mmyolo', 'onnx')}
    data = dict(
        licence=LICENCE,
        embed_dims=str(cfg.model.embed_dims),
        config=Path(cfg.filename).name,
        checkpoint_sha256=sha256(checkpoint),
        preprocessing=json.dumps(preprocessing(cfg, size)),
        versions=json.dumps(dict(versions, kdeov_mm=__version__)),
    )
    source = cfg.model.get('text_encoder')
    if source and source.type != 'PrecomputedTextEncoder':  # precomputed embeddings do not name their space
        data['text_space'] = build_text_encoder(cfg.model).id or ''
    return data


def preprocessing(cfg: Config, size: int | None = None) -> dict:
    """Return how the config's test pipeline converts images to the network's input.

    Args:
        cfg: Config of the model.
        size: See :func:`describe`.

    Returns:
        dict: ``size`` (height, width), ``resize`` (``stretch`` or ``letterbox``), ``pad_value`` (0 to 255, for
        the letterbox), ``channels`` and ``range`` of the input.

    Raises:
        ValueError: If the preprocessing is not supported, or ``size`` is not a multiple of 32 up to ``MAX_SIDE``.
    """
    normal = cfg.model.data_preprocessor
    if list(normal.mean) != [0.0] * 3 or list(normal.std) != [255.0] * 3 or not normal.bgr_to_rgb:
        raise ValueError(f'data_preprocessor: only mean 0, std 255 and bgr_to_rgb can be exported, got {dict(normal)}')
    loader = first_test_dataloader(cfg)
    steps = {step['type'].split('.')[-1]: step for step in loader.dataset.pipeline}
    if 'LetterResize' in steps:
        pad = steps['LetterResize'].get('pad_val', 0)
        how = dict(resize='letterbox', pad_value=pad['img'] if isinstance(pad, dict) else pad)
        width, height = steps['LetterResize']['scale']
    elif 'Resize' in steps and not steps['Resize'].get('keep_ratio', False):
        how = dict(resize='stretch')
        width, height = steps['Resize']['scale']
    else:
        raise ValueError(
            'test_dataloader: the runtime supports LetterResize and Resize(keep_ratio=False), but the '
            f'pipeline has only {", ".join(steps)}'
        )
    if size is not None:
        height = width = size
    if not is_side(height) or not is_side(width):
        got = f'{height} x {width}' if size is None else size
        raise ValueError(f'image size: must be at most {MAX_SIDE} and a positive multiple of 32, got {got}')
    return dict(size=[height, width], **how, channels='RGB', range=[0, 1])
