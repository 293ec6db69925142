"""Backgrounds and light of the hard shapes dataset: procedural textures in dull tones, uneven light and shadows."""

import cv2
import numpy as np


def draw_textured_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw one of :data:`PATTERNS` in two dull tones over a smooth gradient, float32 RGB [size, size, 3]."""
    angle = rng.uniform(0, np.pi)
    x, y = np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32)[:, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    pattern = PATTERNS[rng.integers(len(PATTERNS))](rng, u.astype(np.float32), v.astype(np.float32))
    contrast = rng.choice([-1, 1]) * rng.uniform(15, 50) + rng.uniform(-10, 10, 3)
    image = _tones(pattern, contrast) + _tones(_noise(rng, size, 3), rng.uniform(-35, 35, 3))
    image += (rng.uniform(85, 170) + rng.uniform(-15, 15, 3)).astype(np.float32)
    return image.clip(55, 200)


def light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light a float32 RGB image unevenly: gradients, up to two soft shadows, a tint, gamma and noise."""
    size = len(image)
    gain = 0.75 + 0.45 * _noise(rng, size, 3)
    for _ in range(rng.integers(0, 3)):
        gain *= 1 - np.float32(rng.uniform(0.2, 0.45)) * _shadow(rng, size)
    gain = np.maximum(gain, 0.5)  # where shadows meet, objects stay visible
    lit = image * gain[..., None] * (rng.uniform(0.94, 1.06, 3) / 255).astype(np.float32)
    lit = 255 * cv2.pow(lit.clip(0, 1), rng.uniform(0.75, 1.3))
    return lit + np.float32(rng.uniform(2, 8)) * rng.standard_normal(image.shape, np.float32)


def _tones(pattern: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Return the difference to the mean tone, float32 [size, size, 3], of a pattern between 0 and 1."""
    return (pattern - 0.5).astype(np.float32)[..., None] * contrast.astype(np.float32)


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Return smooth noise with as many cells a side, 0 to 1, float32 [size, size]."""
    cells = rng.random((cells, cells), np.float32)
    return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _shadow(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return how much of the light an ellipse takes away, soft at its border, 0 to 1, float32 [size, size]."""
    coarse = np.zeros((32, 32), np.float32)
    centre, axes = rng.integers(0, 32, 2).tolist(), rng.integers(4, 16, 2).tolist()
    cv2.ellipse(coarse, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    return cv2.resize(cv2.blur(coarse, (3, 3)), (size, size), interpolation=cv2.INTER_LINEAR)


# Each returns the ratio of the second tone, 0 to 1, for rotated coordinates u and v in pixels, float32 [size, size].
def _clouds(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return sum(_noise(rng, len(u), 4 * 2**octave) / 2**octave for octave in range(5)) / (2 - 2**-4)


def _grain(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _noise(rng, len(u), int(rng.integers(len(u) // 6, len(u) // 2)))


def _waves(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(2 * np.pi * u / rng.uniform(8, 40) + rng.uniform(0, 8) * _noise(rng, len(u), 5))


def _checks(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    period = rng.uniform(10, 40)
    return ((u // period + v // period) % 2).astype(np.float32)


def _bricks(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    height = rng.uniform(10, 28)
    row = v // height
    mortar = (v / height % 1 < 0.15) | ((u / height / 2 + row / 2) % 1 < 0.08)
    return np.where(mortar, np.float32(1), 0.4 * _noise(rng, len(u), 24))


PATTERNS = (_clouds, _grain, _waves, _checks, _bricks)
