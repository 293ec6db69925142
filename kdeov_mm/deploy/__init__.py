"""From the trained model to the deployed one."""
from .fold import fold_film

__all__ = ['fold_film']
