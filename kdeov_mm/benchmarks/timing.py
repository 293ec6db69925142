"""Interleaved timing of candidates, so that a busy machine slows all of them alike."""

import platform
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

Stages = dict[str, Callable[[Any], Any]]


def time_stages(stages: Stages, device: torch.device) -> dict[str, float]:
    """Run stages, each on the result of the previous one (the first on None), and return the seconds of each."""
    seconds, value = {}, None
    start = time.perf_counter()
    for name, stage in stages.items():
        value = stage(value)
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        end = time.perf_counter()
        seconds[name], start = end - start, end
    return seconds


@torch.no_grad()
def time_interleaved(
    candidates: dict[Hashable, Stages],
    repeats: int,
    device: torch.device,
    warmup: int = 2,
    slow: float = 2.0,
    slow_repeats: int = 3,
    progress: bool = True,
) -> dict[Hashable, list[dict[str, float]]]:
    """Time every candidate once in each round: first ``warmup`` rounds, then ``repeats`` measured ones.

    Every other round runs backwards, so that no candidate always follows the same one.

    Args:
        candidates: The candidates, each as stages, see :func:`time_stages`.
        repeats: Number of measured rounds.
        device: Device that the candidates run on.
        warmup: Number of rounds before.
        slow: Seconds. A candidate whose first pass takes longer has no further warm-up and at most ``slow_repeats``
            measured rounds.
        slow_repeats: See ``slow``.
        progress: Whether to show a progress bar.

    Returns:
        dict: For each candidate the seconds of each stage in each measured round.
    """
    measured: dict[Hashable, list[dict[str, float]]] = {key: [] for key in candidates}
    is_slow: dict[Hashable, bool] = {}
    for round_ in tqdm(
        range(warmup + repeats), desc=f'{len(candidates)} candidates, interleaved', unit='round', disable=not progress
    ):
        for key, stages in list(candidates.items())[:: -1 if round_ % 2 else 1]:
            if is_slow.get(key) and (round_ < warmup or len(measured[key]) >= slow_repeats):
                continue
            seconds = time_stages(stages, device)
            is_slow.setdefault(key, sum(seconds.values()) > slow)
            if round_ >= warmup:
                measured[key].append(seconds)
    return measured


time_in_turns = time_interleaved  # the old name, for one release


def machine(device: torch.device) -> str:
    """Return the name of the GPU, or the name of the processor and the number of PyTorch's threads."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    model = (
        [
            line.split(':', 1)[1].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ]
        if Path('/proc/cpuinfo').exists()
        else []
    )
    return f'{model[0] if model else platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)'
