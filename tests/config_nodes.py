"""Configs in tests: a walk through one, and its text."""

from typing import Iterator


def leave_config_text(text: str, **options) -> tuple[str, bool]:
    """In place of MMEngine's layout of a config's text, which takes seconds at each start and checkpoint."""
    return text, True


def dicts(node) -> Iterator[dict]:
    """All dicts in a config."""
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts(item)
