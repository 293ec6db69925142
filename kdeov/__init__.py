"""The command line of kdeov_mm: ``kdeov``, or ``python -m kdeov``. Nothing heavy is imported before it is needed."""
