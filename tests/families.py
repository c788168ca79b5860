"""Tiny models of each family in folders that transformers writes, with a tokenizer of the family's kind."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from minbert.config import ACTIVATIONS, BertConfig

FAMILY_NAMES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra")
WORDPIECE = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
SENTENCE = {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}


def family_config(model_type: str, seed: int, **changes):
    """transformers' configuration of a tiny model without dropout, with odd sizes."""
    import transformers

    draw = random.Random(f"{model_type} {seed}")
    heads = draw.randint(1, 5)
    size = heads * draw.choice([2, 3, 4, 6])
    values = {
        "vocab_size": draw.randint(12, 80),
        "hidden_size": size,
        "num_hidden_layers": draw.randint(1, 3),
        "num_attention_heads": heads,
        "intermediate_size": draw.randint(1, 40),
        "max_position_embeddings": 40,
        "type_vocab_size": draw.randint(1, 3),
        "layer_norm_eps": draw.choice([1e-12, 1e-5, 1e-3]),
        "hidden_act": draw.choice(list(ACTIVATIONS)),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": draw.randint(0, 4),
        "embedding_size": draw.choice([size, 7]),
    } | changes
    family = BertConfig.from_dict({"model_type": model_type}).family
    values = {family.keys.get(name, name): v for name, v in values.items() if name not in family.absent}
    return transformers.AutoConfig.for_model(model_type, **values)


def random_model(model_type: str, seed: int, randomize, **changes):
    """transformers' base model of the family, filled at random, in evaluation mode."""
    import transformers

    config = family_config(model_type, seed, **changes)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    randomize(model, seed)
    return model


def random_inputs(config: BertConfig, seed: int, longest: int = 17) -> dict[str, torch.Tensor]:
    """Five sequences, two of them padded on the left; padding ids within the texts, others under the mask."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, config.vocab_size, (5, longest), generator=generator)
    mask = torch.ones(5, longest, dtype=torch.long)
    mask[1, 9:] = mask[2, :6] = mask[3, :1] = mask[4, 1:] = 0
    pad = config.pad_token_id
    ids[0, 3] = ids[1, 1] = ids[2, 9] = pad
    if seed % 2:
        ids[mask == 0] = pad
    inputs = {"input_ids": ids, "attention_mask": mask}
    if config.type_vocab_size:
        inputs["token_type_ids"] = torch.randint(0, config.type_vocab_size, ids.shape, generator=generator)
    return inputs


def family_tokenizer(model_type: str, words: list[str]) -> Tokenizer:
    """WordPiece for BERT, DistilBERT and ELECTRA, byte-level BPE for RoBERTa, Unigram for the others."""
    marks = WORDPIECE if model_type in ("bert", "distilbert", "electra") else SENTENCE
    special = [marks[name] for name in ("cls", "pad", "sep", "unk", "mask")]  # RoBERTa's order
    if marks is WORDPIECE:
        pieces = {piece: number for number, piece in enumerate([*special, *words])}
        backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer()
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif model_type == "roberta":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator(words, trainer)
    else:
        backend = Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=100, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        backend.train_from_iterator(words, trainer)
    cls, sep = marks["cls"], marks["sep"]
    two = f"{cls} $A {sep} $B:1 {sep}:1" if marks is WORDPIECE else f"{cls} $A {sep} {sep} $B {sep}"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=two,
        special_tokens=[(mark, backend.token_to_id(mark)) for mark in (cls, sep)],
    )
    return backend


def write_family(model_type: str, folder: Path, words: list[str], randomize, **changes):
    """Writes a folder with weights, configuration and tokenizer by transformers -> its base model."""
    import transformers

    backend = family_tokenizer(model_type, words)
    marks = WORDPIECE if model_type in ("bert", "distilbert", "electra") else SENTENCE
    sizes = {
        "hidden_size": 24,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "max_position_embeddings": 66,
        "type_vocab_size": 2 if marks is WORDPIECE else 1,
        "embedding_size": 16,
    }
    pad = backend.token_to_id(marks["pad"])
    changes = sizes | {"vocab_size": backend.get_vocab_size(), "pad_token_id": pad} | changes
    model = random_model(model_type, 0, randomize, **changes)
    model.save_pretrained(folder)
    inputs = ["input_ids", "attention_mask"]
    if model_type in ("bert", "electra"):
        inputs.insert(1, "token_type_ids")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=inputs,
        **{f"{name}_token": mark for name, mark in marks.items()},
    )
    tokenizer.save_pretrained(folder)
    return model
