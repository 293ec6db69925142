# The student on CIFAR-10, CIFAR-100 and ImageNet-1k, one after the other.
_base_ = ['../kdeov_yolov8n.py', '../_base_/zero_shot.py']

data_root = _base_.zero_shot_root
shapes_world = None
custom_hooks = [dict(type='NetworkTimeHook')]  # no vocabulary: the head is left out

size = (_base_.image_size, _base_.image_size)
pipeline = [dict(type='mmdet.Resize', scale=size), _base_.zero_shot_pack]
test_dataloader = [
    dict(dataset=dict(pipeline=pipeline, **dataset), **_base_.zero_shot_loader)
    for dataset in _base_.zero_shot_datasets.values()
]
test_evaluator = [dict(prefix=name, **_base_.zero_shot_metric) for name in _base_.zero_shot_datasets]
test_cfg = dict(type='CachedTestLoop')
