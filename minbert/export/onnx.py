"""An encoder as an ONNX graph, compared with ours, with a README on how to run it."""

import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from minbert.adapters.attention_adapters import add_attention_adapters, attention_adapters
from minbert.adapters.registry import use_adapter
from minbert.batch import Batch
from minbert.cli.shown_text import markdown_text
from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.export.hf import merged_encoder
from minbert.files import atomic_write
from minbert.model import BertModel
from minbert.pooling import SentenceModules
from minbert.sentence import SentenceEncoder
from minbert.tokenizer import Tokenizer

_PROGRAMS = {
    "text": 'first = tokenizer.encode_batch(["a text", "another, longer one"])',
    "pair": 'first = tokenizer.encode_batch([("a text", "its pair"), ("another", "and its pair")])',
    "pair of towers": (
        'first = tokenizer.encode_batch(["a text", "another, longer one"])\n'
        'second = tokenizer.encode_batch(["its pair", "and the pair of the other one"])'
    ),
    "words": 'first = tokenizer.encode_batch([["Some", "words"], ["more"]], is_pretokenized=True)',
}
_TOWER = """\
    "input_ids{end}": np.array([e.ids for e in {side}], dtype=np.int64),
    "attention_mask{end}": np.array([e.attention_mask for e in {side}], dtype=np.int64),
    "token_type_ids{end}": np.array([{types} for e in {side}], dtype=np.int64),
"""


def readme(export) -> str:
    """README.md of a GraphExport."""
    towers = [("", "first"), ("_2", "second")][: export.towers]
    types = "e.type_ids" if export.tokenizer.has_token_types else "[0] * len(e.ids)"
    inputs = "".join(_TOWER.format(end=end, side=side, types=types) for end, side in towers)
    shapes = "(B, S)" + (", those with _2 (B, S2)" if export.towers == 2 else "")
    outputs = "\n".join(f"- `{name}` {about}" for name, about in export.outputs.items())
    facts = "".join(f"\n- {name}: {markdown_text(value)}" for name, value in export.facts.items())
    return f"""\
# A BERT as an ONNX graph

Inputs: {", ".join(f"`{name}`" for name in export.inputs)}, int64 {shapes}; B and S are free, S is at most
{export.config.max_length}. The mask is 1 at tokens and 0 at padding, which changes no output.

Outputs, float32:

{outputs}

Texts are cut to {export.max_length} tokens. This, and what follows, stands in the model's metadata too:
{facts}

`pip install onnxruntime tokenizers` is all that it needs:

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({export.max_length}, direction="{export.tokenizer.truncation_side}")
tokenizer.enable_padding(pad_id={export.tokenizer.pad_token_id or 0})
session = onnxruntime.InferenceSession("model.onnx")
{_PROGRAMS[export.texts]}
inputs = {{
{inputs}}}
outputs = session.run(None, inputs)
```
"""


OPSET = 18  # the one that torch's exporter writes without a translation
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
GRAPH = "model.onnx"
TOLERANCE = 1e-5  # of the largest value of an output
ONE_FILE = 1_500_000_000  # bytes of weights; a file of ONNX holds 2 GB
# The lengths of the sequences of each batch that is compared; the model's own limit caps them.
LENGTHS = ((9, 5, 0), (1,), (1, 1, 1, 1, 1), (14,), (10_000, 20))


@dataclass(frozen=True)
class GraphExport:
    """One graph and what stands for it on our side. `towers` is 2 where a pair is two inputs, else 1.

    `graph` makes of 3 or 6 padded inputs a tuple of tensors; `expected` makes the same of one packed Batch of
    B or 2B sequences, all first sides, then all second ones. `outputs` says of each by its name what it is.
    `texts` is what an example consists of: text, pair (joined), pair of towers, or words.
    """

    graph: nn.Module
    expected: Callable[[Batch], Sequence[Tensor]]
    outputs: Mapping[str, str]
    config: BertConfig
    tokenizer: Tokenizer
    max_length: int
    texts: str = "text"
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def towers(self) -> int:
        return 2 if self.texts == "pair of towers" else 1

    @property
    def inputs(self) -> list[str]:
        """input_ids, attention_mask, token_type_ids; and of a second tower the same with _2."""
        return [f"{name}{end}" for end in ("", "_2")[: self.towers] for name in INPUTS]


