# Stage 1 on web-scale shards (docs/data.md, docs/scaling.md); validated on COCO captions.
_base_ = './kdeov_yolov8n_coco-captions.py'

batch_size = 256  # of one process
max_epochs = 8
train_dataloader = dict(
    batch_size=batch_size,
    sampler=None,
    dataset=dict(
        _delete_=True,
        type='ImageTextShards',
        shards='data/laion/{00000..41407}.tar',
        captions='txt',
        batch_size=batch_size,
        pipeline=_base_.train_pipeline,
    ),
)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=2000),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=max_epochs, convert_to_iter_based=True),
]
