"""The tokenizer of a folder, built as transformers 5 builds it: its class, the file that wins, added tokens.

A class of transformers takes only the vocabulary from tokenizer.json (byte-level BPE: the merges too) and
makes all else from tokenizer_config.json; `PreTrainedTokenizerFast` takes the whole file. docs/tokenizers.md
has the rules in a table. No torch here.
"""

import base64
import os
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from minbert.errors import (
    TEXT,
    TRUTH,
    InputError,
    Rule,
    by_key,
    check,
    did_you_mean,
    is_number,
    list_of,
    optional,
    or_null,
)
from minbert.files import atomic_write, damaged, read_json_object, write_json

CONFIG, SPECIAL_TOKENS, ADDED_TOKENS = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
WHOLE, VOCABULARY = "tokenizer.json", "vocab.txt"
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TOKEN = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")  # what JSON says of one
_ADDED = by_key(
    {"content": TEXT, "__type": Rule(lambda value: value == "AddedToken", "'AddedToken'")}  # of a dictionary
)
_ONE = Rule(
    lambda value: isinstance(value, str | dict),
    "a token",
    lambda value: _ADDED.parts(value) if isinstance(value, dict) else (),
)
_SETTINGS = {
    "tokenizer_class": optional(or_null(TEXT)),
    "fast_tokenizer_files": optional(or_null(list_of(TEXT))),
    "additional_special_tokens": optional(or_null(list_of(_ONE))),
    **dict.fromkeys(NAMES, optional(or_null(_ONE))),
}
NO_LIMIT = 1e20  # transformers writes 1e30 as model_max_length where there is none
_SPACE = "\u2581"  # SentencePiece's sign for a space

Special = Mapping[str, AddedToken]


class Kind(NamedTuple):
    """A class of tokenizers: how `build` makes one of the model of tokenizer.json, and `frame` marks texts.

    `settings` are the keys of tokenizer_config.json that it reads, with rules and defaults; `tokens` the
    special tokens that it has without being told; those in `needed` cannot be null.
    """

    model: str | None
    build: Callable[[dict, Special, Mapping[str, Any]], Tokenizer]
    frame: Callable[[Tokenizer, Special, Mapping[str, Any]], None]
    settings: Mapping[str, tuple[Rule, Any]]
    tokens: Mapping[str, str | AddedToken]
    needed: tuple[str, ...]
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    extra: tuple[str, ...] = ()


def _wordpiece(model: dict, special: Special, values: Mapping[str, Any]) -> Tokenizer:
    unknown = special["unk_token"].content
    backend = Tokenizer(WordPiece(model["vocab"], unk_token=unknown))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=values["tokenize_chinese_chars"],
        strip_accents=values["strip_accents"],
        lowercase=values["do_lower_case"],
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _byte_level(model: dict, special: Special, values: Mapping[str, Any]) -> Tokenizer:
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    backend = Tokenizer(BPE(model["vocab"], merges, continuing_subword_prefix="", end_of_word_suffix=""))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=values["add_prefix_space"])
    backend.decoder = decoders.ByteLevel()
    return backend


def _unigram(model: dict, special: Special, values: Mapping[str, Any], unknown: int = 3) -> Tokenizer:
    backend = Tokenizer(Unigram(list(map(tuple, model["vocab"])), unk_id=unknown, byte_fallback=False))
    if model["characters"] is not None:
        backend.normalizer = normalizers.Precompiled(model["characters"])
    prepend = "always" if values["add_prefix_space"] else "never"
    metaspace = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=prepend)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    backend.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme=prepend)
    return backend


def _camembert(model: dict, special: Special, values: Mapping[str, Any]) -> Tokenizer:
    pieces = [piece for piece, _ in model["vocab"]]
    unknown = special["unk_token"].content
    return _unigram(model, special, values, pieces.index(unknown) if unknown in pieces else 0)


def _whole(model: dict, special: Special, values: Mapping[str, Any]) -> Tokenizer:
    return model["whole"]


