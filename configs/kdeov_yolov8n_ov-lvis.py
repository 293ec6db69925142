# OV-LVIS (Gu et al. 2022, "Open-vocabulary object detection via vision and language knowledge distillation", ViLD):
# 866 frequent and common classes, whose boxes are learnt, and 337 rare ones, which are only tested.
_base_ = './kdeov_yolov8n_ov-coco.py'

# COCO's images; LVIS's file says which lie in train2017/ and which in val2017/.
lvis = dict(type='OVLVISDataset', vocabulary='ov_lvis', data_prefix=dict(img=''))
train_dataset = dict(ann_file='annotations/lvis_v1_train.json', **lvis)
# All 1,203 names compete in every image.
val_dataset = dict(ann_file='annotations/lvis_v1_val.json', **lvis)
val_metric = dict(_delete_=True, type='OVLVISMetric', ann_file=_base_.data_root + val_dataset['ann_file'], chance=False)

model = dict(test_cfg=dict(max_per_img=300))  # what the standard protocol counts
train_dataloader = dict(dataset=train_dataset)
val_dataloader = dict(dataset=val_dataset)
test_dataloader = val_dataloader
val_evaluator = dict(protocols=['standard'], **val_metric)
test_evaluator = val_metric
