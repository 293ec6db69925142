"""Randomness as a function of numbers, such as seed, epoch and index, instead of a history."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def mix_seed(*numbers: int) -> int:
    """Return a seed in [0, 2^32) for a tuple of non-negative integers; similar tuples give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_sample(*numbers: int) -> None:
    """Seed what the transforms of one sample draw from: Python, NumPy and PyTorch on the CPU."""
    seed = mix_seed(*numbers)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also turn to the GPU, in every worker


@contextmanager
def seeded_sample(*numbers: int) -> Iterator[None]:
    """Seed as :func:`seed_sample` does for a block; after it all generators go on as if it had not been."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_sample(*numbers)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_step(*numbers: int) -> None:
    """Seed what the model draws from in one step, on all devices."""
    seed_sample(*numbers)
    torch.manual_seed(mix_seed(*numbers))


def choose_caption(captions: Sequence[str], seed: int, epoch: int, img_id) -> str:
    """Choose one of an image's captions as a pseudorandom function of the arguments, such as the epoch.

    Args:
        captions: At least one text.
        seed, epoch: Of the training.
        img_id: Any identity of the image, such as a number or a path.
    """
    return random.Random(f'{seed}/{epoch}/{img_id}').choice(captions)
