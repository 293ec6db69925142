# The demo: YOLOv8n distilled from the shapes dataset's teacher, for all three tasks.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/shapes.py',
    '_base_/kdeov_yolov8n_model.py',
    '_base_/clip_kdeov-shapes.py',
    '_base_/adamw.py',
]

max_epochs = 14
batch_size = 32

model = dict(**_base_.clip_space, **_base_.scoring)

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=_base_.train_dataset,
)
test_loader = dict(batch_size=32, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = [
    dict(dataset=_base_.test_dataset, **test_loader),
    dict(dataset=_base_.single_dataset, **test_loader),
    dict(dataset=_base_.general_dataset, **test_loader),
]
test_ann_file = _base_.data_root + 'annotations/instances_test.json'
test_evaluator = [
    [
        dict(type='OVCocoMetric', ann_file=test_ann_file),
        dict(type='AloneMetric', ann_file=test_ann_file),
        dict(type='RetrievalMetric'),
    ],
    dict(type='ZeroShotMetric'),
    dict(type='AloneMetric', prefix='general', general=True, ann_file=test_ann_file),
]

custom_hooks = [dict(type='VocabularyHook'), dict(type='CLIPDistillationHook')]
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
test_cfg = dict(type='MultiTestLoop')
