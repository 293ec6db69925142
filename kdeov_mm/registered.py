"""All modules with registered classes; MMEngine imports this one when MMYOLO's registries are first asked."""

from . import datasets, engine, models  # noqa: F401
from .evaluation import *  # noqa: F403  each name imports its module
