"""Folders of sentence-transformers: each layout gives the library's vectors, or is refused by its key.

Run: pytest tests/minbert/weights/test_sentence_folder.py
"""

import json
import os
import shutil
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from minbert import InputError, SentenceEncoder, Tokenizer, read_sentence_folder, sentence

pytest.importorskip("sentence_transformers", reason="compares with sentence-transformers")

OLD = "sentence_transformers.models"
PROMPTS = {"prompts": {"query": "the student reads ", "passage": "a book "}, "default_prompt_name": "query"}


@pytest.fixture(scope="module")
def library():
    """The classes of the installed version, whose import warns about matters of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers
        from sentence_transformers.base import modules
        from sentence_transformers.sentence_transformer import modules as own_modules

    return SimpleNamespace(**{**vars(modules), **vars(own_modules), **vars(sentence_transformers)})


@pytest.fixture(scope="module")
def cased_folder(tiny_folder, tmp_path_factory):
    """The tiny weights with a tokenizer that keeps upper case."""
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("cased") / "weights")
    (folder / "tokenizer.json").unlink()
    change(folder / "tokenizer_config.json", do_lower_case=False)
    Tokenizer.from_pretrained(folder).save(folder)
    return folder


@pytest.fixture(scope="module")
def save_into(library, tiny_folder):
    """Has the library save a Transformer, a Pooling and the modules after it into a folder."""

    def save_folder(out, *modes, after=(), weights=tiny_folder, pooling=None, max_length=None, **settings):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            modules = [library.Transformer(str(weights))]
            mode = modes[0] if len(modes) == 1 else list(modes) or "mean"
            modules.append(library.Pooling(24, pooling_mode=mode, **pooling or {}))
            size = modules[-1].get_embedding_dimension()
            for kind, *arguments in after:
                modules.append(getattr(library, kind)(*(size if a == "size" else a for a in arguments)))
                size = modules[-1].out_features if kind == "Dense" else size
                for parameter in modules[-1].parameters():
                    nn.init.normal_(parameter, std=0.5)
            model = library.SentenceTransformer(modules=modules, device="cpu", **settings)
            if max_length is not None:
                model.max_seq_length = max_length
            model.save_pretrained(str(out), create_model_card=False)
        return out

    return save_folder


@pytest.fixture
def save(save_into, tmp_path):
    return partial(save_into, tmp_path / "saved")


@pytest.fixture(scope="module")
def saved_once(save_into, tmp_path_factory):
    after = [("Dense", "size", 7), ("Normalize",), ("Dropout", 0.5), ("LayerNorm", "size")]
    return save_into(tmp_path_factory.mktemp("folder") / "saved", after=after)


@pytest.fixture
def folder(saved_once, tmp_path):
    """A folder with each kind of module, which a test may damage."""
    return shutil.copytree(saved_once, tmp_path / "saved")


@pytest.fixture
def their_model(library):
    def load(folder, **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return library.SentenceTransformer(str(folder), device="cpu", **settings)

    return load


@pytest.fixture
def all_texts(texts):
    return [*texts, "The CAT Reads a Book", "Good"]


def change(path, **values):
    """Sets keys of a JSON file; None removes one."""
    found = json.loads(path.read_text()) | values if path.exists() else values
    path.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


def assert_same(ours, theirs):
    """Within 1e-6 of the largest value, and never by less than that of 1."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * max(1, abs(theirs).max()))


