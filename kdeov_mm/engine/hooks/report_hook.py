"""The hook that writes a report at the end of a test run."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from kdeov_mm.evaluation.report import print_table, write_report


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes ``report/`` with ``metrics.json``, ``report.md`` and pictures after testing, and prints the final table.

    One report has the metrics of all data sets that the test loop runs. A metric with a method
    ``draw(out_dir) -> list of paths`` adds its own pictures and files.
    """

    priority = 'VERY_LOW'

    def before_run(self, runner) -> None:
        """Start an empty report."""
        self.metrics: dict[str, float] = {}
        self.drawers = []

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Collect one data set's metrics."""
        self.metrics.update(metrics or {})
        self.drawers += [metric for metric in runner.test_loop.evaluator.metrics if hasattr(metric, 'draw')]

    def after_run(self, runner) -> None:
        """Write and print the report of a test run; nothing after training."""
        if not self.metrics or not is_main_process():
            return
        out_dir = Path(runner.work_dir) / 'report'
        name = Path(runner.work_dir).name
        report = write_report(self.metrics, out_dir, name, self.drawers)
        print_table(self.metrics, name)
        runner.logger.info(f'Report: {report}')
