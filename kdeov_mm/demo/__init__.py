"""A web demo of exported models: detect, search, classify; kdeov demo starts it.

The page and its server are in ``kdeov_mm.demo.app``, which needs Gradio, the teacher in ``kdeov_mm.demo.teacher``.
"""

from .service import Demo
from .uploads import Limits

__all__ = ['Demo', 'Limits']
