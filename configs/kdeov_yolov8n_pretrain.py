# Stage 1: the image embedding alone, from the teacher; no head, no text conditioning. Stage 2 starts from it with
# tools/train.py configs/kdeov_yolov8n.py --cfg-options load_from=work_dirs/kdeov_yolov8n_pretrain/epoch_14.pth
_base_ = './kdeov_yolov8n.py'

model = dict(bbox_head=None, text_dropout=1.0)

# A probe after every epoch: one image of each concept. It is watched, nothing is chosen by it.
val_dataloader = dict(dataset=dict(indices=480, **_base_.single_dataset), **_base_.test_loader)
val_evaluator = dict(type='ZeroShotMetric', topk=(1,))
val_cfg = dict(type='ValLoop')
test_dataloader = _base_.test_dataloader[:2]  # scenes and single objects
test_evaluator = [
    dict(type='RetrievalMetric'),
    dict(type='ZeroShotMetric'),
]
