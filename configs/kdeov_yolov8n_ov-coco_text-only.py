# OV-COCO without CLIP weights: precomputed class embeddings of COCO's 80 classes, no image teacher, no distillation.
_base_ = './kdeov_yolov8n_ov-coco.py'

model = dict(
    text_encoder=dict(
        _delete_=True,
        type='PrecomputedTextEncoder',
        # One row for each category of the annotation file.
        embeddings='data/clip_text/coco_clip_hand_craft.npy',
        names=_base_.data_root + 'annotations/instances_val2017.json',
    ),
    loss_image=None,
    bbox_head=dict(loss_region=None, loss_similarity=None),
)
custom_hooks = [dict(type='VocabularyHook')]
