"""Reading of ONNX files that hold all of their weights, so their SHA-256 covers them. Standard library only."""

from pathlib import Path

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import read_file
from kdeov_mm.utils.protobuf import fields

MAX_ONNX_BYTES = 2 * 2**30  # protobuf's limit of a message
MAX_FIELDS = 5_000_000  # to check; a hostile file must not take minutes

# Field numbers in onnx.proto of ONNX's messages that lead to tensors.
TENSOR, NODE = 'TensorProto', 'NodeProto'
MESSAGES = {
    'ModelProto': {7: 'GraphProto', 20: 'TrainingInfoProto', 25: 'FunctionProto'},
    'TrainingInfoProto': {1: 'GraphProto', 2: 'GraphProto'},
    'FunctionProto': {7: NODE, 11: 'AttributeProto'},
    'GraphProto': {1: NODE, 5: TENSOR, 15: 'SparseTensorProto'},
    NODE: {5: 'AttributeProto'},
    'AttributeProto': {
        5: TENSOR,
        6: 'GraphProto',
        10: TENSOR,
        11: 'GraphProto',
        22: 'SparseTensorProto',
        23: 'SparseTensorProto',
    },
    'SparseTensorProto': {1: TENSOR, 2: TENSOR},
    TENSOR: {},
}
ORT_FORMAT = b'ORTM'  # by which ONNX Runtime tells its own format
FUNCTIONS = 25  # field of a model: functions may call others, which grows exponentially when they are put in
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # fields of a tensor
OPERATOR, LOOPS = 4, (b'Loop', b'Scan')  # field of a node, and the operators that repeat a graph


def read_onnx(path: str | Path) -> bytes:
    """Read an ONNX file whose tensors are all in the file itself.

    ONNX Runtime before 1.24 reads tensors from any file that a model names, also outside of its folder.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a regular file, is too large, is no ONNX file, or keeps tensors in another file.
    """
    content = read_file(path, MAX_ONNX_BYTES, 'ONNX file')
    name = printable(str(path))
    if content[4:8] == ORT_FORMAT:
        raise InputError(f'ONNX file "{name}" is in the format of ONNX Runtime; give an ONNX file')
    try:
        check_model(content, name)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f'ONNX file "{name}": {error}; it is truncated, damaged or no ONNX file') from None
    return content


def check_model(content: bytes, name: str) -> None:
    """Check that a model has no external tensors and runs each operator once.

    Raises:
        InputError: If the model has external data, functions, or a loop, which may never end; exported files have none.
        ValueError: If the content is not a protobuf message.
    """
    waiting, count = [('ModelProto', 0, len(content))], 0
    while waiting:
        message, start, end = waiting.pop()
        for field, value, begin, stop in fields(content, start, end):
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(f'more than {MAX_FIELDS} fields')
            if message == TENSOR and (field == EXTERNAL_DATA or field == DATA_LOCATION and value):
                raise InputError(f'ONNX file "{name}" keeps tensors in other files; export it as one file')
            if message == 'ModelProto' and field == FUNCTIONS:
                raise InputError(f'ONNX file "{name}" has functions, which no exported model has; do not use it')
            if message == NODE and field == OPERATOR and content[begin:stop] in LOOPS:
                raise InputError(f'ONNX file "{name}" has a loop, which exported models do not have; do not use it')
            if field in MESSAGES[message] and stop > begin:
                waiting.append((MESSAGES[message][field], begin, stop))
