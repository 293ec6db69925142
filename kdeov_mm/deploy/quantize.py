"""Static quantisation of exported files to eight bits."""

import json
import logging
import re
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Sequence, Set

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from kdeov_mm.utils.files import atomic_path
from .kinds import RUNTIMES

PREDICTION = re.compile(r'layers\.(obj_preds\.\d+|reg_preds\.\d+\.2)\.weight')
REASONS = dict(
    prediction='its output is the box or the objectness itself: 256 steps are too coarse, and it is little work',
    product='a product of whole embeddings: its rounding goes straight into the similarity, and it is little work',
    stem='its input has the three channels of the image, which ONNX Runtime computes faster in float',
)
LAYERS = ('Conv', 'MatMul', 'Gemm')
BETWEEN = ('Sigmoid', 'Mul', 'Add', 'Concat', 'MaxPool', 'Resize', 'Slice')


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


def float_layers(
    model: onnx.ModelProto, layers: Sequence[str] = ('Conv',), runtime: str = 'onnxruntime'
) -> Dict[str, str]:
    """The layers with weights that stay in float: the weights' names, and the reason."""
    constants, found = {tensor.name: tensor for tensor in model.graph.initializer}, {}
    for node in model.graph.node:
        weights = [name for name in node.input if name in constants]
        if node.op_type == 'Conv' and PREDICTION.fullmatch(node.input[1]):
            found[node.input[1]] = REASONS['prediction']
        elif node.op_type == 'Conv' and runtime == 'onnxruntime' and constants[node.input[1]].dims[1] == 3:
            found[node.input[1]] = REASONS['stem']
        elif node.op_type in set(LAYERS).difference(layers) and weights:
            found[weights[0]] = REASONS['product']
    return found


def upstream(graph: onnx.GraphProto, op_types: Sequence[str]) -> Set[str]:
    """Names of the nodes of these types, and of all that they read."""
    makers = {output: node for node in graph.node for output in node.output}
    found, open_ = set(), [node for node in graph.node if node.op_type in op_types]
    while open_:
        node = open_.pop()
        if node.name not in found:
            found.add(node.name)
            open_ += [makers[name] for name in node.input if name in makers]
    return found


def quantize(
    path: Path,
    images: Iterable[np.ndarray],
    out: Path,
    texts: Optional[np.ndarray] = None,
    layers: Sequence[str] = ('Conv',),
    runtime: str = 'onnxruntime',
) -> Dict[str, str]:
    """Write a file whose convolutions compute in eight bits: weights for each channel, activations for each tensor.

    The format is ONNX's QuantizeLinear/DequantizeLinear pairs. Where they are is a runtime's affair: ONNX Runtime
    computes a convolution in eight bits if its result is rounded, too, and so all between two convolutions is (but not
    what is between a transformer's products); OpenVINO computes a convolution with the activation after it, in float,
    and only what a convolution reads is rounded.

    Args:
        path: A file that "kdeov export" wrote; not a text encoder.
        images: Real inputs to calibrate with, as ``Runtime.preprocess`` gives them, ``[3, H, W]`` each; hundreds, so
            that what activates a channel most is among them.
        out: The file to write.
        texts: A vocabulary ``[K, D]``, for an ``open_detector``.
        layers: Operators with weights that compute in eight bits; a transformer's are MatMul and Gemm, too.
        runtime: Which one the file is for, of ``RUNTIMES``; others give the same result, but slower.

    Returns:
        dict: The layers left in float and the reason of each; they are in the file's metadata, too.

    Raises:
        ValueError: There is no image, no such runtime, or the file has no convolution.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f'runtime: one of {", ".join(RUNTIMES)}, got {runtime!r}')
    model = onnx.load(path)
    metadata = {item.key: item.value for item in model.metadata_props}
    if not any(node.op_type == 'Conv' for node in model.graph.node):
        raise ValueError(f'{path}: has no convolution; only image encoders and detectors are quantised')
    kept, rounded, feeds = float_layers(model, layers, runtime), upstream(model.graph, layers), Feeds(images, texts)
    for_runtime: Dict[str, Dict[str, Any]] = dict(
        onnxruntime=dict(op_types_to_quantize=[*layers, *(BETWEEN if 'MatMul' not in layers else ())]),
        openvino=dict(
            op_types_to_quantize=list(layers), extra_options=dict(OpTypesToExcludeOutputQuantization=list(layers))
        ),
    )
    logging.getLogger().addFilter(quiet)  # its advice to preprocess, which is what is done here
    try:
        with atomic_path(Path(out)) as partial, tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / 'prepared.onnx'
            quant_pre_process(str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(partial),
                feeds,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[
                    node.name
                    for node in model.graph.node
                    if node.name not in rounded or node.op_type in LAYERS and kept.keys() & set(node.input)
                ],
                **for_runtime[runtime],
            )
            quantized = onnx.load(partial)
            onnx.helper.set_model_props(
                quantized,
                dict(
                    metadata,
                    float_layers=json.dumps(kept),
                    quantization=json.dumps(
                        dict(
                            convolutions='int8 for each channel',
                            activations='uint8 for each tensor',
                            runtime=runtime,
                            calibration_images=feeds.number,
                        )
                    ),
                ),
            )
            onnx.save(quantized, partial)
    finally:
        logging.getLogger().removeFilter(quiet)
    return kept


def quiet(record: logging.LogRecord) -> bool:
    """Drop what ONNX Runtime's quantisation says of its own steps."""
    return record.levelno > logging.WARNING