ALL = (
    ("Dense", "size", 10, True, nn.GELU()),
    ("Normalize",),
    ("LayerNorm", "size"),
    ("Dropout", 0.5),
    ("Dense", "size", 7, False, nn.ReLU()),
    ("Normalize",),
)
LAYOUTS = {
    **{mode: dict(modes=[mode]) for mode in ("mean", "cls", "max", "mean_sqrt_len_tokens")},
    **{mode: dict(modes=[mode]) for mode in ("weightedmean", "lasttoken")},
    "two poolings": dict(modes=["cls", "mean"]),
    "poolings in another order": dict(modes=["lasttoken", "mean_sqrt_len_tokens", "cls", "weightedmean"]),
    "normalized": dict(after=[("Normalize",)]),
    "dense": dict(after=[("Dense", "size", 7)]),
    "dense without bias": dict(after=[("Dense", "size", 7, False, nn.Identity())]),
    "dense GELU": dict(after=[("Dense", "size", 30, True, nn.GELU())]),
    "dense ReLU": dict(after=[("Dense", "size", 7, True, nn.ReLU())]),
    "dense PReLU, with a weight": dict(after=[("Dense", "size", 7, True, nn.PReLU())]),
    "two dense": dict(after=[("Dense", "size", 11), ("Dense", "size", 5, True, nn.SiLU())]),
    "dense over two poolings": dict(modes=["mean", "max"], after=[("Dense", "size", 7)]),
    "normalized before dense": dict(after=[("Normalize",), ("Dense", "size", 7)]),
    "layer norm": dict(after=[("LayerNorm", "size")]),
    "dropout": dict(after=[("Dropout", 0.5), ("Normalize",)]),
    "all": dict(after=ALL),
    "default prompt": PROMPTS,
    "prompt left out": PROMPTS | dict(pooling={"include_prompt": False}),
    "prompt left out, first and last": PROMPTS
    | dict(modes=["cls", "lasttoken", "max"], pooling={"include_prompt": False}),
    "prompt left out, weights": PROMPTS | dict(modes=["weightedmean"], pooling={"include_prompt": False}),
    "prompt without default": dict(prompts={"query": "a cat "}),
    "truncated": dict(truncate_dim=7),
    "truncated after normalization": dict(truncate_dim=7, after=[("Normalize",)]),
    "truncated to more": dict(truncate_dim=99),
    "length": dict(max_length=5),
    "length and a prompt that fills it": PROMPTS | dict(max_length=5, pooling={"include_prompt": False}),
    **{f"similarity {name}": dict(similarity_fn_name=name) for name in ("dot", "euclidean", "manhattan")},
}


# These run each time; the others differ from them in one thing.
FIRST = ("mean", "poolings in another order", "all", "prompt left out, first and last", "truncated", "length")


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(LAYOUTS[name], id=name, marks=() if name in FIRST else pytest.mark.slow)
        for name in LAYOUTS
    ],
)
def test_layouts_of_the_library(save, their_model, all_texts, layout, tmp_path):
    folder = save(*layout.get("modes", ()), **{key: layout[key] for key in layout.keys() - {"modes"}})
    theirs, ours = their_model(folder), SentenceEncoder.from_pretrained(folder)
    expected = theirs.encode(all_texts)
    assert_same(ours.encode(all_texts), expected)
    assert ours.get_sentence_embedding_dimension() == theirs.get_embedding_dimension() == expected.shape[1]
    assert ours.get_max_seq_length() == ours.max_seq_length == theirs.max_seq_length
    assert ours.prompts == theirs.prompts and ours.default_prompt_name == theirs.default_prompt_name
    for name in ("similarity", "similarity_pairwise"):
        torch.testing.assert_close(
            getattr(ours, name)(expected[:3], expected[3:6]),
            getattr(theirs, name)(expected[:3], expected[3:6]),
        )
    ours.save_pretrained(tmp_path / "ours")
    again = SentenceEncoder.from_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(again.encode(all_texts), ours.encode(all_texts))
    assert repr(again) == repr(ours) and again.prompts == ours.prompts
    assert_same(their_model(tmp_path / "ours").encode(all_texts), expected)


