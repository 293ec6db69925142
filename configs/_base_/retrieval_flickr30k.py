# Image-text retrieval on Flickr30k: the 1,000 test images of Karpathy and Fei-Fei 2015, five captions each.
retrieval_dataset = dict(
    type='ImageTextDataset',
    format='karpathy',
    data_root='data/flickr30k/',
    ann_file='dataset_flickr30k.json',
    split='test',
    data_prefix=dict(img='flickr30k-images/'),
    test_mode=True,
)
retrieval_metrics = [dict(type='RetrievalMetric')]