def _bert_frame(backend: Tokenizer, special: Special, values: Mapping[str, Any]) -> None:
    first, last = special["cls_token"].content, special["sep_token"].content
    backend.post_processor = processors.TemplateProcessing(
        single=[f"{first}:0", "$A:0", f"{last}:0"],
        pair=[f"{first}:0", "$A:0", f"{last}:0", "$B:1", f"{last}:1"],
        special_tokens=[(token, backend.token_to_id(token)) for token in (first, last)],
    )


def _roberta_frame(backend: Tokenizer, special: Special, values: Mapping[str, Any]) -> None:
    marks = [special[name].content for name in ("sep_token", "cls_token")]
    backend.post_processor = processors.RobertaProcessing(
        *((mark, backend.token_to_id(mark)) for mark in marks),
        trim_offsets=True,
        add_prefix_space=values["add_prefix_space"],
    )


def _unigram_frame(backend: Tokenizer, special: Special, values: Mapping[str, Any]) -> None:
    first, last = special["bos_token"].content, special["eos_token"].content
    backend.post_processor = processors.TemplateProcessing(
        single=[first, "$A", last],
        pair=[first, "$A", last, last, "$B", last],
        special_tokens=[(token, backend.token_to_id(token)) for token in (first, last)],
    )


def _own_frame(backend: Tokenizer, special: Special, values: Mapping[str, Any]) -> None:
    """The one that tokenizer.json has."""


