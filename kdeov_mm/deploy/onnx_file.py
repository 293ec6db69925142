"""ONNX files that hold all of their weights, so that their SHA-256 says what they compute. Standard library only."""

from pathlib import Path
from typing import Iterator, Tuple, Union

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import read_file

MAX_BYTES = 2 * 2**30  # protobuf's own limit of a message
MAX_FIELDS = 5_000_000  # that are looked at; a hostile file must not keep this busy for minutes

# The fields of ONNX's messages that lead to tensors, by their numbers in onnx.proto.
TENSOR = 'TensorProto'
MESSAGES = {
    'ModelProto': {7: 'GraphProto', 20: 'TrainingInfoProto', 25: 'FunctionProto'},
    'TrainingInfoProto': {1: 'GraphProto', 2: 'GraphProto'},
    'FunctionProto': {7: 'NodeProto', 11: 'AttributeProto'},
    'GraphProto': {1: 'NodeProto', 5: TENSOR, 15: 'SparseTensorProto'},
    'NodeProto': {5: 'AttributeProto'},
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
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # fields of a tensor
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types


def read_onnx(path: Union[str, Path]) -> bytes:
    """Read an ONNX file whose tensors are all in the file itself.

    ONNX Runtime before 1.24 reads tensors from any other file that a model names, also outside of its folder.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a regular file, is too large, is no ONNX file, or keeps tensors in another file.
    """
    content = read_file(path, MAX_BYTES, 'ONNX file')
    name = printable(str(path))
    try:
        external = has_external_data(content)
    except ValueError as error:
        raise InputError(f'ONNX file "{name}": {error}; it is truncated, damaged or no ONNX file') from None
    if external:
        raise InputError(f'ONNX file "{name}" keeps tensors in other files; export it as one file')
    return content


def has_external_data(content: bytes) -> bool:
    """Return whether a model keeps a tensor in another file.

    Raises:
        ValueError: If it is not a protobuf message.
    """
    waiting, count = [('ModelProto', 0, len(content))], 0
    while waiting:
        message, start, end = waiting.pop()
        for field, value, begin, stop in fields(content, start, end):
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(f'more than {MAX_FIELDS} fields')
            if message == TENSOR and (field == EXTERNAL_DATA or field == DATA_LOCATION and value):
                return True
            if field in MESSAGES[message] and stop > begin:
                waiting.append((MESSAGES[message][field], begin, stop))
    return False


def fields(content: bytes, position: int, end: int) -> Iterator[Tuple[int, int, int, int]]:
    """Yield each field of a protobuf message: its number, its value if it is an integer, and where its bytes are.

    Raises:
        ValueError: If the bytes are not a message.
    """
    while position < end:
        key, position = read_varint(content, position, end)
        field, kind = key >> 3, key & 7
        begin = stop = position
        value = 0
        if kind == VARINT:
            value, stop = read_varint(content, position, end)
            begin = stop
        elif kind == BYTES:
            length, begin = read_varint(content, position, end)
            stop = begin + length
        elif kind in (FIXED64, FIXED32):
            begin = stop = position + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f'protobuf wire type {kind} at byte {position}')
        if stop > end:
            raise ValueError(f'a field ends {stop - end} bytes after its message')
        yield field, value, begin, stop
        position = stop


def read_varint(content: bytes, position: int, end: int) -> Tuple[int, int]:
    """Read protobuf's variable-length integer; return it and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f'an integer that does not end before byte {position}')
