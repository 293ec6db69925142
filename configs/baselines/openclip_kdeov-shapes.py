# The demo's teacher on the demo's benchmarks of images: retrieval and zero-shot classification.
_base_ = '../kdeov_yolov8n.py'

model = dict(
    _delete_=True,
    type='TeacherModel',
    **_base_.clip_space,
    **_base_.scoring,
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True
    ),
)

pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='OpenCLIPResize', **_base_.clip),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys),
]
test_dataloader = [
    dict(dataset=dict(dataset, pipeline=pipeline), **_base_.test_loader)
    for dataset in (_base_.test_dataset, _base_.single_dataset, _base_.test_dataset, _base_.general_dataset)
]
test_evaluator = [  # the first two read image embeddings alone, which are cached
    dict(type='RetrievalMetric'),
    dict(type='ZeroShotMetric'),
    _base_.test_evaluator[0][1],
    _base_.test_evaluator[2],
]
test_cfg = dict(type='CachedTestLoop')
custom_hooks = [dict(type='VocabularyHook')]
