"""The image encoder that fills an index."""

import hashlib
from pathlib import Path
from typing import List, Optional, Union

import numpy as np
from PIL import Image

from kdeov_mm.deploy.onnx_file import read_onnx
from kdeov_mm.deploy.runtime import Runtime
from .store import Model


class ImageEncoder:
    """An exported image encoder, with what an index needs to know of it.

    Args:
        path: ONNX file of kind ``image_encoder``.
        threads: Threads of the model; default: ONNX Runtime's choice.
        min_size: JPEG files may be decoded at 1/2, 1/4 or 1/8 as long as the shorter side keeps so many pixels; 0:
            always in full; default: the longer side of the model's input.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See ``kdeov_mm.deploy.Runtime``; or ``min_size`` is negative.
    """

    def __init__(self, path: str, threads: Optional[int] = None, min_size: Optional[int] = None) -> None:
        if min_size is not None and min_size < 0:
            raise ValueError(f'decode size: a number of pixels, or 0 to decode in full, got {min_size}')
        self.path, self.runtime = str(Path(path).resolve()), Runtime(path, threads=threads)
        self.session = self.runtime.need('image_encoder')
        self.min_size = max(self.runtime.input_size) if min_size is None else min_size

    def describe(self) -> Model:
        """Return what the index is to remember.

        Raises:
            InputError: If the file keeps tensors in other files, which its SHA-256 would not cover.
        """
        return Model(
            self.path,
            hashlib.sha256(read_onnx(self.path)).hexdigest(),
            self.runtime.embed_dims,
            self.runtime.metadata['image_encoder'].get('text_space'),
        )

    def prepare(self, image: Union[np.ndarray, Image.Image]) -> np.ndarray:
        """The model's input ``[3, H, W]`` of an image, uint8 RGB ``[H, W, 3]`` or Pillow's in RGB; for threads that
        decode."""
        return self.runtime.preprocess(image)

    def encode(self, ready: List[np.ndarray]) -> np.ndarray:
        """Embed what :meth:`prepare` gave; float32, L2-normalised, ``[N, D]``."""
        return self.runtime.run('image_encoder', {'images': np.stack(ready)})[0]
