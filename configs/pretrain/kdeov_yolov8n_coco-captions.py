# Stage 1 on photographs with a real CLIP, see docs/pretrain.md. Another CLIP is another file _base_/clip_*.py.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/coco_captions.py',
    '../_base_/kdeov_yolov8n_model.py',
    '../_base_/clip_vit-b-32.py',
    '../_base_/adamw.py',
]

max_epochs = 32

model = dict(
    **_base_.clip_space,
    bbox_head=None,
    text_dropout=1.0,
    loss_image=dict(losses=dict(similarity=None)),
)  # captions have no list of class names

train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=_base_.train_dataset,
)
val_dataloader = dict(
    batch_size=128, num_workers=4, sampler=dict(type='DefaultSampler', shuffle=False), dataset=_base_.val_dataset
)
test_dataloader = val_dataloader
val_evaluator = dict(type='RetrievalMetric')
test_evaluator = val_evaluator

custom_hooks = [dict(type='CLIPDistillationHook', caption_choice='random', regions=False)]
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(type='ResumableTrainLoop', max_epochs=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1000))