def traceable(model: BertModel) -> BertModel:
    """The same weights in a model of plain tensor operations; InputError for LoRA, which is to be merged."""
    with torch.device("meta"):
        copied = BertModel(model.config, "reference", pooler=model.pooler is not None)
        add_attention_adapters(copied, attention_adapters(model))
    copied.load_state_dict(model.state_dict(), assign=True)
    return copied.eval()


def rectangle(token_ids: Tensor, mask: Tensor, token_types: Tensor) -> Batch:
    """Three inputs of the graph (B, S) as a rectangular Batch."""
    return Batch.from_padded(token_ids, mask != 0, token_types, packed=False)


class SentenceGraph(nn.Module):
    """Padded inputs -> one vector a sentence: what the modules give, cut to `size` features."""

    def __init__(self, model: BertModel, modules: SentenceModules, size: int | None = None):
        super().__init__()
        self.model = model
        self.sentence_modules = modules
        self.size = size

    def vectors(self, batch: Batch) -> Tensor:
        output = self.model(batch, cls_only=self.sentence_modules.pooling.first_token_only)
        return self.sentence_modules(output)[:, : self.size]

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.vectors(rectangle(*inputs)),)


def write_sentence_graph(
    folder: Path, encoder: SentenceEncoder, adapter: str | None = None, opset: int | None = None
) -> float:
    """Writes an encoder as a graph with the output `sentence_embedding`; -> the largest difference from ours.

    The adapter of that name is in use; a LoRA is merged. Raises InputError as `write_graph` does, and for a
    pooling that leaves out prompts, which a graph of tokens does not know.
    """
    if not encoder.modules.pooling.include_prompt:
        raise InputError(
            "include_prompt of the pooling is false, and a graph of tokens does not know a prompt's; take "
            "--format sentence-transformers"
        )
    model = traceable(merged_encoder(encoder.model, adapter))
    use_adapter(model, adapter)
    modules = encoder.modules
    ours = SentenceGraph(encoder.model, modules, encoder.size)
    described = ", ".join(modules.describe())
    facts = {
        "pooling": ", ".join(modules.pooling.modes),
        "normalize": str(modules.normalization).lower(),
    }
    if any(encoder.prompts.values()):  # the caller puts them before texts
        facts["prompts"] = json.dumps(encoder.prompts)
        facts["default_prompt_name"] = str(encoder.default_prompt_name)
    export = GraphExport(
        SentenceGraph(model, modules, encoder.size),
        lambda batch: (ours.vectors(batch),),
        {"sentence_embedding": f"(B, {encoder.size}): {described}"},
        model.config,
        encoder.tokenizer,
        encoder.max_length,
        facts=facts,
    )
    return write_graph(folder, export, opset)


