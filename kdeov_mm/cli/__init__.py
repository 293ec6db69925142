"""The commands of ``kdeov``: one module a command, which checks its arguments before it imports anything heavy."""

from .command_line import main, run_script

__all__ = ['main', 'run_script']
