# The full CLIP on the data sets of zero-shot classification. It brings its weights: no checkpoint is given. For another
# model, copy this file and change clip_model.
_base_ = ['../_base_/default_runtime.py', '../_base_/zero_shot.py']

data_root = _base_.zero_shot_root
clip_model = dict(model_name='ViT-B-32-quickgelu', pretrained='openai')  # a tag or a local file
text_encoder = dict(type='OpenCLIPTextEncoder', **clip_model)
model = dict(
    type='TeacherModel',
    teacher=dict(type='OpenCLIPTeacher', **clip_model),
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True
    ),
)

pipeline = [dict(type='OpenCLIPResize', **clip_model), _base_.zero_shot_pack]
test_dataloader = [
    dict(dataset=dict(pipeline=pipeline, **dataset), **_base_.zero_shot_loader)
    for dataset in _base_.zero_shot_datasets.values()
]
test_evaluator = [
    dict(prefix=name, text_encoder=text_encoder, **_base_.zero_shot_metric) for name in _base_.zero_shot_datasets
]
test_cfg = dict(type='CachedTestLoop')
custom_hooks = [dict(type='NetworkTimeHook')]
