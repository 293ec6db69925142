# Vanilla YOLOv8n on OV-COCO's 48 base classes, trained as configs/kdeov_yolov8n_ov-coco.py; no teacher, no texts. It
# has no output for the 17 novel classes, so base classes alone compete and count.
_base_ = ['../kdeov_yolov8n_ov-coco.py', '../_base_/yolov8n.py']

num_classes = 48
vanilla_head = _base_.vanilla.bbox_head
model = dict(
    _base_.vanilla,
    _delete_=True,
    bbox_head=dict(vanilla_head, head_module=dict(vanilla_head.head_module, num_classes=num_classes)),
    train_cfg=dict(assigner=dict(_base_.vanilla.train_cfg.assigner, num_classes=num_classes)),
)

custom_hooks = []
find_unused_parameters = False
val_dataloader = dict(dataset=dict(groups=('base',)))
test_dataloader = dict(_delete_=True, dataset=dict(_base_.val_dataset, groups=('base',)), **_base_.test_loader)
test_evaluator = dict(_delete_=True, **_base_.val_metric)
