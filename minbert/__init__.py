"""minBERT: a BERT written by hand that loads pretrained weights. The public names, loaded on first use."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minbert.adapters.attention_adapters import add_attention_adapters as add_attention_adapters
    from minbert.adapters.attention_adapters import attention_adapters as attention_adapters
    from minbert.adapters.attention_adapters import load_attention_adapters as load_attention_adapters
    from minbert.adapters.attention_adapters import read_attention_adapters as read_attention_adapters
    from minbert.adapters.attention_adapters import save_attention_adapters as save_attention_adapters
    from minbert.adapters.config import AttentionAdapterConfig as AttentionAdapterConfig
    from minbert.adapters.config import LoRAConfig as LoRAConfig
    from minbert.adapters.lora import adapter_names as adapter_names
    from minbert.adapters.lora import add_lora as add_lora
    from minbert.adapters.lora import base_hash as base_hash
    from minbert.adapters.lora import load_lora as load_lora
    from minbert.adapters.lora import merge_lora as merge_lora
    from minbert.adapters.lora import remove_lora as remove_lora
    from minbert.adapters.lora import save_lora as save_lora
    from minbert.adapters.registry import adapted_modules as adapted_modules
    from minbert.adapters.registry import use_adapter as use_adapter
    from minbert.batch import Batch as Batch
    from minbert.batch import CachedActivations as CachedActivations
    from minbert.batch import cut_by_tokens as cut_by_tokens
    from minbert.batch import sorted_batches as sorted_batches
    from minbert.cli.check import add_limit_options as add_limit_options
    from minbert.cli.check import run_checks as run_checks
    from minbert.cli.command_line import CommandParser as CommandParser
    from minbert.cli.command_line import run_command as run_command
    from minbert.cli.command_line import say as say
    from minbert.cli.command_line import says_how_to_go_on as says_how_to_go_on
    from minbert.cli.ray_cluster import import_ray as import_ray
    from minbert.cli.ray_cluster import ray_cluster as ray_cluster
    from minbert.cli.shown_text import ShownText as ShownText
    from minbert.cli.shown_text import hide_secrets as hide_secrets
    from minbert.cli.shown_text import markdown_text as markdown_text
    from minbert.cli.shown_text import printable as printable
    from minbert.cli.shown_text import shown_line as shown_line
    from minbert.cli.shown_text import spreadsheet_cell as spreadsheet_cell
    from minbert.config import BertConfig as BertConfig
    from minbert.corpus.search import nearest as nearest
    from minbert.errors import AMOUNT as AMOUNT
    from minbert.errors import ANYTHING as ANYTHING
    from minbert.errors import FRACTION as FRACTION
    from minbert.errors import NUMBER as NUMBER
    from minbert.errors import POSITIVE as POSITIVE
    from minbert.errors import TEXT as TEXT
    from minbert.errors import TRUTH as TRUTH
    from minbert.errors import InputError as InputError
    from minbert.errors import Rule as Rule
    from minbert.errors import by_key as by_key
    from minbert.errors import by_name as by_name
    from minbert.errors import check_value as check_value
    from minbert.errors import did_you_mean as did_you_mean
    from minbert.errors import is_number as is_number
    from minbert.errors import list_of as list_of
    from minbert.errors import optional as optional
    from minbert.errors import or_null as or_null
    from minbert.errors import whole as whole
    from minbert.files import WriteError as WriteError
    from minbert.files import atomic_folder as atomic_folder
    from minbert.files import atomic_write as atomic_write
    from minbert.files import git_blob_id as git_blob_id
    from minbert.files import make_folder as make_folder
    from minbert.files import parse_json as parse_json
    from minbert.files import read_json as read_json
    from minbert.files import read_json_object as read_json_object
    from minbert.files import read_toml as read_toml
    from minbert.files import refuse_pipe as refuse_pipe
    from minbert.files import restore_folder as restore_folder
    from minbert.files import sync_folder as sync_folder
    from minbert.files import write_json as write_json
    from minbert.files import writing as writing
    from minbert.kernels.device import find_device as find_device
    from minbert.kernels.device import to_device as to_device
    from minbert.kernels.registry import activation as activation
    from minbert.model import BertModel as BertModel
    from minbert.model import BertOutput as BertOutput
    from minbert.model import Pooler as Pooler
    from minbert.optim import AdamW as AdamW
    from minbert.optim import schedule_factor as schedule_factor
    from minbert.pooling import FIRST_TOKEN_POOLINGS as FIRST_TOKEN_POOLINGS
    from minbert.pooling import Normalize as Normalize
    from minbert.pooling import Pooling as Pooling
    from minbert.pooling import Projection as Projection
    from minbert.pooling import SentenceModules as SentenceModules
    from minbert.pooling import normalize as normalize
    from minbert.pooling import pool as pool
    from minbert.sentence import SentenceEncoder as SentenceEncoder
    from minbert.tokenizer import Tokenizer as Tokenizer
    from minbert.tokenizer import TokenSequence as TokenSequence
    from minbert.weights.hub import find_folder as find_folder
    from minbert.weights.load import hugging_face_state_dict as hugging_face_state_dict
    from minbert.weights.load import load_hugging_face_state_dict as load_hugging_face_state_dict
    from minbert.weights.load import our_name as our_name
    from minbert.weights.load import read_tensors as read_tensors
    from minbert.weights.load import write_tensors as write_tensors
    from minbert.weights.sentence_transformers import read_sentence_folder as read_sentence_folder
    from minbert.weights.sentence_transformers import write_modules as write_modules

__version__ = "0.1.0"


def attach_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` (PEP 562) of a package.

    `modules` gives the public names of each submodule. Type checkers read the same names from imports under
    `if TYPE_CHECKING:`; a test compares the two.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted(homes), sorted(homes)


__getattr__, __dir__, __all__ = attach_names(
    __name__,
    {
        "cli.check": ("add_limit_options", "run_checks"),
        "adapters.attention_adapters": (
            "add_attention_adapters",
            "attention_adapters",
            "load_attention_adapters",
            "read_attention_adapters",
            "save_attention_adapters",
        ),
        "adapters.lora": (
            "adapter_names",
            "add_lora",
            "base_hash",
            "load_lora",
            "merge_lora",
            "remove_lora",
            "save_lora",
        ),
        "adapters.config": ("AttentionAdapterConfig", "LoRAConfig"),
        "adapters.registry": ("adapted_modules", "use_adapter"),
        "batch": ("Batch", "CachedActivations", "cut_by_tokens", "sorted_batches"),
        "cli.command_line": ("CommandParser", "run_command", "say", "says_how_to_go_on"),
        "cli.ray_cluster": ("import_ray", "ray_cluster"),
        "cli.shown_text": (
            "ShownText",
            "hide_secrets",
            "markdown_text",
            "printable",
            "shown_line",
            "spreadsheet_cell",
        ),
        "config": ("BertConfig",),
        "errors": (
            "AMOUNT",
            "ANYTHING",
            "FRACTION",
            "InputError",
            "NUMBER",
            "POSITIVE",
            "Rule",
            "TEXT",
            "TRUTH",
            "by_key",
            "by_name",
            "check_value",
            "did_you_mean",
            "is_number",
            "list_of",
            "optional",
            "or_null",
            "whole",
        ),
        "files": (
            "WriteError",
            "atomic_folder",
            "atomic_write",
            "git_blob_id",
            "make_folder",
            "parse_json",
            "read_json",
            "read_json_object",
            "read_toml",
            "refuse_pipe",
            "restore_folder",
            "sync_folder",
            "write_json",
            "writing",
        ),
        "weights.hub": ("find_folder",),
        "kernels.device": ("find_device", "to_device"),
        "kernels.registry": ("activation",),
        "model": ("BertModel", "BertOutput", "Pooler"),
        "optim": ("AdamW", "schedule_factor"),
        "pooling": (
            "FIRST_TOKEN_POOLINGS",
            "Normalize",
            "Pooling",
            "Projection",
            "SentenceModules",
            "normalize",
            "pool",
        ),
        "corpus.search": ("nearest",),
        "sentence": ("SentenceEncoder",),
        "tokenizer": ("TokenSequence", "Tokenizer"),
        "weights.load": (
            "hugging_face_state_dict",
            "load_hugging_face_state_dict",
            "our_name",
            "read_tensors",
            "write_tensors",
        ),
        "weights.sentence_transformers": ("read_sentence_folder", "write_modules"),
    },
)
