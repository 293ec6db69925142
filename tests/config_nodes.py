"""Walks through configs."""

from typing import Iterator


def dicts(node) -> Iterator[dict]:
    """All dicts in a config."""
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts(item)
