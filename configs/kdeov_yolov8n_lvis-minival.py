# Zero-shot transfer to LVIS: weights of any of the configs with CLIP ViT-B/32 are tested, not trained, on the
# part of LVIS's validation images that lie in val2017 (minival, Kamath et al. 2021, "MDETR"), against all 1,203 names.
_base_ = './kdeov_yolov8n_ov-lvis_text-only.py'

ann_file = 'annotations/lvis_v1_minival_inserted_image_name.json'
val_dataloader = dict(dataset=dict(ann_file=ann_file))
test_dataloader = [dict(loader, dataset=dict(loader.dataset, ann_file=ann_file)) for loader in _base_.test_dataloader]
val_evaluator = dict(ann_file=_base_.data_root + ann_file)
test_evaluator = [dict(metric, ann_file=_base_.data_root + ann_file) for metric in _base_.test_evaluator]
