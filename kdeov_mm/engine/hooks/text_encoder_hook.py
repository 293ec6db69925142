"""The hook that gives metrics the text encoder of the tested model."""

from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.evaluation.base import EmbeddingMetric
from kdeov_mm.utils import unwrap


@HOOKS.register_module()
@HOOKS.register_module(name='TextTowerHook')  # its name before 0.2
class TextEncoderHook(Hook):
    """Gives the model's own text encoder to the metrics whose config has none (``text_encoder=None``)."""

    def before_val_epoch(self, runner) -> None:
        """Give the text encoder to the metrics of the validation."""
        self.give(runner, runner.val_loop)

    def before_test_epoch(self, runner) -> None:
        """Give the text encoder to the metrics of the current test."""
        self.give(runner, runner.test_loop)

    def give(self, runner, loop) -> None:
        """Give the text encoder to those metrics of a loop that have none."""
        needing = [m for m in loop.evaluator.metrics if isinstance(m, EmbeddingMetric) and m.text_encoder is None]
        model = unwrap(runner.model)
        for metric in needing if hasattr(model, 'text_encoder_cfg') else ():
            metric.use_text_encoder(model.text_encoder)
