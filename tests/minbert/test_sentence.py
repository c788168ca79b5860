"""SentenceEncoder equals sentence-transformers, reads its folders of both dialects, and streams.

Run: pytest tests/minbert/test_sentence.py
"""

import itertools
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from minbert import (
    InputError,
    LoRAConfig,
    Projection,
    SentenceEncoder,
    add_lora,
    sentence,
    use_adapter,
    write_modules,
)
from minbert.batch import sorted_batches
from minbert.sentence import BATCH_TOKENS, CHUNK


def sentence_transformers():
    """The library, whose import and loading warn about matters of their own."""
    warnings.simplefilter("ignore")
    return pytest.importorskip("sentence_transformers", reason="compares with sentence-transformers")


# --- our own behaviour --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max"])
@pytest.mark.parametrize("normalize", ["l1", "l2", None])
def test_order_is_kept_and_each_vector_is_its_own(tiny_folder, texts, pooling, normalize):
    encoder = SentenceEncoder.from_pretrained(tiny_folder, pooling, normalize)
    together = encoder.encode(texts)
    assert together.shape == (len(texts), 24) and together.dtype == np.float32
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, rtol=0, atol=1e-5)
    if normalize:
        lengths = np.linalg.norm(together, ord=1 if normalize == "l1" else 2, axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_defaults_of_a_folder_without_modules(tiny_folder, texts):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    assert (encoder.pooling, encoder.normalize, encoder.projection) == ("mean", None, None)
    assert encoder.max_length == 64 and encoder.size == 24
    batch = encoder.tokenizer(texts)
    hidden = encoder.model(batch).last_hidden_state
    mask = batch.padded()["attention_mask"].unsqueeze(-1)
    mean = ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).detach().numpy()
    np.testing.assert_allclose(encoder.encode(texts), mean, rtol=0, atol=1e-5)


def test_empty_list(tiny_folder):
    vectors = SentenceEncoder.from_pretrained(tiny_folder).encode([])
    assert vectors.shape == (0, 24) and vectors.dtype == np.float32


def test_one_string_is_refused(tiny_folder):
    with pytest.raises(InputError, match="texts is one string"):
        SentenceEncoder.from_pretrained(tiny_folder).encode("hello")


