"""The fields of a protobuf message, without its schema; standard library only."""

from collections.abc import Iterator

MAX_KEY = 2**32 - 1  # of a field: its number and its wire type
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def fields(content: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field of a protobuf message: its number, its value if it is an integer, and where its bytes are.

    Raises:
        ValueError: If the bytes are not a message.
    """
    while position < end:
        key, position = read_varint(content, position, end)
        if key > MAX_KEY:  # protobuf's own readers would cut it off, and see another field
            raise ValueError(f'field number {key >> 3} before byte {position}')
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


def read_varint(content: bytes, position: int, end: int) -> tuple[int, int]:
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
