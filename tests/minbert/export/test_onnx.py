"""Export to ONNX: onnxruntime gives our vectors for batches of any shape; what is wrong is refused.

Run: pytest tests/minbert/export/test_onnx.py
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch

from minbert import (
    InputError,
    Normalize,
    Pooling,
    Projection,
    SentenceEncoder,
    SentenceModules,
    Tokenizer,
    write_modules,
)
from minbert.export import onnx as graphs
from minbert.export.encoder import export_encoder
from minbert.export.onnx import GraphExport, SentenceGraph, largest_difference, traceable, write_graph

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
slow = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def session_of(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def run(session, folder, texts: list[str], max_length: int) -> np.ndarray:
    """The vectors of texts by onnxruntime and tokenizer.json alone."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.truncation is tokenizer.padding is None
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(texts)
    parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    inputs = {name: np.array([getattr(e, part) for e in encoded]) for name, part in parts.items()}
    [vectors] = session.run(["sentence_embedding"], inputs)
    return vectors


@pytest.mark.parametrize(
    ("pooling", "normalize", "size"),
    [
        pytest.param("mean", "l2", None, marks=slow),
        pytest.param("cls", None, 7, marks=slow),
        pytest.param("pooler", "l1", None, marks=slow),
        pytest.param("max", "l2", 7, marks=slow),
    ],
)
def test_onnxruntime_gives_our_vectors(export, tiny_folder, tmp_path, texts, pooling, normalize, size):
    source = tmp_path / "source"
    shutil.copytree(tiny_folder, source)
    if size is not None:
        torch.manual_seed(0)
        write_modules(source, SentenceModules.of(24, projection=Projection(24, size)))
    words = ["--pooling", pooling, "--normalize", normalize or "none"]
    report = export(source, tmp_path / "out", "--format", "onnx", *words)
    assert report["files"] == ["README.md", "model.onnx", "tokenizer.json"]
    assert 0 < report["largest_difference"] < 1e-5
    ours = SentenceEncoder.from_pretrained(source, pooling, normalize)
    session = session_of(tmp_path / "out")
    for batch in (texts, texts[:1], [""], ["good"] * 5, ["a b c d e f g h " * 20, "good"]):
        found = run(session, tmp_path / "out", batch, 64)
        assert found.dtype == np.float32 and found.shape == (len(batch), size or 24)
        np.testing.assert_allclose(found, ours.encode(batch), rtol=0, atol=1e-5)


@slow
def test_a_pipeline_of_modules(export, tiny_folder, tmp_path, texts):
    source = shutil.copytree(tiny_folder, tmp_path / "source")
    torch.manual_seed(0)
    pooling = Pooling(24, "weightedmean", "lasttoken", "mean_sqrt_len_tokens", "cls")
    after = [torch.nn.LayerNorm(96), Projection(96, 9, torch.nn.GELU), Normalize(), Projection(9, 7)]
    write_modules(source, SentenceModules(pooling, *after))
    settings = {"prompts": {"query": "a "}, "default_prompt_name": "query", "truncate_dim": 5}
    (source / "config_sentence_transformers.json").write_text(json.dumps(settings))
    export(source, tmp_path / "out", "--format", "onnx")
    session = session_of(tmp_path / "out")
    found = run(session, tmp_path / "out", [f"a {text}" for text in texts], 64)
    ours = SentenceEncoder.from_pretrained(source).encode(texts)
    assert found.shape == (len(texts), 5)
    np.testing.assert_allclose(found, ours, rtol=0, atol=1e-5)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["prompts"])["query"] == "a " and facts["default_prompt_name"] == "query"


def test_a_graph_cannot_leave_prompts_out(export, tiny_folder, tmp_path):
    source = shutil.copytree(tiny_folder, tmp_path / "source")
    write_modules(source, SentenceModules(Pooling(24, include_prompt=False)))
    with pytest.raises(InputError, match="include_prompt of the pooling is false, and a graph of tokens"):
        export(source, tmp_path / "out", "--format", "onnx")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def exported(tiny_folder, tmp_path_factory):
    """A graph with mean pooling, and the folder that it is from."""
    folder = tmp_path_factory.mktemp("graphs") / "out"
    export_encoder(tiny_folder, folder, "onnx", "mean", None)
    return folder


