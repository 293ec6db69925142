"""Which priors learn which object, names apart."""

from mmyolo.models.task_modules.assigners import BatchTaskAlignedAssigner
from mmyolo.registry import TASK_UTILS


@TASK_UTILS.register_module()
class ClassAgnosticTaskAlignedAssigner(BatchTaskAlignedAssigner):
    """MMYOLO's task-aligned assigner for one class, "object"; it remembers which instance each prior was given."""

    def __init__(self, **kwargs) -> None:
        super().__init__(num_classes=1, **kwargs)

    def forward(self, *args, **kwargs) -> dict:
        self.gt_indices = None
        result = super().forward(*args, **kwargs)
        self.foreground = result['fg_mask_pre_prior'].bool()
        self.scores = result['assigned_scores'][..., 0]
        return result

    def get_targets(self, gt_labels, gt_bboxes, assigned_gt_idxs, *args) -> tuple:
        self.gt_indices = assigned_gt_idxs
        return super().get_targets(gt_labels, gt_bboxes, assigned_gt_idxs, *args)
