# Image-text retrieval on COCO captions, the test split of Karpathy and Fei-Fei 2015: "5k", all images as one gallery,
# and "1k", the mean of five folds of 1,000 images. dataset_coco.json and val2014/, the images, lie in data_root.
retrieval_dataset = dict(
    type='ImageTextDataset',
    format='karpathy',
    data_root='data/coco/',
    ann_file='dataset_coco.json',
    split='test',
    data_prefix=dict(img=''),
    test_mode=True,
)
retrieval_metrics = [
    dict(type='RetrievalMetric'),
    dict(type='RetrievalMetric', prefix='retrieval_1k', fold_size=1000),
]
