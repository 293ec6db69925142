"""The commands of ``kdeov``: one module for each, which checks its arguments before heavy imports."""

from .command_line import main, run_script

__all__ = ['main', 'run_script']
