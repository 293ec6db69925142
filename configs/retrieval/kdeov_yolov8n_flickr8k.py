# Retrieval on Flickr8k: see docs/retrieval.md.
_base_ = ['../_base_/retrieval_kdeov.py', '../_base_/retrieval_flickr8k.py']

data_root = _base_.retrieval_dataset.data_root
test_dataloader = dict(dataset=dict(_delete_=True, pipeline=_base_.retrieval_pipeline, **_base_.retrieval_dataset))
test_evaluator = _base_.retrieval_metrics