def test_inputs_and_outputs(exported):
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ["batch", "sequence"])
    assert shapes == inputs | {"sentence_embedding": ["batch", 24]}
    assert {value.type.tensor_type.elem_type for value in model.graph.input} == {onnx.TensorProto.INT64}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    facts = session_of(exported).get_modelmeta().custom_metadata_map
    assert facts == {"max_length": "64", "pooling": "mean", "normalize": "none"}


def test_nothing_of_this_machine_is_in_it(exported):
    content = (exported / "model.onnx").read_bytes()
    for trace in (b"site-packages", b".py", b"stack_trace", str(exported.parent).encode()):
        assert trace not in content


def test_the_weights_are_in_it_bit_by_bit(exported, tiny):
    model = onnx.load(exported / "model.onnx")
    held = {onnx.numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}
    word = tiny.embeddings.word.weight.detach().numpy()
    assert word.tobytes() in held
    matrices = [p.detach() for name, p in tiny.named_parameters() if p.ndim == 2 and "pooler" not in name]
    assert all(m.numpy().tobytes() in held or m.t().contiguous().numpy().tobytes() in held for m in matrices)


def test_padding_masks_and_token_types_as_ours(exported, tiny):
    """Left padding, padding in the middle, a row without tokens; token types and what stands in padding."""
    torch.manual_seed(0)
    ids, types = torch.randint(0, 40, (4, 6)), torch.randint(0, 2, (4, 6))
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 0], [0] * 6])
    names = ("input_ids", "attention_mask", "token_type_ids")
    session = session_of(exported)
    inputs = dict(zip(names, (ids.numpy(), mask.numpy(), types.numpy()), strict=True))
    [found] = session.run(None, inputs)
    with torch.no_grad():
        rows = tiny(ids, mask, types).last_hidden_state
    expected = (rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert not found[3].any()
    inputs["input_ids"] = np.where(mask.numpy(), ids.numpy(), 0)  # what stands in padding decides nothing
    np.testing.assert_allclose(session.run(None, inputs)[0], found, rtol=0, atol=1e-6)
    with pytest.raises(Exception, match="(?i)out of|invalid"):  # more columns than there are positions
        session.run(None, {name: np.ones((1, 65), dtype=np.int64) for name in names})


def test_the_program_in_the_readme_runs(exported, tiny_folder, monkeypatch):
    monkeypatch.chdir(exported)
    text = (exported / "README.md").read_text("utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(program, names)
    [texts] = re.findall(r"encode_batch\((\[.*\])\)", program)
    ours = SentenceEncoder.from_pretrained(tiny_folder).encode(json.loads(texts))
    np.testing.assert_allclose(names["outputs"][0], ours, rtol=0, atol=1e-5)
    assert "`sentence_embedding` (B, 24): Pooling(24, mean)" in text
    assert "S is at most\n64" in text and "cut to 64 tokens" in text


@slow
def test_an_adapter_and_parts_that_bert_has_not(export, load, with_adapters, tiny_folder, tmp_path, texts):
    """LoRA is merged; projected attention and layers on heads are in the graph as they are."""
    folder = tmp_path / "variant"
    shutil.copytree(tiny_folder, folder)
    parts = {"projected_attention_size": 12, "projected_attention_names": ("sst", "sts")}
    model = load(attention_head_layers=1, **parts)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    for source in (with_adapters, folder):
        out = tmp_path / f"{source.name}-out"
        report = export(source, out, "--format", "onnx", "--adapter", "sts")
        assert report["largest_difference"] < 1e-5
        found = run(session_of(out), out, texts, 64)
        ours = {
            name: SentenceEncoder.from_pretrained(source, adapter=name).encode(texts)
            for name in ("sst", "sts")
        }
        np.testing.assert_allclose(found, ours["sts"], rtol=0, atol=1e-5)
        assert abs(found - ours["sst"]).max() > 1e-2


@slow
def test_opsets(export, tiny_folder, tmp_path):
    export(tiny_folder, tmp_path / "out", "--format", "onnx", "--opset", "20")
    assert onnx.load(tmp_path / "out" / "model.onnx").opset_import[0].version == 20
    for opset in (9, 99):  # torch writes 18 then, without a word
        with pytest.raises(InputError, match=f"cannot write opset {opset}, it wrote 18; take 18"):
            export(tiny_folder, tmp_path / "other", "--format", "onnx", "--opset", opset)
    assert not (tmp_path / "other").exists()


PROGRAM = """
import sys
from minbert import CommandParser
from minbert.cli.export import add_export_options, export_command

parser = CommandParser()
add_export_options(parser)
export_command(parser.parse_args(sys.argv[1:]))
"""


@slow
def test_no_noise(tiny_folder, tmp_path):
    """In a process of its own, where nothing catches what the exporter says on the way; warnings raise."""
    words = [str(tiny_folder), str(tmp_path / "out"), "--format", "onnx", "--pooling", "mean"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""
    files, difference = done.stdout.splitlines()
    assert files == f"wrote {tmp_path / 'out'}: README.md, model.onnx, tokenizer.json"
    assert re.fullmatch(r"largest difference from our own outputs: \d\.\de-0[67]", difference)


# --- what is refused ----------------------------------------------------------------------------------------


def graph_export(tiny, tiny_folder, graph, expected) -> GraphExport:
    tokenizer = Tokenizer.from_pretrained(tiny_folder)
    return GraphExport(graph, expected, {"sentence_embedding": "(B, 24)"}, tiny.config, tokenizer, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda vectors: vectors + 1e-3, r"sentence_embedding differs by 1\.0e-03 from ours"),
        (lambda vectors: vectors * float("nan"), "sentence_embedding differs by inf from ours"),
        (lambda vectors: vectors[:, :5], r"sentence_embedding has shape \(3, 24\), ours \(3, 5\)"),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(exported, tiny, tiny_folder, change, message):
    ours = SentenceGraph(tiny, SentenceModules.of(24))
    export = graph_export(tiny, tiny_folder, ours, lambda batch: (change(ours.vectors(batch)),))
    with pytest.raises(InputError, match=message):
        largest_difference(exported / "model.onnx", export)


def test_what_cannot_be_traced_is_refused(tiny, tiny_folder, tmp_path):
    class Branches(SentenceGraph):
        def forward(self, *inputs):
            [vectors] = super().forward(*inputs)
            return (vectors if vectors.sum() > 0 else -vectors,)

    export = graph_export(tiny, tiny_folder, Branches(traceable(tiny), SentenceModules.of(24)), None)
    with pytest.raises(InputError, match="cannot write this as ONNX with opset 18: .*; try opset 18"):
        write_graph(tmp_path, export)


@slow
def test_a_graph_that_is_tied_to_a_number_of_sentences_is_refused(tiny, tiny_folder, tmp_path):
    class Tied(SentenceGraph):
        def forward(self, *inputs):
            [vectors] = super().forward(*inputs)
            return (torch.cat(torch.cat([vectors, vectors]).chunk(2)[:1]),)

    ours = SentenceGraph(tiny, SentenceModules.of(24))
    graph = Tied(traceable(tiny), SentenceModules.of(24))
    export = graph_export(tiny, tiny_folder, graph, lambda batch: (ours.vectors(batch),))
    with pytest.raises(
        InputError, match="onnxruntime cannot run the graph .*[Ii]nvalid dim.*; nothing was written"
    ):
        write_graph(tmp_path, export)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(export, tiny_folder, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'missing .*{package}.*; pip install "minbert\[onnx\]"'):
        export(tiny_folder, tmp_path / "out", "--format", "onnx")
    assert not (tmp_path / "out").exists()


@slow
def test_weights_beyond_one_file_lie_beside_it(export, tiny_folder, tmp_path, texts, monkeypatch):
    monkeypatch.setattr(graphs, "ONE_FILE", 1000)
    report = export(tiny_folder, tmp_path / "out", "--format", "onnx")
    assert report["files"] == ["README.md", "model.onnx", "model.onnx.data", "tokenizer.json"]
    ours = SentenceEncoder.from_pretrained(tiny_folder).encode(texts)
    (tmp_path / "out").rename(tmp_path / "moved")
    found = run(session_of(tmp_path / "moved"), tmp_path / "moved", texts, 64)
    np.testing.assert_allclose(found, ours, rtol=0, atol=1e-5)


@slow
def test_real_weights(export, minilm, tmp_path):
    report = export(minilm, tmp_path / "out", "--format", "onnx")
    assert report["largest_difference"] < 1e-5
    ours = SentenceEncoder.from_pretrained(minilm)
    session = session_of(tmp_path / "out")
    for batch in (["Is this a café, or a naïve 咖啡馆?", "", "word " * 300, "A shorter one!"], ["One."]):
        found = run(session, tmp_path / "out", batch, 256)
        np.testing.assert_allclose(found, ours.encode(batch), rtol=0, atol=1e-5)
