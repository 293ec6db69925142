# OV-LVIS (Gu et al. 2022, "Open-vocabulary object detection via vision and language knowledge distillation", ViLD):
# 866 frequent and common classes, whose boxes are learnt, and 337 rare ones, which are only tested.
_base_ = './kdeov_yolov8n_ov-coco.py'

# COCO's images; LVIS's file says which lie in train2017/ and which in val2017/.
lvis = dict(type='OVLVISDataset', vocabulary='ov_lvis', data_prefix=dict(img=''))
train_dataset = dict(ann_file='annotations/lvis_v1_train.json', **lvis)
ann_file = 'annotations/lvis_v1_val.json'
alone_dataset = dict(_base_.alone_dataset, ann_file=ann_file, **lvis)  # each of 1,203 class names is asked alone
val_dataset = dict(alone_dataset, metainfo=dict(closed=True))  # all of them compete in every image
general_dataset = dict(alone_dataset, groups=None, general=True)  # "animal", "furniture", ...
val_metric = dict(type='OVLVISMetric', ann_file=_base_.data_root + ann_file, chance=False)
alone_metric = dict(type='AloneMetric', ann_file=_base_.data_root + ann_file, chance=False)
general_metric = dict(alone_metric, prefix='general', general=True)

model = dict(test_cfg=dict(max_per_img=300))  # what the standard protocol counts
train_dataloader = dict(dataset=train_dataset)
val_dataloader = dict(dataset=val_dataset)
test_dataloader = [
    dict(dataset=dataset, **_base_.test_loader) for dataset in (val_dataset, alone_dataset, general_dataset)
]
val_evaluator = dict(protocols=['standard'], **val_metric)
test_evaluator = [val_metric, alone_metric, general_metric]
