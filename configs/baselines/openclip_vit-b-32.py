# The full CLIP on the data sets of zero-shot classification. It brings its weights: no checkpoint is given. For another
# model, copy this file and take another _base_/clip_*.py.
_base_ = ['../_base_/default_runtime.py', '../_base_/clip_vit-b-32.py', '../_base_/zero_shot.py']

data_root = _base_.zero_shot_root
model = dict(
    type='TeacherModel',
    **_base_.clip_space,
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True
    ),
)

pipeline = [dict(type='OpenCLIPResize', **_base_.clip), _base_.zero_shot_pack]
test_dataloader = [
    dict(dataset=dict(pipeline=pipeline, **dataset), **_base_.zero_shot_loader)
    for dataset in _base_.zero_shot_datasets.values()
]
test_evaluator = [dict(prefix=name, **_base_.zero_shot_metric) for name in _base_.zero_shot_datasets]
test_cfg = dict(type='CachedTestLoop')
custom_hooks = [dict(type='NetworkTimeHook')]
