"""A hook that records whether a run has begun."""

from mmengine.hooks import Hook


class FirstStepHook(Hook):
    """Records that the first training or test step was reached.

    Earlier errors are reported as user errors in one line: ``kdeov_mm.utils.user_errors`` takes the hook as ``until``.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.reached = False

    def before_train_iter(self, *args, **kwargs) -> None:
        """Record that the first step was reached."""
        self.reached = True

    before_test_iter = before_train_iter
