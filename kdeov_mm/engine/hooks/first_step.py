"""Whether a run has begun."""

from mmengine.hooks import Hook


class FirstStep(Hook):
    """Knows whether training or testing has begun: before, an error is most likely one of the input.

    ``kdeov_mm.utils.user_errors`` takes it as ``until``.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.reached = False

    def before_train_iter(self, *args, **kwargs) -> None:
        """Remember that the first step was reached."""
        self.reached = True

    before_test_iter = before_train_iter
