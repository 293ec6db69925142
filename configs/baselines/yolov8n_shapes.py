# Vanilla YOLOv8n on the demo's data: same images, base labels, steps and optimizer; no teacher, no texts. It has an
# output for each base class and none for others, so base classes alone compete and count.
_base_ = ['../kdeov_yolov8n.py', '../_base_/yolov8n.py']

num_classes = 288  # of the base group
vanilla_head = _base_.vanilla.bbox_head
model = dict(
    _base_.vanilla,
    _delete_=True,
    bbox_head=dict(vanilla_head, head_module=dict(vanilla_head.head_module, num_classes=num_classes)),
    train_cfg=dict(assigner=dict(_base_.vanilla.train_cfg.assigner, num_classes=num_classes)),
)

custom_hooks = []
find_unused_parameters = False
test_dataloader = dict(_delete_=True, dataset=dict(_base_.test_dataset, groups=('base',)), **_base_.test_loader)
test_evaluator = dict(_delete_=True, type='OVCocoMetric', ann_file=_base_.data_root + 'annotations/instances_test.json')
