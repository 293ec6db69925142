# OV-COCO without CLIP weights: precomputed class embeddings of COCO's 80 classes, no image teacher, no distillation.
_base_ = './kdeov_yolov8n_ov-coco.py'

# The file has no embeddings of a lexicon and of general names.
test_dataloader = _base_.test_dataloader[:2]
test_evaluator = _base_.test_evaluator[:2]

model = dict(
    lexicon=None,
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
