"""The image encoder that fills an index."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from kdeov_mm.deploy.onnx_file import read_onnx
from kdeov_mm.deploy.runtime import Runtime
from .store import Model


class IndexEncoder:
    """Embeds images for an index with an exported image encoder.

    Args:
        path: ONNX file of kind ``image_encoder``.
        threads: Threads of the model; default: ONNX Runtime's choice.
        min_size: Minimum shorter side in pixels to which JPEG files may be reduced while decoding (by 1/2, 1/4 or 1/8).
            0: full size; default: the longer side of the model's input.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If ``kdeov_mm.deploy.Runtime`` refuses the file, or ``min_size`` is negative.
    """

    def __init__(self, path: str, threads: int | None = None, min_size: int | None = None) -> None:
        if min_size is not None and min_size < 0:
            raise ValueError(f'min_size: must be a number of pixels, or 0 to decode in full, got {min_size}')
        self.path, self.runtime = str(Path(path).resolve()), Runtime(path, threads=threads)
        self.session = self.runtime.need('image_encoder')
        self.min_size = max(self.runtime.input_size) if min_size is None else min_size

    def describe(self) -> Model:
        """Return the model description that the index stores.

        Raises:
            InputError: If the file keeps tensors in other files, which its SHA-256 would not cover.
        """
        return Model(
            self.path,
            hashlib.sha256(read_onnx(self.path)).hexdigest(),
            self.runtime.embed_dims,
            self.runtime.metadata['image_encoder'].get('text_space'),
        )

    def prepare(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """Convert an image, uint8 RGB ``[H, W, 3]`` or Pillow's in RGB, to the model's input ``[3, H, W]``.

        The threads that decode images call this.
        """
        return self.runtime.preprocess(image)

    def encode(self, ready: list[np.ndarray]) -> np.ndarray:
        """Embed outputs of :meth:`prepare`; float32, L2-normalised, ``[N, D]``."""
        return self.runtime.run('image_encoder', {'images': np.stack(ready)})[0]
