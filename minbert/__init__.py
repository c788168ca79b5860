"""minBERT: a BERT written by hand that loads pretrained weights. The public names, loaded on first use."""

from typing import TYPE_CHECKING

from minbert.first_use import attach_names

if TYPE_CHECKING:
    from minbert.adapters.lora import adapter_names as adapter_names
    from minbert.adapters.lora import add_lora as add_lora
    from minbert.adapters.lora import base_hash as base_hash
    from minbert.adapters.lora import load_lora as load_lora
    from minbert.adapters.lora import merge_lora as merge_lora
    from minbert.adapters.lora import remove_lora as remove_lora
    from minbert.adapters.lora import save_lora as save_lora
    from minbert.adapters.lora_config import LoRAConfig as LoRAConfig
    from minbert.adapters.registry import adapted_modules as adapted_modules
    from minbert.adapters.registry import use_adapter as use_adapter
    from minbert.batch import Batch as Batch
    from minbert.batch import Prefix as Prefix
    from minbert.batch import cut_by_tokens as cut_by_tokens
    from minbert.batch import sorted_batches as sorted_batches
    from minbert.cli.check import add_limit_options as add_limit_options
    from minbert.cli.check import run_checks as run_checks
    from minbert.cli.command_line import CommandParser as CommandParser
    from minbert.cli.command_line import run_command as run_command
    from minbert.cli.command_line import say as say
    from minbert.config import BertConfig as BertConfig
    from minbert.errors import InputError as InputError
    from minbert.errors import did_you_mean as did_you_mean
    from minbert.files import atomic_folder as atomic_folder
    from minbert.files import atomic_write as atomic_write
    from minbert.files import make_folder as make_folder
    from minbert.files import restore_folder as restore_folder
    from minbert.files import write_json as write_json
    from minbert.hub import find_folder as find_folder
    from minbert.kernels.device import to_device as to_device
    from minbert.model import BertModel as BertModel
    from minbert.model import BertOutput as BertOutput
    from minbert.model import Pooler as Pooler
    from minbert.optim import AdamW as AdamW
    from minbert.optim import schedule_factor as schedule_factor
    from minbert.pooling import FIRST_TOKEN_POOLINGS as FIRST_TOKEN_POOLINGS
    from minbert.pooling import Projection as Projection
    from minbert.pooling import normalize as normalize
    from minbert.pooling import pool as pool
    from minbert.search import nearest as nearest
    from minbert.sentence import SentenceEncoder as SentenceEncoder
    from minbert.tokenizer import Tokenizer as Tokenizer
    from minbert.tokenizer import TokenSequence as TokenSequence
    from minbert.weights.load import read_tensors as read_tensors
    from minbert.weights.load import write_tensors as write_tensors
    from minbert.weights.sentence_transformers import read_modules as read_modules
    from minbert.weights.sentence_transformers import write_modules as write_modules

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach_names(
    __name__,
    {
        "cli.check": ("add_limit_options", "run_checks"),
        "first_use": ("attach_names",),
        "adapters.lora": (
            "adapter_names",
            "add_lora",
            "base_hash",
            "load_lora",
            "merge_lora",
            "remove_lora",
            "save_lora",
        ),
        "adapters.lora_config": ("LoRAConfig",),
        "adapters.registry": (
            "adapted_modules",
            "use_adapter",
        ),
        "batch": (
            "Batch",
            "Prefix",
            "cut_by_tokens",
            "sorted_batches",
        ),
        "cli.command_line": (
            "CommandParser",
            "run_command",
            "say",
        ),
        "config": ("BertConfig",),
        "errors": (
            "InputError",
            "did_you_mean",
        ),
        "files": (
            "atomic_folder",
            "atomic_write",
            "make_folder",
            "restore_folder",
            "write_json",
        ),
        "hub": ("find_folder",),
        "kernels.device": ("to_device",),
        "model": ("BertModel", "BertOutput", "Pooler"),
        "optim": (
            "AdamW",
            "schedule_factor",
        ),
        "pooling": (
            "FIRST_TOKEN_POOLINGS",
            "Projection",
            "normalize",
            "pool",
        ),
        "search": ("nearest",),
        "sentence": ("SentenceEncoder",),
        "tokenizer": (
            "TokenSequence",
            "Tokenizer",
        ),
        "weights.load": (
            "read_tensors",
            "write_tensors",
        ),
        "weights.sentence_transformers": (
            "read_modules",
            "write_modules",
        ),
    },
)