def write_graph(folder: Path, export: GraphExport, opset: int | None = None) -> float:
    """Writes model.onnx, tokenizer.json and README.md; -> the largest difference of an output from ours.

    Raises InputError where onnx, onnxruntime or onnxscript is missing, for an opset that torch cannot write,
    for what cannot be traced, and where onnxruntime computes something else than we do.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when onnxruntime is loaded
    for package in ("onnx", "onnxruntime", "onnxscript"):
        _import(package)
    folder.mkdir(parents=True, exist_ok=True)
    _save(_trace(export, OPSET if opset is None else opset), folder / GRAPH, export)
    difference = largest_difference(folder / GRAPH, export)
    with atomic_write(folder / "tokenizer.json") as file:
        file.write(export.tokenizer.backend.to_str(pretty=True))
    with atomic_write(folder / "README.md") as file:
        file.write(readme(export))
    return difference


def _import(package: str):
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f'the onnx format needs a package that is missing ({error}); pip install "minbert[onnx]"'
        ) from None


def _trace(export: GraphExport, opset: int):
    """The graph as an onnx.ModelProto."""
    count, columns = torch.export.Dim("batch"), ("sequence", "sequence_2")[: export.towers]
    shapes = [{0: count, 1: dim} for dim in map(torch.export.Dim, columns) for _ in INPUTS]
    inputs = [tensor for length in (7, 9)[: export.towers] for tensor in torch.ones(3, 2, length).long()]
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                export.graph.eval(),
                tuple(inputs),
                dynamo=True,
                input_names=export.inputs,
                output_names=list(export.outputs),
                dynamic_shapes=(tuple(shapes),),
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # torch and onnxscript raise what they like
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"torch {torch.__version__} cannot write this as ONNX with opset {opset}: {reason[0]}; try opset "
            f"{OPSET}, or another format"
        ) from error
    proto = program.model_proto
    written = next(entry.version for entry in proto.opset_import if entry.domain == "")
    if written != opset:  # as torch does, without a word, where it knows no way to the one that was asked for
        raise InputError(
            f"torch {torch.__version__} cannot write opset {opset}, it wrote {written}; take {OPSET}"
        )
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's exporter from talking of its own affairs: missing packages, deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _save(proto, path: Path, export: GraphExport) -> None:
    """Writes the graph without the exporter's notes, which name files of this machine."""
    onnx = _import("onnx")
    graph = proto.graph
    for entry in (
        proto,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        del entry.metadata_props[:]
        entry.doc_string = ""
    onnx.helper.set_model_props(proto, {"max_length": str(export.max_length), **export.facts})
    weights = sum(parameter.nbytes for parameter in export.graph.parameters())
    onnx.save_model(proto, str(path), save_as_external_data=weights > ONE_FILE, location=f"{path.name}.data")


def largest_difference(path: Path, export: GraphExport) -> float:
    """The largest difference between onnxruntime's outputs and ours, over batches of many shapes.

    Among them one sequence, one token, the longest sequences, token types, padding, and a sequence without
    any token. Raises InputError for a graph that is not valid, and for a difference beyond rounding.
    """
    onnx, onnxruntime = _import("onnx"), _import("onnxruntime")
    with _refusals("check"):
        onnx.checker.check_model(str(path))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    with _refusals("load"):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    differences, sizes = dict.fromkeys(export.outputs, 0.0), dict.fromkeys(export.outputs, 0.0)
    for sides in _probes(export):
        padded = [Batch.from_sequences(ids, types).padded() for ids, types in sides]
        tensors = [side[name].numpy() for side in padded for name in INPUTS]
        with _refusals("run"):
            found = session.run(list(export.outputs), dict(zip(export.inputs, tensors, strict=True)))
        joined = Batch.from_sequences(*(sum(part, []) for part in zip(*sides, strict=True)))
        with torch.no_grad():
            expected = export.expected(joined)
        for name, array, tensor in zip(export.outputs, found, expected, strict=True):
            if array.shape != tuple(tensor.shape):
                raise _different(f"{name} has shape {array.shape}, ours {tuple(tensor.shape)}")
            difference = float((torch.from_numpy(array) - tensor).abs().amax())
            differences[name] = max(difference, differences[name]) if difference == difference else math.inf
            sizes[name] = max(float(tensor.abs().amax()), sizes[name])
    for name, difference in differences.items():
        if not difference <= TOLERANCE * sizes[name]:
            raise _different(f"{name} differs by {difference:.1e} from ours, of up to {sizes[name]:.1e}")
    return max(differences.values())


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turns what onnx and onnxruntime raise, each its own kinds, into an InputError."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"onnxruntime cannot {what} the graph ({' '.join(str(error).split())[:200]}); nothing was "
            f"written: try --opset {OPSET}, or another version of onnxruntime"
        ) from error


def _different(what: str) -> InputError:
    return InputError(
        f"onnxruntime's {what}; nothing was written: try --opset {OPSET}, or another version of onnxruntime"
    )


def _probes(export: GraphExport) -> Iterator[list[tuple[list[list[int]], list[list[int]]]]]:
    """Batches of random tokens, always the same ones: for each tower ids and token types of B sequences."""
    config, generator = export.config, torch.Generator().manual_seed(0)

    def draw(limit: int, lengths: Sequence[int]) -> list[list[int]]:
        return [torch.randint(limit, (length,), generator=generator).tolist() for length in lengths]

    for lengths in LENGTHS:
        lengths = [min(length, config.max_length) for length in lengths]
        # The second tower has other lengths than the first.
        towers = [lengths, [max(length - 1, 1) for length in reversed(lengths)]][: export.towers]
        yield [
            (draw(config.vocab_size, tower), draw(max(config.type_vocab_size, 1), tower)) for tower in towers
        ]
