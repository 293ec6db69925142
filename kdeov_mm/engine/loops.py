"""A test loop over several data sets."""

from collections.abc import Sequence

from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from mmyolo.registry import LOOPS
from torch.utils.data import DataLoader


@LOOPS.register_module()
class MultiTestLoop(TestLoop):
    """Tests several data sets with one model, one after the other, and merges their metrics into one flat dict.

    The loop calls all hooks for each part. Meanwhile ``dataloader`` and ``evaluator`` are those of the part. With one
    dict or object instead of the lists it is a plain TestLoop.

    Args:
        runner: The runner.
        dataloader: Dataloaders or their configs.
        evaluator: As many evaluators or their configs; a list inside the list holds several metrics of
            one data set.
        fp16: Whether to test in half precision.

    Raises:
        ValueError: If the lists' lengths differ, or two parts give a metric of the same name when run.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict | Sequence,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
    ) -> None:
        if not isinstance(dataloader, (list, tuple)):
            dataloader, evaluator = [dataloader], [evaluator]
        num_evaluators = len(evaluator) if isinstance(evaluator, (list, tuple)) else 1
        if not dataloader or num_evaluators != len(dataloader):
            raise ValueError(
                f'MultiTestLoop: test_dataloader has {len(dataloader)} entries and test_evaluator '
                f'{num_evaluators}; give one evaluator (a dict, or a list of metrics) for each dataloader'
            )
        self.parts = []
        for one_dataloader, one_evaluator in zip(dataloader, evaluator):
            super().__init__(runner, one_dataloader, one_evaluator, fp16)
            self.parts.append((self.dataloader, self.evaluator))
        self.select(0)

    def select(self, index: int) -> None:
        """Make one part the current one."""
        self.dataloader, self.evaluator = self.parts[index]
        self.runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)

    def run(self) -> dict[str, float]:
        """Test all parts and return their metrics."""
        metrics: dict[str, float] = {}
        for index in range(len(self.parts)):
            self.select(index)
            part = self.run_part()
            repeated = sorted(metrics.keys() & part.keys())
            if repeated:
                raise ValueError(
                    f'MultiTestLoop: test_evaluator[{index}] gives {repeated[:3]}, which an earlier one gives '
                    'too; set prefix in one of them'
                )
            metrics.update(part)
        return metrics

    def run_part(self) -> dict[str, float]:
        """Test the current part."""
        return super().run()
