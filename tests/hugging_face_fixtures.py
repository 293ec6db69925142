"""Hugging Face models so small that tests can afford them, saved locally: nothing is downloaded."""

import pytest
import torch


@pytest.fixture(scope='session')
def tiny_hugging_face(tmp_path_factory):
    """Makes a folder with a randomly initialised model of a kind and a tokenizer, as if downloaded."""
    transformers = pytest.importorskip('transformers')
    tokenizers = pytest.importorskip('tokenizers')

    def make(kind: str, texts, seed: int = 0) -> str:
        folder = str(tmp_path_factory.mktemp(kind))
        special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]']
        words = sorted({word for text in texts for word in text.lower().replace('.', ' ').split()})
        vocabulary = {word: number for number, word in enumerate([*special, *words])}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token='[UNK]'))
        tokenizer.normalizer = tokenizers.normalizers.Lowercase()
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 2), ('[SEP]', 3)]
        )
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token='[PAD]', unk_token='[UNK]', cls_token='[CLS]', sep_token='[SEP]'
        ).save_pretrained(folder)
        sizes = dict(
            distilbert=dict(dim=32, hidden_dim=64, n_layers=1, n_heads=2),
            bert=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2),
        )[kind]
        config = transformers.AutoConfig.for_model(kind, vocab_size=len(vocabulary), pad_token_id=0, **sizes)
        torch.manual_seed(seed)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        return folder

    return make
