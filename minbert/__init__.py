"""minBERT: a BERT written by hand that loads pretrained weights. The public surface, loaded on first use."""

from minbert.first_use import names_on_first_use

_HOME = {
    "AdamW": "optim",
    "Batch": "batch",
    "BertConfig": "config",
    "BertModel": "model",
    "BertOutput": "model",
    "CommandParser": "command_line",
    "FIRST_TOKEN_POOLINGS": "pooling",
    "InputError": "errors",
    "LoRAConfig": "lora_config",
    "Pooler": "pooling",
    "Prefix": "batch",
    "Projection": "pooling",
    "SentenceEncoder": "sentence",
    "TokenSequence": "tokenizer",
    "Tokenizer": "tokenizer",
    "adapted_modules": "adapters",
    "add_lora": "lora",
    "atomic_folder": "files",
    "atomic_write": "files",
    "cut_by_tokens": "batch",
    "did_you_mean": "errors",
    "find_folder": "hub",
    "git_blob_id": "files",
    "load_lora": "lora",
    "make_folder": "files",
    "merge_lora": "lora",
    "base_hash": "lora",
    "remove_lora": "lora",
    "adapter_names": "lora",
    "nearest": "neighbours",
    "normalize": "pooling",
    "pool": "pooling",
    "read_tensors": "weights",
    "restore_folder": "files",
    "run_command": "command_line",
    "save_lora": "lora",
    "say": "command_line",
    "schedule_factor": "schedule",
    "sorted_batches": "batch",
    "to_device": "transfer",
    "use_adapter": "adapters",
    "read_modules": "sentence_folder",
    "write_modules": "sentence_folder",
    "write_tensors": "weights",
}
__all__ = list(_HOME)
__version__ = "0.1.0"


__getattr__ = names_on_first_use(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
