# Image-text retrieval on Flickr8k: the 1,000 test images of its own split (Hodosh et al. 2013), five captions each.
retrieval_dataset = dict(
    type='ImageTextDataset',
    format='flickr8k',
    data_root='data/flickr8k/',
    ann_file='captions.txt',
    split='Flickr_8k.testImages.txt',
    data_prefix=dict(img='Images/'),
    test_mode=True,
)
retrieval_metrics = [dict(type='RetrievalMetric')]