def to_old_dialect(folder):
    """Rewrites a folder as version 2 wrote it."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = f"{OLD}.{module['type'].rpartition('.')[2]}"
    (folder / "modules.json").write_text(json.dumps(modules))
    path = folder / "1_Pooling" / "config.json"
    mode = json.loads(path.read_text())["pooling_mode"]
    flags = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean"}
    flags |= {"mean_sqrt_len_tokens": "mean_sqrt_len_tokens"}
    written = {f"pooling_mode_{flag}": name in mode for flag, name in flags.items()}
    path.write_text(json.dumps({"word_embedding_dimension": 24} | written))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": false}')
    (folder / "config_sentence_transformers.json").unlink()


def into_subfolder(folder):
    """Moves the transformer's files into 0_Transformer/, where version 0.3 wrote them."""
    (folder / "0_Transformer").mkdir()
    for path in folder.iterdir():
        if path.is_file() and "modules" not in path.name:
            path.rename(folder / "0_Transformer" / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def no_flag(folder):
    (folder / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 24}')


def list_of_one(folder):
    change(folder / "1_Pooling" / "config.json", pooling_mode=["max"])


def file_of_roberta(folder):
    (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")


def dense_with_defaults(folder):
    change(folder / "2_Dense" / "config.json", activation_function=None, bias=None, module_input_name=None)


@pytest.mark.parametrize(
    ("layout", "rewrites"),
    [
        (dict(modes=["cls"], after=[("Normalize",)]), [to_old_dialect]),
        (dict(modes=["mean", "max"]), [to_old_dialect]),
        (dict(modes=["cls", "mean"], after=ALL), [to_old_dialect, into_subfolder]),
        (dict(after=[("Dense", "size", 7)]), [to_old_dialect, dense_with_defaults]),
        (dict(modes=["max"]), [to_old_dialect, no_flag]),
        (dict(modes=["mean"]), [list_of_one]),
        (dict(modes=["max"]), [to_old_dialect, file_of_roberta]),
    ],
    ids=["flags", "two flags", "0_Transformer", "dense", "no flag", "list of one", "sentence_roberta_config"],
)
def test_old_and_rewritten_layouts(save, their_model, all_texts, layout, rewrites):
    folder = save(*layout.get("modes", ()), after=layout.get("after", ()))
    for rewrite in rewrites:
        rewrite(folder)
    ours, theirs = SentenceEncoder.from_pretrained(folder), their_model(folder)
    assert ours.max_seq_length == theirs.max_seq_length
    assert_same(ours.encode(all_texts), theirs.encode(all_texts))


@pytest.mark.parametrize("cased", [True, False])
def test_do_lower_case(save, their_model, all_texts, tiny_folder, cased_folder, cased, tmp_path):
    """A cased tokenizer is told to lower-case its texts, and keeps their accents."""
    folder = save(weights=cased_folder if cased else tiny_folder)
    change(folder / "sentence_bert_config.json", do_lower_case=True)
    texts = [*all_texts, "CAFÉ naïve", "[SEP] and [sep]"]
    ours = SentenceEncoder.from_pretrained(folder)
    expected = their_model(folder).encode(texts)
    assert_same(ours.encode(texts), expected)
    upper = SentenceEncoder.from_pretrained(cased_folder).encode(texts)
    assert abs(upper - expected).max() > 0.1
    ours.save_pretrained(tmp_path / "ours")
    assert_same(SentenceEncoder.from_pretrained(tmp_path / "ours").encode(texts), expected)
    assert_same(their_model(tmp_path / "ours").encode(texts), expected)


# Those that keep the shape of (B, D) and need no arguments.
ACTIVATIONS = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish
RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink Softsign Tanh Tanhshrink""".split()


def test_every_activation_of_torch(save, all_texts):
    folder = save(after=[("Dense", "size", 7, True, nn.Identity())])
    linear = torch.from_numpy(SentenceEncoder.from_pretrained(folder).encode(all_texts))
    for name in ACTIVATIONS:
        path = f"torch.nn.modules.activation.{name}"
        change(folder / "2_Dense" / "config.json", activation_function=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Softmax() warns that it chooses the dimension
            expected = getattr(nn, name)().eval()(linear).numpy()
        assert_same(SentenceEncoder.from_pretrained(folder).encode(all_texts), expected)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling_mode is 'median'; it must be one of"),
        ("1_Pooling/config.json", {"pooling_mode": []}, "pooling_mode is .*; it must be one of"),
        ("1_Pooling/config.json", {"pooling_mode": [["mean"]]}, "pooling_mode is .*; it must be one of"),
        ("1_Pooling/config.json", {"include_prompt": "no"}, "include_prompt is 'no'; it must be true or"),
        ("1_Pooling/config.json", {"pooling_mode_median": True}, "has the key 'pooling_mode_median'"),
        ("1_Pooling/config.json", {"embedding_dimension": 25}, "takes vectors of 24 features and gets 25"),
        ("1_Pooling/config.json", {"embedding_dimension": None}, "has no key 'embedding_dimension'"),
        ("2_Dense/config.json", {"module_output_name": "scores"}, "module_output_name is 'scores'; it must"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name is 'token_e"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual is True; it must be False"),
        ("2_Dense/config.json", {"in_features": None}, "has no key 'in_features'"),
        ("2_Dense/config.json", {"in_features": "24"}, "in_features is '24'; it must be a whole number"),
        ("2_Dense/config.json", {"out_features": 8}, "does not fit .*2_Dense/config.json"),
        ("2_Dense/config.json", {"in_features": 2**62}, "does not fit .*2_Dense/config.json"),
        ("2_Dense/config.json", {"activation_function": 0}, "activation_function is 0; it must be a string"),
        ("2_Dense/config.json", {"activation_function": "os.getcwd"}, "activation_function is 'os.getcwd'"),
        ("2_Dense/config.json", {"activation_function": "torch.nn.Linear"}, "activation_function is 'torch"),
        ("2_Dense/config.json", {"activation_function": "torch.tanh"}, "activation_function is 'torch.tanh'"),
        (
            "2_Dense/config.json",
            {"activation_function": "torch.nn.GLU"},
            "activation_function is 'torch.nn.G",
        ),
        (
            "2_Dense/config.json",
            {"activation_function": "torch.nn.Parameter"},
            "activation_function is 'torch",
        ),
        ("3_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module_input_name is"),
        ("4_Dropout/config.json", {"dropout": 2}, "dropout is 2; it must be a number from 0 to 1"),
        ("5_LayerNorm/config.json", {"dimension": 8}, "does not fit .*5_LayerNorm/config.json"),
        (
            "sentence_bert_config.json",
            {"max_seq_length": [1]},
            r"max_seq_length is \[1\]; it must be a whole",
        ),
        ("sentence_bert_config.json", {"max_seq_length": ""}, "max_seq_length is ''; it must be a whole"),
        (
            "sentence_bert_config.json",
            {"max_seq_length": 2},
            "max_seq_length is 2; it must be a whole number",
        ),
        ("sentence_bert_config.json", {"do_lower_case": "yes"}, "do_lower_case is 'yes'; it must be true or"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task is 'fill-mask'"),
        ("sentence_bert_config.json", {"module_output_name": "scores"}, "module_output_name is 'scores'"),
        ("sentence_bert_config.json", {"query_length": 5}, "query_length is 5; it must be left out"),
        ("sentence_bert_config.json", {"model_args": {"a": 1}}, "model_args is .*; it must be left out"),
        ("sentence_bert_config.json", {"pad_to": 8}, "has the key 'pad_to', which is not supported"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"a": 1}},
            "prompts.a is 1; it must be a string, or null",
        ),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "no prompt 'x'; choose from"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim is 0; it must be a whole"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "maxsim"}, "similarity_fn_name is 'ma"),
        (
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "model_type is 'SparseEncoder'",
        ),
        ("config_sentence_transformers.json", {"requirements": {"a": ">1"}}, "requirements is"),
        ("tokenizer_config.json", {"model_max_length": "long"}, "model_max_length is 'long'; it must be"),
    ],
)
def test_refused_by_file_and_key(folder, file, values, message):
    change(folder / file, **values)
    with pytest.raises(InputError, match=message) as error:
        SentenceEncoder.from_pretrained(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


def written_modules(folder, *kinds, package=OLD):
    modules = [
        {"name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"{package}.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["Transformer", "Pooling", "LSTM"], "type of module 2 is '.*LSTM'; supported are"),
        (["Transformer", "WordWeights", "Pooling"], "type of module 1 is '.*WordWeights'"),
        (["Transformer", "Normalize", "Pooling"], "type of module 1 is '.*Normalize'"),
        (["Transformer", "Pooling", "Pooling"], "type of module 2 is '.*Pooling'"),
        (["Pooling", "Transformer"], "type of module 0 is '.*Pooling'"),
        (["BoW", "Dense"], "type of module 0 is '.*BoW'"),
        (["Transformer"], "has no Pooling module, so the folder makes no sentence vectors"),
    ],
)
def test_modules_that_are_refused(folder, kinds, message):
    written_modules(folder, *kinds)
    with pytest.raises(InputError, match=message):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([1], "is not a list of modules"),
        ([], "is not a list of modules"),
        ({"type": "Transformer"}, "is not a list of modules"),
        ([{"type": f"{OLD}.Transformer"}], "has no key 'path'"),
        ([{"name": "0", "type": 7, "path": ""}], "type is 7; it must be a string"),
        (
            [{"name": "0", "type": "custom.Transformer", "path": ""}],
            "type of module 0 is 'custom.Transformer'",
        ),
        (
            [{"name": "0", "type": f"{OLD}.Transformer", "path": "../elsewhere"}],
            "names '../elsewhere', which leads out of",
        ),
        ([{"name": "0", "type": f"{OLD}.Transformer", "path": "/etc"}], "names '/etc', which leads out of"),
        ([{"name": "a.b", "type": f"{OLD}.Transformer", "path": ""}], "name of module 0 is 'a.b'; each"),
        ([{"name": "0", "type": f"{OLD}.Transformer", "path": ""}] * 2, "name of module 1 is '0'; each"),
        ([{"name": "0", "type": f"{OLD}.Pooling.Transformer", "path": ""}], "type of module 0 is"),
        ([{"name": "0", "type": "sentence_transformers.mo.Transformer", "path": ""}], "type of module 0 is"),
        ([{"name": "0", "type": f"{OLD}.Transformer", "path": "", "kwargs": ["task"]}], "kwargs is"),
        ([{"name": "0", "type": f"{OLD}.Transformer", "path": "", "config": {}}], "has the key 'config'"),
    ],
)
def test_damaged_lists_of_modules(folder, modules, message):
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=f"modules.json.* {message}"):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["dangling link", "folder", "device", "unreadable"])
@pytest.mark.parametrize("file", ["modules.json", "sentence_bert_config.json"])
def test_a_file_that_cannot_be_read_is_not_an_absent_one(folder, kind, file):
    path = folder / file
    path.unlink()
    if kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to(os.devnull)
    else:
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=f"{file} (cannot be read|is not JSON)"):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize("module", ["2_Dense", "5_LayerNorm"])
def test_pickles_are_not_read(folder, module):
    (folder / module / "model.safetensors").rename(folder / module / "pytorch_model.bin")
    with pytest.raises(InputError, match=f"{module} has only pytorch_model.bin, and a pickle can run code"):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize("version", [3, 4, 6])
def test_a_cross_encoder_is_recognised(library, tiny_folder, tmp_path, version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = library.CrossEncoder(str(tiny_folder), device="cpu", num_labels=1)
        model.save_pretrained(str(tmp_path))
    if version < 6:
        for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
            (tmp_path / name).unlink(missing_ok=True)
        said = {"activation_fn": "torch.nn.modules.linear.Identity", "version": "4.0.1"}
        old = {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
        change(tmp_path / "config.json", **({"sentence_transformers": said} if version == 4 else old))
    with pytest.raises(
        InputError, match="is a CrossEncoder, which scores pairs and makes no sentence vectors"
    ):
        SentenceEncoder.from_pretrained(tmp_path)


def test_without_modules_files_of_sentence_transformers_say_nothing(
    tiny_folder, their_model, tmp_path, texts
):
    """As the library has it: mean pooling, the tokenizer's length."""
    folder = shutil.copytree(tiny_folder, tmp_path / "weights")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 5, "do_lower_case": false}')
    change(folder / "tokenizer_config.json", model_max_length=8)
    ours, theirs = SentenceEncoder.from_pretrained(folder), their_model(folder)
    assert ours.max_seq_length == theirs.max_seq_length == 8
    assert_same(ours.encode(texts), theirs.encode(texts))
    assert read_sentence_folder(folder).modules is None


# --- the calls of sentence-transformers' users --------------------------------------------------------------

SENTENCES = ["the cat reads a book", "a dog reads the book", "the river is green and blue", "good movie !"]


def encode_and_compare(model, util):
    embeddings = model.encode(SENTENCES)
    yield embeddings
    yield model.similarity(embeddings, embeddings)
    yield model.similarity_pairwise(embeddings[:2], embeddings[2:])
    model.similarity_fn_name = "euclidean"
    yield model.similarity(embeddings[0], embeddings)


def one_sentence(model, util):
    yield model.encode("the cat reads")
    yield model.encode("the cat reads", convert_to_tensor=True)
    yield model.encode("the cat reads", output_value="token_embeddings")
    yield model.encode(["the cat reads", "a"], output_value="token_embeddings")[1]


def search_by_meaning(model, util):
    corpus = model.encode_document(SENTENCES, convert_to_tensor=True, batch_size=2, show_progress_bar=False)
    query = model.encode_query("a cat and its book", convert_to_tensor=True)
    scores = model.similarity(query, corpus)[0]
    yield scores
    yield torch.topk(scores, k=2).indices
    [hits] = util.semantic_search(query, corpus, top_k=2)
    yield np.array([hit["corpus_id"] for hit in hits])


def with_prompts(model, util):
    yield model.encode("a good book", prompt_name="query")
    yield model.encode("a good book", prompt="the cat reads ")
    yield model.encode_query(SENTENCES, prompt_name="passage")
    yield model.encode_query(SENTENCES)
    yield model.encode_document(SENTENCES)
    yield model.encode(SENTENCES, prompt="")
    model.default_prompt_name = "query"
    yield model.encode(SENTENCES)


def shorter_texts_and_vectors(model, util):
    yield np.array([model.get_max_seq_length(), model.get_embedding_dimension()])
    model.max_seq_length = 6
    yield model.encode(SENTENCES)
    yield model.encode(SENTENCES, truncate_dim=9, normalize_embeddings=True)
    model.truncate_dim = 5
    yield model.encode(SENTENCES, normalize_embeddings=True)
    yield model.encode(SENTENCES, truncate_dim=9)


def smaller_numbers(model, util):
    embeddings = model.encode(SENTENCES)
    for precision in ("float32", "int8", "uint8", "binary", "ubinary"):
        yield model.encode(SENTENCES, precision=precision)
        yield util.quantize_embeddings(embeddings, precision=precision)
    yield model.encode("good", precision="ubinary")
    yield model.encode(SENTENCES, precision="int8", convert_to_tensor=True)


@pytest.mark.parametrize(
    "example",
    [
        encode_and_compare,
        one_sentence,
        search_by_meaning,
        with_prompts,
        shorter_texts_and_vectors,
        smaller_numbers,
    ],
)
def test_calls_of_the_librarys_users(library, save, their_model, example):
    """The programs of its documentation give the same with our class in place of theirs."""
    folder = save(after=[("Dense", "size", 19)], prompts=PROMPTS["prompts"])
    util = SimpleNamespace(**vars(library.util) | {"quantize_embeddings": library.quantize_embeddings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = list(example(their_model(folder), util))
    ours = list(example(SentenceEncoder.from_pretrained(folder), util))
    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        assert type(mine) is type(expected) and mine.dtype == expected.dtype
        mine, expected = (np.asarray(value) for value in (mine, expected))
        if np.issubdtype(expected.dtype, np.integer):
            assert np.array_equal(mine, expected)
        else:
            assert_same(mine, expected)


@pytest.mark.parametrize("shape", [(0, 20), (3, 20), (200, 20), (200, 16)])
@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_quantization_is_theirs(library, shape, precision):
    vectors = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    vectors[:, 3] = 0.5  # a feature without a range
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.quantize_embeddings(vectors, precision=precision)
    ours = sentence.quantize(vectors, precision)
    assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


def test_ranges_of_one_vector_are_refused(tiny_folder):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    with pytest.raises(InputError, match="precision int8 needs the ranges of several vectors"):
        encoder.encode("good", precision="int8")


def test_any_iterable_is_encoded(tiny_folder, texts):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    expected = encoder.encode(texts)
    for given in (tuple(texts), np.array(texts), iter(texts), (text for text in texts)):
        np.testing.assert_array_equal(encoder.encode(given), expected)


def test_nan_is_an_error_that_says_where(folder, texts):
    for file, name, said in (
        ("2_Dense/model.safetensors", "linear.weight", "in after.0.linear.weight; take other weights"),
        (
            "model.safetensors",
            "encoder.layer.1.output.dense.bias",
            "in encoder.layers.1.feed_forward.output.bias",
        ),
    ):
        tensors = load_file(folder / file)
        tensors[name].view(-1)[0] = torch.nan
        save_file(tensors, folder / file, metadata={"format": "pt"})
        encoder = SentenceEncoder.from_pretrained(folder)
        with pytest.raises(InputError, match=f"the weights have NaN or infinite numbers {said}"):
            encoder.encode(texts)
        if file == "model.safetensors":
            with pytest.raises(InputError, match="the weights have NaN"):
                encoder.encode("good", output_value="token_embeddings")
