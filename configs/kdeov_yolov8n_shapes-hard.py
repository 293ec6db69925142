# The demo's model on scenes that are not solved: 5 to 15 objects from 8 pixels up that hide each other, on textures and
# in uneven light (docs/shapes_world.md). As many steps as the demo, with images four times as large.
_base_ = './kdeov_yolov8n.py'

data_root = 'data/shapes-hard/'
image_size = 256
shapes_world = dict(
    root=data_root, image_size=image_size, style='hard', sizes=dict(train=4000, val=200, test=400, test_single=960)
)
max_epochs = 7
batch_size = 16

model = dict(bbox_head=dict(proposals=6))

resize = dict(type='mmdet.Resize', scale=(image_size, image_size))
train_pipeline = [*_base_.train_pipeline[:2], resize, *_base_.train_pipeline[3:]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
test_data = dict(data_root=data_root, pipeline=test_pipeline)

train_dataloader = dict(batch_size=batch_size, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataset = test_data
test_dataloader = [
    dict(dataset=dict(dataset, **test_data), **_base_.test_loader)
    for dataset in (_base_.test_dataset, _base_.single_dataset, _base_.general_dataset)
]
ann_file = data_root + 'annotations/instances_test.json'
test_evaluator = [
    [
        dict(type='OVCocoMetric', ann_file=ann_file),
        dict(type='AloneMetric', ann_file=ann_file),
        dict(type='RetrievalMetric'),
    ],
    dict(type='ZeroShotMetric'),
    dict(type='AloneMetric', prefix='general', general=True, ann_file=ann_file),
]

param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_epochs)]
train_cfg = dict(max_epochs=max_epochs)
