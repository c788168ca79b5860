"""Stands in for the CS224N starter's file of this name: a configuration with bert-base-uncased's sizes."""


class PretrainedConfig:
    """A configuration: every keyword is an attribute."""

    def __init__(self, **settings):
        self.name_or_path = ""
        self.__dict__.update(settings)


class BertConfig(PretrainedConfig):
    """The sizes and rates of a BERT; what is not given is bert-base-uncased's."""

    model_type = "bert"

    def __init__(self, **settings):
        defaults = {
            "vocab_size": 30522,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        }
        super().__init__(**(defaults | settings))
