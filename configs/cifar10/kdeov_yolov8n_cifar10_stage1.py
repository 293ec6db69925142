# YOLOv8n distilled from configs/cifar10/cifar10_teacher.py on the training images, whose labels it never sees.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/cifar10_folder.py',
    '../_base_/kdeov_yolov8n_model.py',
    '../_base_/clip_kdeov-shapes.py',
    '../_base_/adamw.py',
]

max_epochs = 20

model = dict(
    embed_dims=_base_.clip_space.embed_dims,
    text_encoder=dict(
        _base_.clip_space.text_encoder,
        pretrained='work_dirs/cifar10_teacher.safetensors',
        templates='a photo of a {}',
    ),
    bbox_head=None,
    fusion=None,
    loss_image=dict(losses=dict(align=None)),
)

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=_base_.train_dataset,
)
test_dataloader = dict(
    batch_size=100, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=_base_.test_dataset
)
test_evaluator = dict(type='ZeroShotMetric', prefix='cifar10', per_class=True)

custom_hooks = [dict(type='VocabularyHook'), dict(type='CLIPDistillationHook', regions=False)]
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs)
test_cfg = dict(type='TestLoop')