_BERT = Kind(
    "WordPiece",
    _wordpiece,
    _bert_frame,
    {
        "do_lower_case": (TRUTH, True),
        "tokenize_chinese_chars": (TRUTH, True),
        "strip_accents": (Rule(lambda v: v is None or isinstance(v, bool), "true, false or null"), None),
    },
    dict(unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]"),
    ("unk_token", "cls_token", "sep_token"),
    ("input_ids", "token_type_ids", "attention_mask"),
)
_ROBERTA_TOKENS = dict(
    bos_token="<s>",
    eos_token="</s>",
    unk_token="<unk>",
    sep_token="</s>",
    pad_token="<pad>",
    cls_token="<s>",
    mask_token="<mask>",
)
_XLM = Kind(
    "Unigram",
    _unigram,
    _unigram_frame,
    {"add_prefix_space": (TRUTH, True)},
    _ROBERTA_TOKENS,
    ("bos_token", "eos_token", "unk_token"),
)
_NO_CLASS = "PreTrainedTokenizerFast"
KINDS = {
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT._replace(inputs=("input_ids", "attention_mask")),
    "RobertaTokenizer": Kind(
        "BPE",
        _byte_level,
        _roberta_frame,
        {"add_prefix_space": (TRUTH, False)},
        _ROBERTA_TOKENS,
        ("cls_token", "sep_token"),
    ),
    "XLMRobertaTokenizer": _XLM,
    "CamembertTokenizer": _XLM._replace(
        build=_camembert,
        tokens=_ROBERTA_TOKENS | {"mask_token": AddedToken("<mask>", lstrip=True, special=True)},
        extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    _NO_CLASS: Kind(None, _whole, _own_frame, {}, {}, ()),
}
_BY_MODEL_TYPE = {
    "distilbert": "DistilBertTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
}
_OTHER_NAMES = {"ElectraTokenizer": "BertTokenizer", "TokenizersBackend": _NO_CLASS}
_SIDE = (Rule(lambda value: value in ("right", "left"), "right or left"), "right")


def read_tokenizer(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Returns a folder's tokenizer, and what tokenizer_config.json has to say of it; see `build_tokenizer`.

    Raises InputError for a folder without a tokenizer, files that are damaged or contradict each other where
    transformers would go on with wrong ids, and for settings and classes that are not known.
    """
    settings = _read(folder / CONFIG, _SETTINGS)
    whole = os.path.lexists(folder / WHOLE)
    path = folder / (WHOLE if whole else VOCABULARY)
    if not os.path.lexists(path):
        raise InputError(f"{folder} holds no {WHOLE} and no {VOCABULARY}; fetch the folder again")
    name = _class_name(folder, settings)
    if not whole and KINDS[name].model != "WordPiece":
        raise InputError(
            f"{folder} has no {WHOLE}, which {name} is read from; load the folder with transformers' "
            f"AutoTokenizer and save_pretrained it"
        )
    _refuse_settings(folder / CONFIG, settings)
    described = read_json_object(path) if whole else {}
    try:
        if whole:
            model = described["model"] | {
                "whole": Tokenizer.from_buffer(path.read_bytes()),  # refuses what the class does not read too
                "characters": _characters(described.get("normalizer")),
            }
        else:
            model = {"vocab": WordPiece.read_file(str(path))}
        added = _added_tokens(folder, settings, described.get("added_tokens") or ())
        baked = {key: described.get(key) or {} for key in ("truncation", "padding")}
        settings.setdefault("truncation_side", baked["truncation"].get("direction", "right").lower())
        settings.setdefault("padding_side", baked["padding"].get("direction", "right").lower())
        if "pad_token" in baked["padding"] and name == _NO_CLASS:
            settings.setdefault("pad_token", baked["padding"]["pad_token"])
        return build_tokenizer(name, model, settings, added, path)
    except InputError:
        raise
    except Exception as error:  # the library raises Exception itself
        raise damaged(path, f"is damaged ({error or type(error).__name__})") from None


def build_tokenizer(
    name: str,
    model: dict[str, Any],
    settings: Mapping[str, Any] | None = None,
    added: Mapping[int, AddedToken] | None = None,
    path: Path = Path(WHOLE),
) -> tuple[Tokenizer, dict[str, Any]]:
    """Returns a tokenizer of the class `name`, and its settings in the words of tokenizer_config.json.

    `model` is that of tokenizer.json, `added` are the tokens beside it by their ids, `path` is the file for
    messages. Raises InputError for a model of another kind, a vocabulary without the token for unknown words,
    and ids that the added tokens cannot have.
    """
    kind, settings, added = KINDS[name], settings or {}, added or {}
    _check_model(name, model, path)
    values = _values(kind, settings, path.with_name(CONFIG))
    special = _special_tokens(kind, settings, {token.content: token for token in added.values()})
    for needed in kind.needed:
        if needed not in special:
            raise InputError(f"{path.with_name(CONFIG)}: {needed} is null; {name} needs one")
    _check_unknown(special, model, kind, path)
    backend = kind.build(model, special, values)
    known = backend.get_vocab().keys() | {token.content for token in added.values()}
    # Such names of the class alone transformers adds after the end, where there are no embeddings.
    for key in [key for key, token in special.items() if key not in settings and token.content not in known]:
        if key in kind.needed:
            raise damaged(path, f"has no {special[key]}, and {CONFIG} names no other {key}")
        del special[key]
    extra = _extra_tokens(settings, kind, known)
    _add_tokens(backend, added, special, extra)
    for number, token in added.items():
        if backend.token_to_id(token.content) != number:
            raise InputError(
                f"{path.parent} gives the added token {token.content!r} the id {number}, and beside this "
                f"vocabulary it has {backend.token_to_id(token.content)}; fetch the folder again"
            )
    kind.frame(backend, special, values)
    return backend, {
        "tokenizer_class": name,
        **values,
        **dict.fromkeys(kind.tokens),
        **{key: token.content for key, token in special.items()},
        **({"additional_special_tokens": [token.content for token in extra]} if extra else {}),
    }


def write_tokenizer(folder: Path, backend: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, for a class that reads it, vocab.txt.

    transformers and `read_tokenizer` make the same tokenizer of them. A vocabulary that lines of text cannot
    hold is in tokenizer.json alone.
    """
    added = {
        str(number): _state(token) for number, token in sorted(backend.get_added_tokens_decoder().items())
    }
    with atomic_write(folder / WHOLE) as file:
        file.write(backend.to_str(pretty=True))
    write_json(folder / CONFIG, dict(settings) | {"added_tokens_decoder": added})
    vocabulary = backend.get_vocab(with_added_tokens=False)
    tokens = sorted(vocabulary, key=vocabulary.get)
    lines = all(vocabulary[token] == i and _is_line(token) for i, token in enumerate(tokens))
    if lines and KINDS[settings["tokenizer_class"]].model == "WordPiece":
        with atomic_write(folder / VOCABULARY) as file:
            file.writelines(token + "\n" for token in tokens)
    else:
        (folder / VOCABULARY).unlink(missing_ok=True)  # an older tokenizer's


def _read(path: Path, rules: Mapping[str, Rule] | None = None) -> dict[str, Any]:
    """Returns the object of a file that need not be there. A dangling link is an error."""
    return read_json_object(path, rules) if os.path.lexists(path) else {}


def _is_line(token: str) -> bool:
    return token == token.rstrip() and "\n" not in token and "\r" not in token


def _class_name(folder: Path, settings: Mapping[str, Any]) -> str:
    """Returns the class that AutoTokenizer takes, by the name in KINDS."""
    config = _read(folder / "config.json")
    given = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if given is None:
        return _BY_MODEL_TYPE.get(config.get("model_type"), "BertTokenizer")
    name = given if given == _NO_CLASS else str(given).removesuffix("Fast")
    name = _OTHER_NAMES.get(name, name)
    if name not in KINDS:
        raise InputError(
            f"{folder} names the tokenizer class {given!r}{did_you_mean(name, KINDS)}; {', '.join(KINDS)} "
            f"are supported: if tokenizer.json alone says how to tokenize, name {_NO_CLASS} in {CONFIG}"
        )
    return name


def _refuse_settings(path: Path, settings: Mapping[str, Any]) -> None:
    for key in settings:
        if key.startswith("__"):
            raise InputError(f"{path}: {key} is an attribute of every class and no setting; remove it")
    if settings.get("split_special_tokens"):
        raise InputError(f"{path}: split_special_tokens is true, which is not supported; set it to false")
    if set(settings.get("fast_tokenizer_files") or ()) - {WHOLE}:
        raise InputError(
            f"{path}: fast_tokenizer_files names files for some versions of transformers, which is not "
            f"supported; remove it if {WHOLE} is the one to read"
        )


def _characters(normalizer: dict | None) -> bytes | None:
    """Returns SentencePiece's table of characters, where a normalizer has one."""
    steps = (normalizer or {}).get("normalizers", [normalizer])
    tables = [step["precompiled_charsmap"] for step in steps if step and step["type"] == "Precompiled"]
    return base64.b64decode(tables[0]) if tables and tables[0] else None


def _check_model(name: str, model: Mapping[str, Any], path: Path) -> None:
    found, expected = model.get("type"), KINDS[name].model
    if None not in (found, expected) and found != expected:
        raise InputError(
            f"{path} holds a {found} model, and the folder's class, {name}, is {expected}; name the class "
            f"that it was saved by as tokenizer_class in {CONFIG} ({_NO_CLASS} takes {WHOLE} as it is)"
        )


def _values(kind: Kind, settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the settings of a class, and those of every class, with their defaults."""
    rules = kind.settings | {
        "truncation_side": _SIDE,
        "padding_side": _SIDE,
        "clean_up_tokenization_spaces": (TRUTH, False),
    }
    values = {key: settings.get(key, default) for key, (_, default) in rules.items()}
    check(values, {key: rule for key, (rule, _) in rules.items()}, f"{path}: ")
    values["model_input_names"] = list(settings.get("model_input_names", kind.inputs))
    longest = settings.get("model_max_length", settings.get("max_len"))
    if longest is not None and not (is_number(longest) and longest > 0):
        raise InputError(f"{path}: model_max_length is {longest!r}; it must be a number above 0")
    if longest is not None and longest < NO_LIMIT:
        values["model_max_length"] = int(longest)
    return values


def _check_unknown(special: Special, model: Mapping[str, Any], kind: Kind, path: Path) -> None:
    """Raises InputError where the first unknown word would be an error of the library."""
    if kind.model == "WordPiece" or (kind.model is None and isinstance(model["vocab"], dict)):
        unknown = special["unk_token"].content if kind.model else model.get("unk_token")
        if unknown not in model["vocab"] and "merges" not in model:  # byte-level BPE knows all characters
            raise damaged(path, f"has no {unknown}, the unk_token, which stands for unknown words")
    elif kind.model is None and model.get("unk_id") is None:
        raise damaged(path, "has no unk_id, the piece that stands for unknown characters")


def _added_token(value: str | dict) -> AddedToken:
    """A token as JSON gives it. Of a string it is a special token."""
    if isinstance(value, str):
        return AddedToken(value, special=True)
    try:
        return AddedToken(**{key: flag for key, flag in value.items() if key in _TOKEN})
    except (TypeError, AttributeError):
        raise InputError(f"{value!r} is not an added token; fetch the folder again") from None


def _state(token: AddedToken) -> dict[str, Any]:
    return {key: getattr(token, key) for key in _TOKEN}


def _added_tokens(folder: Path, settings: dict[str, Any], listed: Iterable[dict]) -> dict[int, AddedToken]:
    """Returns the tokens beside the vocabulary by their ids, `listed` are those of tokenizer.json.

    Where tokenizer_config.json has added_tokens_decoder, no other file says anything. Else what
    special_tokens_map.json says goes into `settings`.
    """
    extra = "extra_special_tokens"
    if "additional_special_tokens" in settings and not settings.get(extra):
        settings[extra] = settings.pop("additional_special_tokens")
    if "added_tokens_decoder" in settings:
        return {
            int(number): _added_token(token) for number, token in settings["added_tokens_decoder"].items()
        }
    for key, value in _read(folder / SPECIAL_TOKENS).items():
        if isinstance(value, dict) and key.endswith("_token"):
            value = value | {"special": True}
        if key == extra and isinstance(value, list):
            value = [*(settings.get(extra) or ()), *value]
        settings[key] = value
    special = {_added_token(settings[key]).content for key in NAMES if settings.get(key)}
    if isinstance(settings.get(extra), list):
        special |= {_added_token(token).content for token in settings[extra]}
    added = {
        number: AddedToken(content, normalized=content not in special, special=content in special)
        for content, number in _read(folder / ADDED_TOKENS).items()
    }
    return added | {token["id"]: _added_token(token) for token in listed}


def _special_tokens(
    kind: Kind, settings: Mapping[str, Any], added: Mapping[str, AddedToken]
) -> dict[str, AddedToken]:
    """Returns the named special tokens; those that are among the added ones have their flags."""
    own = {key: value for key, value in settings.items() if key.endswith("_token") and key not in NAMES}
    if isinstance(settings.get("extra_special_tokens"), dict):
        own |= settings["extra_special_tokens"]
    found = {key: settings.get(key, kind.tokens.get(key)) for key in NAMES} | own
    tokens = {}
    for key, value in found.items():
        if isinstance(value, str) and isinstance(kind.tokens.get(key), AddedToken):
            value = _state(kind.tokens[key]) | {
                "content": value
            }  # CamemBERT's mask takes the space before it
        if isinstance(value, str | dict | AddedToken) and value:
            token = value if isinstance(value, AddedToken) else _added_token(value)
            tokens[key] = added.get(token.content, token)
    return tokens


def _extra_tokens(settings: Mapping[str, Any], kind: Kind, known: Container[str]) -> list[AddedToken]:
    given = settings.get("extra_special_tokens")
    if not isinstance(given, list):  # it names them
        given = settings.get("additional_special_tokens")
    if given is None:
        given = [token for token in kind.extra if token in known]
    return [_added_token(token) for token in given]


def _add_tokens(
    backend: Tokenizer, added: Mapping[int, AddedToken], special: Special, extra: Iterable[AddedToken]
) -> None:
    """Adds tokens in the order of transformers, which gives ids to those that the files give none."""
    tokens = [added[number] for number in sorted(added)]
    known = {token.content for token in (*tokens, *backend.get_added_tokens_decoder().values())}
    tokens += [token for token in (*special.values(), *extra) if token.content not in known]
    named = {token.content for token in special.values()}
    for token in tokens:
        token.special = token.special or token.content in named
    backend.add_tokens(tokens)