def test_stream_reads_one_piece_ahead(tiny_folder):
    """Of an endless generator: the pieces that were asked for, and the one that is tokenized meanwhile."""
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    read = itertools.count()
    endless = ("cat" if next(read) % 2 else "a good dog" for _ in itertools.repeat(None))
    stream = encoder.stream(endless)
    first, second = next(stream), next(stream)
    assert len(first) == len(second) == CHUNK and next(read) == 3 * CHUNK
    expected = encoder.encode(["a good dog", "cat"])
    np.testing.assert_allclose(second, np.tile(expected, (CHUNK // 2, 1)), rtol=0, atol=1e-5)


def test_batches_of_a_large_piece_have_few_sizes(tiny_folder, texts, monkeypatch):
    """Multiples of a power of 2, 1/64 of the piece at most; no vector changes, few texts have no filler."""
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    sizes = []
    encoder.model.embeddings.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    tokens = sum(len(sequence.ids) for sequence in encoder.tokenizer.encode(texts))
    expected = encoder.encode(texts)
    assert sizes == [tokens]
    monkeypatch.setattr(sentence, "BATCH_TOKENS", 128)
    for repeated, step in ((1, 1), (2, 2), (40, 64), (400, 256)):  # of 113 tokens
        monkeypatch.setattr(sentence, "CHUNK", repeated * len(texts))
        sizes.clear()
        vectors = encoder.encode(texts * repeated)
        np.testing.assert_allclose(vectors, np.tile(expected, (repeated, 1)), rtol=0, atol=1e-6)
        assert {size % step for size in sizes} == {0} and len(sizes) >= repeated * tokens / 128
        assert sum(sizes) - repeated * tokens < step * len(sizes)


def test_freed_memory_is_returned_after_some_batches(tiny_folder, texts, monkeypatch):
    """Not in calls of few texts, which would then have to ask for it again."""
    returned = []
    monkeypatch.setattr(sentence, "return_freed_memory", lambda: returned.append(1))
    monkeypatch.setattr(sentence, "BATCH_TOKENS", 128)
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    encoder.encode(texts)
    assert not returned
    encoder.encode(["good"] * 42 * 9)  # of 3 tokens
    assert len(returned) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_memory_goes_back_to_the_system():
    """Half a heap of freed blocks, with the blocks between them still in use."""
    program = """
import sys
from minbert.sentence import return_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
blocks = [bytearray(100_000) for _ in range(2000)]
for block in blocks:
    block[::4096] = bytes(len(block[::4096]))
del blocks[::2]
before = resident()
return_freed_memory()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000


def test_batches_by_tokens():
    lengths = [5, 900, 3000, 2, 5000, 4000, 40, 1]
    batches = sorted_batches(lengths, BATCH_TOKENS)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert batches[0] == [4]  # too long for any company
    assert all(sum(lengths[i] for i in batch) <= BATCH_TOKENS for batch in batches[1:])
    assert len(batches) == 3  # 5000; 4000; and the rest: 3948
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)
    assert sorted_batches([], BATCH_TOKENS) == []


def test_half_precision_is_near_and_named(tiny_folder, texts):
    encoder = SentenceEncoder.from_pretrained(tiny_folder, normalize="l2")
    full, half = encoder.encode(texts), encoder.encode(texts, precision="bf16")
    assert half.dtype == np.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose((full * half).sum(axis=1), 1, atol=1e-2)
    chosen = {"fp32": full, "bf16": half}[encoder.resolve("auto")]
    assert np.array_equal(encoder.encode(texts, precision="auto"), chosen)
    for some in (texts, []):
        with pytest.raises(InputError, match="precision is 'fp8'"):
            encoder.encode(some, precision="fp8")
        with pytest.raises(InputError, match="fp16 needs a CUDA device, this is cpu; take bf16 or fp32"):
            encoder.encode(some, precision="fp16")


@pytest.mark.parametrize("checks", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_instructions_that_torch_does_not_know_of_are_not_there(checks, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not sentence.has_bf16_instructions()
    monkeypatch.setattr(torch.cpu, checks, lambda: True, raising=False)
    assert sentence.has_bf16_instructions()


def test_auto_is_bf16_where_the_cpu_has_it(tiny_folder, monkeypatch):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    for has_it, chosen in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(sentence, "has_bf16_instructions", lambda has_it=has_it: has_it)
        assert encoder.resolve("auto") == chosen


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_half_precision_follows_the_weights(tiny_folder, texts, pooling):
    """The copy in bf16 is made once, and anew after a step of training, new weights, another adapter."""
    encoder = SentenceEncoder.from_pretrained(tiny_folder, pooling, "l2")
    model = encoder.model
    half = encoder.half.current(torch.bfloat16)
    assert encoder.half.current(torch.bfloat16) is half is not encoder.half.current(torch.float16)

    def check():
        full, half = encoder.encode(texts), encoder.encode(texts, precision="bf16")
        np.testing.assert_allclose((full * half).sum(axis=1), 1, atol=1e-2)
        return full

    seen = [check()]
    with torch.no_grad():
        model.encoder.layers[0].attention.value.weight.normal_()
    seen.append(check())
    model.load_state_dict({name: tensor * 0.5 for name, tensor in model.state_dict().items()})
    seen.append(check())
    add_lora(model, LoRAConfig(rank=2), names=("a", "b"))
    with torch.no_grad():
        model.encoder.layers[1].attention.query.adapters["b"].B.normal_()
        model.encoder.layers[1].attention.value.adapters["b"].B.normal_()
    check()
    use_adapter(model, "b")
    seen.append(check())
    assert not any(np.allclose(a, b, atol=1e-3) for a, b in itertools.combinations(seen, 2))
    assert next(model.parameters()).dtype == torch.float32


def test_texts_that_cannot_be_tokenized_are_refused_from_the_thread_too(tiny_folder, texts):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    with pytest.raises(InputError, match="text 3 is a int"):
        list(encoder.stream([*texts[:3], 7]))


def test_weights_in_half_precision_encode_too(tiny_folder, texts):
    for pooling in ("mean", "pooler"):
        encoder = SentenceEncoder.from_pretrained(tiny_folder, pooling, "l2")
        full = encoder.encode(texts)
        encoder.model.bfloat16()
        np.testing.assert_allclose((full * encoder.encode(texts)).sum(axis=1), 1, atol=2e-2)


def test_progress_is_shown_only_on_request(tiny_folder, texts, capsys):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    encoder.encode(texts)
    assert capsys.readouterr() == ("", "")
    encoder.encode(texts, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and f"{len(texts)}/{len(texts)}" in err


def test_long_text_is_cut(tiny_folder):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    words = ["cat", "dog"] * 500
    cut = encoder.encode([" ".join(words[:62])])  # 64 with the marks
    assert np.array_equal(encoder.encode([" ".join(words)]), cut)


def test_wrong_choices_are_refused(tiny_folder):
    with pytest.raises(InputError, match="pooling is 'meen'"):
        SentenceEncoder.from_pretrained(tiny_folder, pooling="meen")
    with pytest.raises(InputError, match="normalize is 'L2'"):
        SentenceEncoder.from_pretrained(tiny_folder, normalize="L2")


# --- folders of sentence-transformers -----------------------------------------------------------------------


@pytest.fixture
def write(tiny_folder, tmp_path):
    """Adds modules, in the dialect of old versions, to a copy of the tiny weights."""

    def write_folder(pooling="mean", normalize=None, **parts):
        folder = shutil.copytree(tiny_folder, tmp_path / "weights")
        write_modules(folder, 24, pooling, normalize, **parts)
        return folder

    return write_folder


@pytest.mark.parametrize(("pooling", "normalize"), [("cls", None), ("mean", "l2"), ("max", None)])
def test_old_dialect(write, texts, pooling, normalize):
    folder = write(pooling, normalize, max_length=9)
    encoder = SentenceEncoder.from_pretrained(folder)
    assert (encoder.pooling, encoder.normalize, encoder.max_length) == (pooling, normalize, 9)
    chosen = SentenceEncoder.from_pretrained(folder, pooling="max", normalize=None)
    assert (chosen.pooling, chosen.normalize) == ("max", None)  # the caller's
    theirs = sentence_transformers().SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(encoder.encode(texts), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("bias", [True, False])
def test_projection(tiny_folder, write, texts, activation, bias):
    projection = Projection(24, 7, activation, bias)
    encoder = SentenceEncoder.from_pretrained(write("mean", "l2", projection=projection))
    vectors = encoder.encode(texts)
    assert encoder.size == 7 and encoder.encode([]).shape == (0, 7)
    mean = SentenceEncoder.from_pretrained(tiny_folder).encode(texts).astype(np.float64)
    expected = mean @ projection.linear.weight.detach().double().numpy().T
    if bias:
        expected += projection.linear.bias.detach().numpy()
    if activation == "tanh":
        expected = np.tanh(expected)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["cls", "mean", "max"])
def test_folder_that_the_library_writes(tiny_folder, tmp_path, texts, mode):
    """The dialect of the installed version (6 moves the maximal length to the tokenizer's settings)."""
    library = sentence_transformers()
    models = library.models if hasattr(library, "models") else library.sentence_transformer.modules
    transformer = models.Transformer(str(tiny_folder))
    modules = [
        transformer,
        models.Pooling(24, pooling_mode=mode),
        models.Dense(24, 7, activation_function=torch.nn.Tanh()),
        models.Normalize(),
    ]
    theirs = library.SentenceTransformer(modules=modules, device="cpu")
    theirs.max_seq_length = 11
    theirs.save_pretrained(str(tmp_path / "saved"))
    encoder = SentenceEncoder.from_pretrained(tmp_path / "saved")
    assert (encoder.pooling, encoder.normalize, encoder.size) == (mode, "l2", 7)
    assert encoder.max_length == 11
    np.testing.assert_allclose(encoder.encode(texts), theirs.encode(texts), rtol=0, atol=1e-5)


def test_minilm_equals_the_library(minilm):
    library = sentence_transformers()
    texts = ["A man is eating food.", "", "caf\u00e9 \u4e2d\u6587 \U0001f600", "one two " * 200, "Hello!"]
    theirs = library.SentenceTransformer(str(minilm), device="cpu").encode(texts)
    encoder = SentenceEncoder.from_pretrained(minilm)
    assert (encoder.pooling, encoder.normalize, encoder.max_length) == ("mean", "l2", 256)
    np.testing.assert_allclose(encoder.encode(texts), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "normalize", "message"),
    [
        ("pooler", None, "pooling 'pooler' has no module; choose from cls, mean, max"),
        ("mean", "l1", "normalization 'l1' has no module; choose l2 or none"),
    ],
)
def test_what_has_no_module_is_refused_and_nothing_written(tmp_path, pooling, normalize, message):
    with pytest.raises(InputError, match=message):
        write_modules(tmp_path, 24, pooling, normalize)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "kinds",
    [
        "Transformer Pooling LSTM",
        "Transformer Pooling Normalize Dense",
        "Transformer Pooling Dense Dense",
        "Pooling Transformer",
    ],
)
def test_modules_in_another_order_or_unknown_are_refused(write, kinds):
    folder = write()
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds.split()]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="Transformer, Pooling, Dense, Normalize are supported"):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{", "modules.json is not JSON"),
        ("modules.json", "[1]", "modules.json is not a list of modules"),
        ("modules.json", '{"type": "Transformer"}', "modules.json is not a list of modules"),
        ("modules.json", '[{"type": "Transformer"}]', "modules.json is not a list of modules"),
        ("sentence_bert_config.json", "[]", "sentence_bert_config.json holds a list"),
        ("1_Pooling/config.json", "[]", "config.json holds a list"),
        ("1_Pooling/config.json", '{"pooling_mode_mean_sqrt_len_tokens": true}', "one of cls, mean, max is"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}',
            "one of cls, mean, max is",
        ),
        ("1_Pooling/config.json", '{"pooling_mode_mean_tokens": false}', "one of cls, mean, max is"),
        ("1_Pooling/config.json", '{"pooling_mode": "weightedmean"}', "one of cls, mean, max is"),
        ("1_Pooling/config.json", '{"pooling_mode": ["mean", "max"]}', "one of cls, mean, max is"),
        ("2_Dense/config.json", "{}", "2_Dense holds no Dense module"),
        ("2_Dense/config.json", '{"in_features": 24, "out_features": 9}', "2_Dense holds no Dense module"),
        (
            "2_Dense/config.json",
            '{"in_features": 24, "out_features": 7, "activation_function": "x.GELU"}',
            "activation 'gelu' does not",
        ),
        ("2_Dense/model.safetensors", "", "model.safetensors is damaged"),
    ],
)
def test_damaged_and_unknown_modules_are_refused(write, file, content, message):
    folder = write(projection=Projection(24, 7), max_length=9)
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=message):
        SentenceEncoder.from_pretrained(folder)
