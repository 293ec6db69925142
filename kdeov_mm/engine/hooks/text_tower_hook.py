"""Lets metrics embed texts with the model that is tested."""

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.evaluation.base import EmbeddingMetric
from kdeov_mm.models.dual_encoder import TextTower
from kdeov_mm.utils import unwrap


@HOOKS.register_module()
class TextTowerHook(Hook):
    """Gives a dual encoder's own text tower to the metrics that have no text encoder (``text_encoder=None``).

    Args:
        batch_size: Texts in one forward pass.
    """

    def __init__(self, batch_size: int = 256) -> None:
        self.batch_size = batch_size

    def lend(self, runner, loop) -> None:
        """Give it to the metrics of a loop."""
        tower = TextTower(unwrap(runner.model), self.batch_size)
        for metric in loop.evaluator.metrics:
            if isinstance(metric, EmbeddingMetric) and metric.text_encoder is None:
                metric.text_encoder = tower

    def before_val_epoch(self, runner) -> None:
        self.lend(runner, runner.val_loop)

    def before_test_epoch(self, runner) -> None:
        self.lend(runner, runner.test_loop)
