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
    """Run stages, each on the result of the one before (the first on None); seconds of each."""
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
def time_in_turns(
    candidates: dict[Hashable, Stages],
    repeats: int,
    device: torch.device,
    warmup: int = 2,
    slow: float = 2.0,
    slow_repeats: int = 3,
    progress: bool = True,
) -> dict[Hashable, list[dict[str, float]]]:
    """Time every candidate once a round, for ``warmup`` rounds that do not count and ``repeats`` that do.

    Every other round goes backwards, so that nobody always follows the same neighbour.

    Args:
        candidates: What is compared, each as stages.
        repeats: Rounds that count.
        device: Where they run.
        warmup: Rounds before.
        slow: A candidate whose first pass takes more seconds than this has no other warm-up and is measured
            ``slow_repeats`` times at most.
        slow_repeats: See ``slow``.
        progress: Whether to show it.

    Returns:
        dict: For each candidate, round by round from the first that counts, the seconds of each stage.
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


def machine(device: torch.device) -> str:
    """Describe the machine."""
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
