"""SentenceEncoder: each vector is its sentence's own; batches, precisions, options, a stream.

Run: pytest tests/minbert/test_sentence.py
"""

import itertools
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
    Normalize,
    Pooling,
    Projection,
    SentenceEncoder,
    SentenceModules,
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
    assert encoder.modules.describe() == ["Pooling(24, mean)"]
    assert encoder.max_length == 64 and encoder.size == 24
    batch = encoder.tokenizer(texts)
    hidden = encoder.model(batch).last_hidden_state
    mask = batch.padded()["attention_mask"].unsqueeze(-1)
    mean = ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).detach().numpy()
    np.testing.assert_allclose(encoder.encode(texts), mean, rtol=0, atol=1e-5)


def test_empty_list(tiny_folder):
    vectors = SentenceEncoder.from_pretrained(tiny_folder).encode([])
    assert vectors.shape == (0, 24) and vectors.dtype == np.float32


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
    full, half = encoder.encode(texts), encoder.encode(texts, compute="bf16")
    assert half.dtype == np.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose((full * half).sum(axis=1), 1, atol=1e-2)
    chosen = {"fp32": full, "bf16": half}[encoder.resolve("auto")]
    assert np.array_equal(encoder.encode(texts, compute="auto"), chosen)
    for some in (texts, []):
        with pytest.raises(InputError, match="compute is 'fp8'; choose from fp32, bf16"):
            encoder.encode(some, compute="fp8")
        with pytest.raises(InputError, match="precision is 'fp8'; choose from float32, int8"):
            encoder.encode(some, precision="fp8")
        with pytest.raises(InputError, match="fp16 needs a CUDA device, this is cpu; take bf16 or fp32"):
            encoder.encode(some, compute="fp16")


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
        full, half = encoder.encode(texts), encoder.encode(texts, compute="bf16")
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
    encoder.encode(texts, show_progress_bar=True)
    out, err = capsys.readouterr()
    assert out == "" and f"{len(texts)}/{len(texts)}" in err


def test_the_old_names_of_options_go_on_with_a_note(tiny_folder, texts, capsys):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    with pytest.warns(DeprecationWarning, match="precision='bf16' is compute='bf16' now") as notes:
        half = encoder.encode(texts, precision="bf16")
    assert notes[0].filename == __file__
    np.testing.assert_array_equal(half, encoder.encode(texts, compute="bf16"))
    with pytest.warns(DeprecationWarning, match="progress is show_progress_bar now"):
        encoder.encode(texts, progress=True)
    assert f"{len(texts)}/{len(texts)}" in capsys.readouterr().err


def test_a_batch_has_at_most_the_sentences_asked_for(tiny_folder, texts):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    counts = []
    encoder.model.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    expected = encoder.encode(texts)
    np.testing.assert_allclose(encoder.encode(texts, batch_size=3), expected, rtol=0, atol=1e-6)
    assert counts == [len(texts), 3, 3, 2]


@pytest.mark.parametrize("name", ["batch_size", "truncate_dim"])
def test_numbers_below_one_are_refused(tiny_folder, texts, name):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    with pytest.raises(InputError, match=f"{name} is 0; it must be a whole number of at least 1"):
        encoder.encode(texts, **{name: 0})


def test_options_that_exclude_each_other(tiny_folder, texts):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    for options, message in (
        (dict(prompt="a", prompt_name="query"), "prompt and prompt_name are both given"),
        (dict(prompt_name="qurey"), "there is no prompt 'qurey'; choose from query, document"),
        (dict(output_value="sentence"), "choose sentence_embedding or token_embeddings"),
        (dict(output_value="token_embeddings", precision="int8"), "are for sentence_embedding; leave"),
    ):
        with pytest.raises(InputError, match=message):
            encoder.encode(texts, **options)
    with pytest.raises(InputError, match="precision int8 needs the ranges of all vectors; take encode"):
        next(encoder.stream(texts, precision="int8"))
    with pytest.raises(InputError, match="similarity_fn_name is 'cos'; choose from cosine, dot"):
        SentenceEncoder.from_pretrained(tiny_folder, similarity_fn_name="cos")


def test_moving_the_encoder_moves_its_modules(tiny_folder):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    encoder.modules = SentenceModules.of(24, projection=Projection(24, 7))
    assert encoder.to("meta") is encoder and encoder.device.type == "meta"
    assert {parameter.device.type for parameter in encoder.modules.parameters()} == {"meta"}


def test_long_text_is_cut(tiny_folder):
    encoder = SentenceEncoder.from_pretrained(tiny_folder)
    words = ["cat", "dog"] * 500
    cut = encoder.encode([" ".join(words[:62])])  # 64 with the marks
    assert np.array_equal(encoder.encode([" ".join(words)]), cut)


def test_wrong_choices_are_refused(tiny_folder):
    with pytest.raises(InputError, match="pooling 'meen' does not exist; .*; did you mean 'mean'?"):
        SentenceEncoder.from_pretrained(tiny_folder, pooling="meen")
    with pytest.raises(InputError, match="normalize is 'L2'"):
        SentenceEncoder.from_pretrained(tiny_folder, normalize="L2")


# --- folders ------------------------------------------------------------------------------------------------


def test_the_callers_pooling_and_normalization(tiny_folder, tmp_path, texts):
    """They take the place of the folder's; a normalisation within the modules stays."""
    folder = shutil.copytree(tiny_folder, tmp_path / "weights")
    after = [Normalize("l2"), Projection(24, 24), Normalize("l2")]
    write_modules(folder, SentenceModules(Pooling(24, "mean", "cls"), Projection(48, 24), *after), 9)
    encoder = SentenceEncoder.from_pretrained(folder, normalize=None)
    assert encoder.modules.describe()[-2:] == ["Normalize(l2)", "Projection(24, 24, Tanh)"]
    assert encoder.max_length == 9 and encoder.modules.normalization is None
    encoder = SentenceEncoder.from_pretrained(folder, normalize="l1")
    assert encoder.modules.describe()[-2:] == ["Projection(24, 24, Tanh)", "Normalize(l1)"]
    np.testing.assert_allclose(abs(encoder.encode(texts)).sum(axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="takes vectors of 48 features and gets 24"):
        SentenceEncoder.from_pretrained(folder, pooling="max")


def test_minilm_equals_the_library(minilm):
    library = sentence_transformers()
    texts = ["A man is eating food.", "", "caf\u00e9 \u4e2d\u6587 \U0001f600", "one two " * 200, "Hello!"]
    theirs = library.SentenceTransformer(str(minilm), device="cpu").encode(texts)
    encoder = SentenceEncoder.from_pretrained(minilm)
    assert repr(encoder) == "SentenceEncoder(Pooling(384, mean), Normalize(l2), max_length=256, device='cpu')"
    np.testing.assert_allclose(encoder.encode(texts), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([Pooling(24, "pooler")], "no module for BERT's pooler; take --format onnx, or pool by cls, mean"),
        ([Pooling(24), Normalize("l1")], "Normalize divides by the L2 length; take --format onnx"),
        ([Pooling(24), torch.nn.ReLU()], r"has no module for ReLU\(\); take Pooling, Dense"),
    ],
)
def test_what_has_no_module_is_refused_and_nothing_written(tmp_path, modules, message):
    with pytest.raises(InputError, match=message):
        write_modules(tmp_path, SentenceModules(*modules))
    assert not list(tmp_path.iterdir())
