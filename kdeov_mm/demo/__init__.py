"""A web demo of exported models for detection, search and classification, started by ``kdeov demo``.

The page and its server are in ``kdeov_mm.demo.app``, which needs Gradio; the teacher is in ``kdeov_mm.demo.teacher``.
"""

from .service import Demo
from .uploads import Limits

__all__ = ['Demo', 'Limits']
