# OV-LVIS without CLIP weights: precomputed class embeddings of LVIS's 1,203 classes, no image teacher, no distillation.
_base_ = './kdeov_yolov8n_ov-lvis.py'

# The file has no embeddings of a lexicon and of general names.
test_dataloader = _base_.test_dataloader[:2]
test_evaluator = _base_.test_evaluator[:2]

model = dict(
    lexicon=None,
    text_encoder=dict(
        _delete_=True,
        type='PrecomputedTextEncoder',
        embeddings='data/clip_text/lvis_clip_hand_craft.npy',
        names='data/clip_text/lvis_v1_categories.json',  # one record for each row
    ),
    loss_image=None,
    bbox_head=dict(loss_region=None, loss_similarity=None),
)
custom_hooks = [dict(type='VocabularyHook')]
