"""Static quantisation of exported files to eight bits."""
import json
import logging
import re
import tempfile
from pathlib import Path
from typing import Dict, Iterable, Optional, Sequence

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from kdeov_mm.utils.files import atomic_path

PREDICTION = re.compile(r'layers\.(obj_preds\.\d+|reg_preds\.\d+\.2)\.weight')
REASONS = dict(
    prediction='its output is the box or the objectness itself: 256 steps are too coarse, and it is little work',
    product='a product of whole embeddings: its rounding goes straight into the similarity, and it is little work')
ENCODER = ('Conv', 'Sigmoid', 'Mul', 'Add', 'Concat', 'MaxPool', 'Resize', 'Slice')


class Feeds(CalibrationDataReader):
    """Hands ONNX Runtime's calibration one set of inputs after the other."""

    def __init__(self, images: Iterable[np.ndarray], texts: Optional[np.ndarray]) -> None:
        self.images, self.number = iter(images), 0
        self.constant = {} if texts is None else {'texts': texts}

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        image = next(self.images, None)
        if image is None and not self.number:
            raise ValueError('images: quantisation needs real images to calibrate with; some hundreds will do')
        self.number += image is not None
        return None if image is None else {'images': image[None], **self.constant}


def float_layers(model: onnx.ModelProto, op_types: Sequence[str] = ('Conv', )) -> Dict[str, str]:
    """The layers with weights that stay in float: the weights' or else the node's name, and the reason."""
    constants, found = {tensor.name for tensor in model.graph.initializer}, {}
    for node in model.graph.node:
        weights = [name for name in node.input if name in constants]
        if node.op_type == 'Conv' and PREDICTION.fullmatch(node.input[1]):
            found[node.input[1]] = REASONS['prediction']
        elif node.op_type in {'Gemm', 'MatMul'}.difference(op_types) and weights:
            found[weights[0]] = REASONS['product']
    return found


def quantize(path: Path, images: Iterable[np.ndarray], out: Path, texts: Optional[np.ndarray] = None,
             op_types: Optional[Sequence[str]] = None) -> Dict[str, str]:
    """Write a file whose convolutions compute in eight bits: weights for each channel, activations for each tensor.

    In a detector the values between the convolutions stay float; in an image encoder, whose pooled result bears it,
    they do not (the format is ONNX's QuantizeLinear/DequantizeLinear pairs, which ONNX Runtime, OpenVINO and TensorRT
    fuse).

    Args:
        path: A file that tools/export.py wrote; not a text encoder.
        images: Real inputs to calibrate with, as ``Runtime.preprocess`` gives them, ``[3, H, W]`` each; hundreds, so
            that what activates a channel most is among them.
        out: The file to write.
        texts: A vocabulary ``[K, D]``, for an ``open_detector``.
        op_types: Operators that compute in eight bits; a transformer's are MatMul and Gemm. Default: see above.

    Returns:
        dict: The layers left in float and the reason of each; they are in the file's metadata, too.

    Raises:
        ValueError: There is no image, or the file has no convolution.
    """
    model = onnx.load(path)
    metadata = {item.key: item.value for item in model.metadata_props}
    if op_types is None:
        op_types = ENCODER if metadata.get('kdeov_kind') == 'image_encoder' else ('Conv', )
    kept = float_layers(model, op_types)
    convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
    if not convolutions:
        raise ValueError(f'{path}: has no convolution; only image encoders and detectors are quantised')
    feeds = Feeds(images, texts)
    logging.getLogger().addFilter(quiet)  # its advice to preprocess, which is what is done here
    try:
        with atomic_path(Path(out)) as partial, tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / 'prepared.onnx'
            quant_pre_process(str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(partial), feeds, quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(op_types),
                nodes_to_exclude=[node.name for node in convolutions if node.input[1] in kept])
            quantized = onnx.load(partial)
            onnx.helper.set_model_props(quantized, dict(
                metadata, float_layers=json.dumps(kept), quantization=json.dumps(dict(
                    convolutions='int8 for each channel', activations='uint8 for each tensor',
                    calibration_images=feeds.number))))
            onnx.save(quantized, partial)
    finally:
        logging.getLogger().removeFilter(quiet)
    return kept


def quiet(record: logging.LogRecord) -> bool:
    """Drop what ONNX Runtime's quantisation says of its own steps."""
    return record.levelno > logging.WARNING
