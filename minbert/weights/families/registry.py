"""The families by `model_type`, and which of them a folder's config.json and tensor names speak of."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from minbert.errors import InputError
from minbert.weights.families.bert import BERT
from minbert.weights.families.distilbert import DISTILBERT
from minbert.weights.families.electra import ELECTRA
from minbert.weights.families.family import Family
from minbert.weights.families.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA

FAMILIES = {
    family.model_type: family for family in (BERT, ROBERTA, XLM_ROBERTA, CAMEMBERT, DISTILBERT, ELECTRA)
}
# Encoders that compute something else, by model_type: the name, and what their classes begin with.
OTHER_MODELS = {
    "albert": ("ALBERT", "Albert"),
    "big_bird": ("BigBird", "BigBird"),
    "convbert": ("ConvBERT", "ConvBert"),
    "deberta": ("DeBERTa", "Deberta"),
    "deberta-v2": ("DeBERTa-v2", "DebertaV2"),
    "ernie": ("ERNIE", "Ernie"),
    "longformer": ("Longformer", "Longformer"),
    "mobilebert": ("MobileBERT", "MobileBert"),
    "modernbert": ("ModernBERT", "ModernBert"),
    "mpnet": ("MPNet", "MPNet"),
    "nomic_bert": ("Nomic BERT", "NomicBert"),
    "roberta-prelayernorm": ("RoBERTa-PreLayerNorm", "RobertaPreLayerNorm"),
    "squeezebert": ("SqueezeBERT", "SqueezeBert"),
    "xlm-roberta-xl": ("XLM-RoBERTa-XL", "XLMRobertaXL"),
    "xlnet": ("XLNet", "XLNet"),
}
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
_CLASS = re.compile(r"(?:TF|Flax)?(\w+?)(?:PreTrainedModel|LMHeadModel|Model|For[A-Z]\w*)")
_SUPPORTED = f"supported are {', '.join(family.name for family in FAMILIES.values())}"


def recognise(values: Mapping[str, Any], tensors: Iterable[str] = ()) -> Family:
    """Returns the family of a folder by its config.json and the names of its tensors.

    `model_type` decides; where it is missing or "bert", `architectures` and the prefix of the tensors may
    name another family. Raises InputError, by name, for other models, where these contradict each other, and
    for a configuration that may be RoBERTa's.
    """
    declared = values.get("model_type")
    if declared is not None and str(declared) not in FAMILIES:
        name, _ = OTHER_MODELS.get(str(declared), (None, None))
        raise _other_model(f"model_type is {declared!r}", name)
    tensors_say, classes_say = _by_prefixes(tensors), _by_classes(values)
    if declared is None and not tensors_say and not classes_say:
        _refuse_unnamed(values)
    if declared in (None, BERT.model_type):
        said = tensors_say | {what: family for what, family in classes_say.items() if family is not BERT}
    else:
        said = tensors_say | classes_say | {f"model_type {declared!r}": FAMILIES[declared]}
    if len({family.prefix for family in said.values()}) > 1:
        raise InputError(
            f"{' and '.join(f'{what} ({family.name})' for what, family in said.items())} contradict each "
            f"other; write the model_type of the weights into config.json"
        )
    return next(reversed(said.values()), BERT)


def _by_classes(values: Mapping[str, Any]) -> dict[str, Family]:
    """Returns the families that `architectures` name. Raises InputError for classes of other models."""
    found = {}
    classes = values.get("architectures") or ()
    for name in classes if isinstance(classes, list) else ():
        match = _CLASS.fullmatch(str(name))
        for family in FAMILIES.values():
            if match and match[1] == family.classes:
                found[f"architectures {name!r}"] = family
        for other, start in OTHER_MODELS.values():
            if match and match[1] == start:
                raise _other_model(f"architectures is {name!r}", other)
        if not found and values.get("model_type") is None:
            raise _other_model(f"architectures is {name!r} without a model_type", None)
    return found


def _by_prefixes(tensors: Iterable[str]) -> dict[str, Family]:
    """Returns the families by which tensors are named, as `roberta.embeddings.`."""
    found = {}
    for name in tensors:
        if not name.endswith(f".{WORD_EMBEDDINGS}"):
            continue
        prefix = name.removesuffix(f".{WORD_EMBEDDINGS}").rpartition(".")[2]
        for family in reversed(FAMILIES.values()):  # of those with one prefix the first
            if family.prefix == prefix:
                found[f"tensor {name}"] = family
        for model_type, (other, _) in OTHER_MODELS.items():
            if prefix == model_type:
                raise _other_model(f"the weights hold {name}", other)
    return found


def _other_model(what: str, name: str | None) -> InputError:
    described = "which is not a model of BERT's family" if name is None else f"which is {name}, another model"
    return InputError(f"{what}, {described}; {_SUPPORTED}; choose weights of one of these")


def _refuse_unnamed(values: Mapping[str, Any]) -> None:
    """A configuration without names is BERT's, unless it has RoBERTa's padding token beside its marks."""
    if values.get("pad_token_id") == 1 and "bos_token_id" in values:
        raise InputError(
            "config.json has neither model_type nor architectures, and pad_token_id 1 as RoBERTa has; add "
            'the model_type of the weights, "roberta", "xlm-roberta", "camembert" or "bert"'
        )
