"""Static INT8 quantisation of exported files."""

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from kdeov_mm.utils.files import atomic_path
from .kinds import RUNTIMES

PREDICTION = re.compile(r'layers\.(obj_preds\.\d+|reg_preds\.\d+\.2)\.weight')
REASONS = dict(
    prediction='its output is the box or the objectness: 256 steps are too coarse, and it costs little',
    product='a product of whole embeddings: its rounding changes the similarity directly, and it costs little',
    stem='its input has the three channels of the image, which ONNX Runtime computes faster in float',
)
LAYERS = ('Conv', 'MatMul', 'Gemm')
BETWEEN = ('Sigmoid', 'Mul', 'Add', 'Concat', 'MaxPool', 'Resize', 'Slice')


class Feeds(CalibrationDataReader):
    """Feeds sets of inputs to ONNX Runtime's calibration.

    Args:
        images: Inputs of the network, ``[3, H, W]`` each.
        constants: The other inputs by name, the same for all images.
    """

    def __init__(self, images: Iterable[np.ndarray], constants: Mapping[str, np.ndarray]) -> None:
        self.images, self.count = iter(images), 0
        self.constants = constants

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next inputs by name; None at the end."""
        image = next(self.images, None)
        if image is None and not self.count:
            raise ValueError('images: quantisation needs real images to calibrate with; some hundreds are enough')
        self.count += image is not None
        return None if image is None else {'images': image[None], **self.constants}


def float_layers(
    model: onnx.ModelProto, layers: Sequence[str] = ('Conv',), runtime: str = 'onnxruntime'
) -> dict[str, str]:
    """Return the names of weights whose layers stay in float, and the reasons; see :func:`quantize`."""
    constants, result = {tensor.name: tensor for tensor in model.graph.initializer}, {}
    for node in model.graph.node:
        weights = [name for name in node.input if name in constants]
        if node.op_type == 'Conv' and PREDICTION.fullmatch(node.input[1]):
            result[node.input[1]] = REASONS['prediction']
        elif node.op_type == 'Conv' and runtime == 'onnxruntime' and constants[node.input[1]].dims[1] == 3:
            result[node.input[1]] = REASONS['stem']
        elif node.op_type in set(LAYERS).difference(layers) and weights:
            result[weights[0]] = REASONS['product']
    return result


def upstream(graph: onnx.GraphProto, op_types: Sequence[str]) -> set[str]:
    """Return the names of nodes of these types and of all nodes upstream."""
    makers = {output: node for node in graph.node for output in node.output}
    names, waiting = set(), [node for node in graph.node if node.op_type in op_types]
    while waiting:
        node = waiting.pop()
        if node.name not in names:
            names.add(node.name)
            waiting += [makers[name] for name in node.input if name in makers]
    return names


def quantize(
    path: Path,
    images: Iterable[np.ndarray],
    out: Path,
    constants: Mapping[str, np.ndarray] | None = None,
    layers: Sequence[str] = ('Conv',),
    runtime: str = 'onnxruntime',
) -> dict[str, str]:
    """Write a file with INT8 convolutions, with scales for each channel of weights and for each activation tensor.

    The file has ONNX's QuantizeLinear/DequantizeLinear pairs, whose places depend on the runtime. ONNX Runtime needs a
    quantised result of a convolution, so everything between two convolutions is quantised, but not what is between a
    transformer's products. OpenVINO computes the activation after a convolution in float, so only the inputs of
    convolutions are quantised.

    Args:
        path: A file of "kdeov export"; not a text encoder.
        images: Hundreds of real inputs for calibration from ``Runtime.preprocess``, ``[3, H, W]`` each.
        out: Output file.
        constants: Other inputs by name; for an ``open_detector`` those of
            :func:`~kdeov_mm.deploy.graphs.vocabulary_inputs`.
        layers: Types of operators with INT8 weights; add MatMul and Gemm for a transformer.
        runtime: Target runtime, of ``RUNTIMES``; others give the same result, but slower.

    Returns:
        dict: The weights left in float and the reasons; the file's metadata have them, too.

    Raises:
        ValueError: If there are no images, the runtime is unknown, or the file has no convolution.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f'runtime: must be one of {", ".join(RUNTIMES)}, got {runtime!r}')
    model = onnx.load(path)
    metadata = {item.key: item.value for item in model.metadata_props}
    if not any(node.op_type == 'Conv' for node in model.graph.node):
        raise ValueError(f'{path}: has no convolution; only image encoders and detectors are quantised')
    float_weights, rounded, feeds = (
        float_layers(model, layers, runtime),
        upstream(model.graph, layers),
        Feeds(images, constants or {}),
    )
    for_runtime: dict[str, dict[str, Any]] = dict(
        onnxruntime=dict(op_types_to_quantize=[*layers, *(BETWEEN if 'MatMul' not in layers else ())]),
        openvino=dict(
            op_types_to_quantize=list(layers), extra_options=dict(OpTypesToExcludeOutputQuantization=list(layers))
        ),
    )
    logging.getLogger().addFilter(quiet)  # hides its advice to preprocess, which is done here
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
                    if node.name not in rounded or node.op_type in LAYERS and float_weights.keys() & set(node.input)
                ],
                **for_runtime[runtime],
            )
            quantized = onnx.load(partial)
            onnx.helper.set_model_props(
                quantized,
                dict(
                    metadata,
                    float_layers=json.dumps(float_weights),
                    quantization=json.dumps(
                        dict(
                            convolutions='int8 for each channel',
                            activations='uint8 for each tensor',
                            runtime=runtime,
                            calibration_images=feeds.count,
                        )
                    ),
                ),
            )
            onnx.save(quantized, partial)
    finally:
        logging.getLogger().removeFilter(quiet)
    return float_weights


def quiet(record: logging.LogRecord) -> bool:
    """Drop the progress messages of ONNX Runtime's quantisation."""
    return record.levelno > logging.WARNING
