"""The transformer of BERT from top to bottom: embeddings, self-attention, layers, pooler, BertModel.

Letters: B sequences, S columns of the padded input, T token rows, R rows of first tokens, D hidden size,
H heads, K = D / H head size, L layers.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node

from minbert.batch import Batch, Layout
from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.kernels.attention import attend, split_heads
from minbert.kernels.checkpointing import checkpointed
from minbert.kernels.dropout import Dropout
from minbert.kernels.kept_property import kept_property
from minbert.kernels.reference import attention_probabilities
from minbert.kernels.registry import activation, find_kernels, in_use, use
from minbert.pooling import first_rows
from minbert.weights.load import LoadReport
from minbert.weights.pretrained import load_pretrained, save_pretrained
from minbert.weights.transformers_arguments import check_arguments


class Linear(nn.Linear):
    """x W^T + b over token rows, and GELU of it on request, by the kernels in use."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:  # (T, in) -> (T, out)
        return in_use().linear(x, self.weight, self.bias, gelu)


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016) over the last dimension, by the kernels in use."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # (T, D) -> (T, D)
        return in_use().layer_norm(x, self.weight, self.bias, self.eps)


class Embeddings(nn.Module):
    """Token ids -> rows that the encoder starts from (Devlin et al. 2018, section 3 and figure 2).

    Embeddings of another size than the layers' are projected (Clark et al. 2020, section 3.2).
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        size = config.embedding_size or config.hidden_size
        counted = config.family.counts_positions
        self.word = _table(config.vocab_size, size, config.pad_token_id)
        self.position = _table(config.max_position_embeddings, size, config.pad_token_id if counted else None)
        self.token_type = _table(config.type_vocab_size, size) if config.type_vocab_size else None
        self.norm = LayerNorm(size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.projection = Linear(size, config.hidden_size) if size != config.hidden_size else None

    def forward(self, token_ids: Tensor, token_type_ids: Tensor, positions: Tensor) -> Tensor:
        """token_ids, token_type_ids, positions (T,) -> (T, D)"""
        summed = self.word(token_ids) + self.position(positions)
        if self.token_type is not None:
            summed = summed + self.token_type(token_type_ids)
        rows = self.dropout(self.norm(summed))
        return rows if self.projection is None else self.projection(rows)


def _table(count: int, size: int, padding: int | None = None) -> nn.Embedding:
    """A table that `BertModel.initialize` fills: to fill one on the meta device takes torch a second."""
    return nn.Embedding.from_pretrained(torch.empty(count, size), freeze=False, padding_idx=padding)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention by H heads side by side (Vaswani et al. 2017, section 3.2.2).

    The output matrix that mixes the heads is left to subclasses.
    """

    def __init__(self, size: int, heads: int, dropout: float):
        super().__init__()
        self.query = Linear(size, size)
        self.key = Linear(size, size)
        self.value = Linear(size, size)
        self.heads = heads
        self.dropout = dropout

    def forward(self, hidden: Tensor, layout: Layout, cls_only: bool = False) -> Tensor:
        """(T, D) -> (T, D), or (R, D) with `cls_only`: only the first token of each sequence asks."""
        query = self.query(layout.take_first(hidden) if cls_only else hidden)
        key, value = self.key(hidden), self.value(hidden)
        dropout = self.dropout if self.training else 0.0
        return attend(query, key, value, layout, self.heads, dropout, cls_only)

    def maps(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Computes the attention probabilities of a padded layout without dropout, (B, H, S, S)."""
        [query], [key] = (
            split_heads(linear(hidden), layout, self.heads) for linear in (self.query, self.key)
        )
        return attention_probabilities(query, key, layout.attention_mask)


class SelfAttention(MultiHeadAttention):
    """BERT's attention of each sequence over itself: the heads' contexts, then the output matrix.

    `head_layers`, empty in BERT, are run on the contexts (minbert/adapters/attention_head_layers.py).
    """

    def __init__(self, config: BertConfig):
        size, heads = config.hidden_size, config.num_attention_heads
        super().__init__(size, heads, config.attention_probs_dropout_prob)
        self.head_layers = nn.ModuleList()
        self.output = Linear(size, size)

    def forward(self, hidden: Tensor, layout: Layout, cls_only: bool = False) -> Tensor:
        """(T, D) -> (T, D), or (R, D) with `cls_only`."""
        context = super().forward(hidden, layout, cls_only)
        for layer in self.head_layers:
            context = layer(context)
        return self.output(context)


class FeedForward(nn.Module):
    """The position-wise network: widen, activation, narrow (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.intermediate = Linear(config.hidden_size, config.intermediate_size)
        self.activation = config.activation
        self.output = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:  # (T, D) -> (T, D)
        if self.activation == "gelu":  # which kernels apply on the way out of the product
            return self.output(self.intermediate(hidden, gelu=True))
        return self.output(activation(self.activation)(self.intermediate(hidden)))


class EncoderLayer(nn.Module):
    """x -> norm(x + attention(x)) -> norm(x + feed_forward(x)), dropout on each addend.

    If `compiled`, runs `after_attention` through torch.compile.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.compiled = False

    def forward(
        self, hidden: Tensor, layout: Layout, addend: Tensor | None = None, cls_only: bool = False
    ) -> Tensor:
        """(T, D) -> (T, D), or (R, D) with `cls_only`: first tokens, which attend to all of their sequence.

        `addend` (T, D) is one more term of the last residual sum.
        """
        attended = self.attention(hidden, layout, cls_only)
        if cls_only:
            hidden = layout.take_first(hidden)
            addend = None if addend is None else layout.take_first(addend)
        if self.compiled:
            return _compiled_after_attention()(self, hidden, attended, addend)
        return self.after_attention(hidden, attended, addend)

    def after_attention(self, hidden: Tensor, attended: Tensor, addend: Tensor | None) -> Tensor:
        """Computes the rest of the layer, row by row: (T, D) each -> (T, D)."""
        hidden = self.attention_norm(hidden + self.dropout(attended))
        hidden = hidden + self.dropout(self.feed_forward(hidden))
        return self.feed_forward_norm(hidden if addend is None else hidden + addend)


@cache
def _compiled_after_attention() -> Callable[..., Tensor]:
    """Returns `EncoderLayer.after_attention`, compiled once for all layers and any number of rows."""
    return torch.compile(EncoderLayer.after_attention, dynamic=True)


class Encoder(nn.Module):
    """The transformer layers. Its forward is the one way through them.

    `projected_attention`, None in BERT, is a module beside the layers: given a layer's number, its input and
    the layout, it returns an addend of that layer's last residual sum, or None.
    With `checkpointing`, while gradients are recorded, a layer keeps its input only and runs again for them.
    """

    def __init__(self, config: BertConfig):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.projected_attention: nn.Module | None = None
        self.checkpointing = False

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        layers: slice = slice(None),
        states: list[Tensor] | None = None,
        maps: list[Tensor] | None = None,
        cls_only: bool = False,
    ) -> Tensor:
        """Takes rows (T, D) through the chosen layers -> (T, D).

        With `cls_only` -> (R, D), laid out as `layout.first`: the last of these layers computes the first
        token of each sequence alone, which is all that a head on [CLS] reads.
        `states` collects the rows that enter the first layer and leave each one; `maps` (padded layouts only)
        the attention probabilities of each layer, (B, H, S, S).
        """
        run_layer = self._run_layer
        if self.checkpointing and torch.is_grad_enabled():
            run_layer = checkpointed(self, run_layer)
        if states is not None:
            states.append(hidden)
        numbers = range(len(self.layers))[layers]
        for number in numbers:
            if maps is not None:
                maps.append(self.layers[number].attention.maps(hidden, layout))
            hidden = run_layer(number, hidden, layout, cls_only and number == numbers[-1])
            if states is not None:
                states.append(hidden)
        return hidden if numbers or not cls_only else layout.take_first(hidden)

    def _run_layer(self, number: int, hidden: Tensor, layout: Layout, cls_only: bool) -> Tensor:
        beside = self.projected_attention
        addend = None if beside is None else beside(number, hidden, layout)
        return self.layers[number](hidden, layout, addend, cls_only)


class Pooler(nn.Module):
    """tanh of a linear layer over the first token, as trained by BERT's next-sentence task."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """(T, D) -> (B, D) in layout order, fp32 at least, without autocast; zeros for an empty sequence."""
        rows = rows.to(self.dense.weight.dtype)
        with _without_autocast(rows.device.type):
            pooled = torch.tanh(self.dense(first_rows(rows, layout)))
        if layout.has_empty:
            pooled = pooled.masked_fill(layout.empty(pooled.device).unsqueeze(-1), 0.0)
        return pooled.to(torch.promote_types(pooled.dtype, torch.float32))


def _without_autocast(device_type: str) -> AbstractContextManager:
    enabled = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if enabled else nullcontext()


@dataclass(frozen=True)
class BertOutput:
    """The outputs of BERT for a batch of B sequences.

    `packed` (T, D) are the rows of the batch's layout; padded tensors are made from them when they are read.
    Fields are also read as `out["last_hidden_state"]` and, as in transformers, by place: `out[0]`,
    `out.to_tuple()`. Unpacking, `hidden, pooled = model(batch)`, gives the tensors (transformers: names).
    """

    packed: Tensor
    batch: Batch
    pooled: Tensor | None
    states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    @kept_property
    def last_hidden_state(self) -> Tensor:
        """(B, S, D) in the caller's order, zeros at padding."""
        return self.batch.pad(self.packed)

    @property
    def pooler_output(self) -> Tensor:
        """(B, D): tanh of a linear layer over column 0, fp32 at least. Raises InputError without a pooler."""
        if self.pooled is None:
            raise InputError(
                'the model has no pooler; pool by "cls", "mean" or "max", or where its family has one, load '
                'with pooler="random" and train it'
            )
        return self.pooled

    @kept_property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        """The embeddings and each layer's output, L + 1 tensors (B, S, D); None unless requested."""
        return None if self.states is None else tuple(self.batch.pad(state) for state in self.states)

    def to_tuple(self) -> tuple[Any, ...]:
        """last_hidden_state, pooler_output, hidden_states, attentions; those that are None left out."""
        values = (self.last_hidden_state, self.pooled, self.hidden_states, self.attentions)
        return tuple(value for value in values if value is not None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        names = {"last_hidden_state", "pooler_output", "hidden_states", *(f.name for f in fields(self))}
        if key not in names:
            raise KeyError(f"{key!r} is not an output of the model; choose from {', '.join(sorted(names))}")
        return getattr(self, key)


# The tensors of an exported program's outputs; what it returns reads them and has no batch.
_TENSORS = ("last_hidden_state", "pooled", "hidden_states", "attentions")


def _from_tensors(values: Any, _: Any) -> BertOutput:
    output = object.__new__(BertOutput)
    output.__dict__.update(zip(_TENSORS, values, strict=True))
    return output


register_pytree_node(
    BertOutput,
    lambda output: ([getattr(output, name) for name in _TENSORS], None),
    _from_tensors,
    serialized_type_name="minbert.BertOutput",
)


class BertModel(nn.Module):
    """The encoder of Devlin et al. 2018. B sequences, S columns, T token rows, D hidden size, L layers.

    `BertModel(config)` is a fresh model in training mode; `from_pretrained` loads one in evaluation mode.
    The configuration's family decides on positions, token types and the pooler (minbert/weights/families/).
    """

    def __init__(self, config: BertConfig, kernels: str = "fused", pooler: bool = True):
        super().__init__()
        find_kernels(kernels)
        self.config = config
        self.kernels = kernels
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config.hidden_size) if pooler and config.family.pooler else None
        self.load_report: LoadReport | None = None
        if not self.embeddings.word.weight.is_meta:
            self.initialize()

    def initialize(self, modules: Iterable[nn.Module] | None = None) -> None:
        """Fills the parameters of `modules`, by default of all, as BERT's authors did.

        | tensors                              | values                                           |
        |--------------------------------------|--------------------------------------------------|
        | weights of linear layers, embeddings | normal, mean 0, deviation `initializer_range`    |
        | the padding token's embedding        | 0                                                |
        | biases                               | 0                                                |
        | layer norms                          | weight 1, bias 0                                 |
        """
        for module in self.modules() if modules is None else modules:
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])
            if isinstance(module, LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        input_ids: Tensor | Batch | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        embedding_noise: Tensor | None = None,
        cls_only: bool = False,
        layers: int | None = None,
        pooler: bool = True,
        **others: Any,
    ) -> BertOutput:
        """Computes a Batch, or padded tensors (B, S), which are packed on entry (see `Batch.from_padded`).

        `attention_mask` is 1 at real tokens, (B, S) or (B, S, S), or a 4-D one as in transformers.
        `embedding_noise` (T, D) is added to the rows that leave the embeddings, T of the layout that the
        encoder runs on. With `cls_only` the output is that of each sequence's first token alone, S = 1, and
        the last layer computes no other. `layers` stops after the lowest ones of that number. `pooler` False
        leaves out pooler_output. `others` are arguments of transformers (see `check_arguments`).
        Raises InputError for an empty batch, shapes that do not fit, ids outside the vocabulary, and
        sequences longer than the position embeddings.
        """
        check_arguments(others)
        batch = input_ids
        if not isinstance(batch, Batch):
            packed = self.kernels == "fused" and not output_attentions
            packed = packed and not self._counts_masked_ids(input_ids, attention_mask)
            batch = Batch.from_padded(input_ids, attention_mask, token_type_ids, packed=packed)
        elif output_attentions:
            batch = batch.as_padded()
        batch.check(self.config)
        if cls_only and (output_hidden_states or output_attentions):
            raise InputError("cls_only gives no hidden states or attention maps of all tokens; leave it out")
        cached = batch.cached
        if cached is not None and (embedding_noise is not None or output_hidden_states):
            raise InputError(
                "the batch has cached activations, which leave out the embeddings; take a batch without"
            )
        states: list[Tensor] | None = [] if output_hidden_states else None
        maps: list[Tensor] | None = [] if output_attentions else None
        with use(self.kernels):
            if cached is None:
                positions = batch.positions(self.config)
                hidden = self.embeddings(batch.token_ids, batch.token_type_ids, positions)
                done = 0
            else:
                hidden, done = cached.rows, cached.layers
            if embedding_noise is not None:
                if embedding_noise.shape != hidden.shape:
                    raise InputError(
                        f"embedding_noise has shape {tuple(embedding_noise.shape)}; it must be that of the "
                        f"batch's token rows, {tuple(hidden.shape)}"
                    )
                hidden = hidden + embedding_noise
            hidden = self.encoder(hidden, batch.layout, slice(done, layers), states, maps, cls_only)
            batch = batch.cls_only() if cls_only else batch
            pooled = None
            if pooler and self.pooler is not None:
                pooled = batch.restore(self.pooler(hidden, batch.layout))
        return BertOutput(hidden, batch, pooled, states and tuple(states), maps and tuple(maps))

    def _counts_masked_ids(self, input_ids: Tensor, attention_mask: Tensor | None) -> bool:
        """Returns True where positions count ids under the mask, as the reference does, before real tokens.

        Packing drops these.
        """
        if attention_mask is None or not self.config.family.counts_positions:
            return False
        if attention_mask.shape != input_ids.shape:
            return False
        counted, real = input_ids != self.config.pad_token_id, attention_mask != 0
        hidden = (counted & ~real).cumsum(dim=-1) > 0
        return bool((hidden & real).any())

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        kernels: str = "fused",
        pooler: str | None = None,
        config: BertConfig | None = None,
        adapter: str | None = None,
        weights_prefix: str | None = None,
        strict: bool = False,
        local_files_only: bool = False,
    ) -> "BertModel":
        """Loads a Hugging Face folder, in evaluation mode, fp32, weights copied out of the file.

        `pooler="random"` makes a fresh pooler if the weights have none; otherwise reading `pooler_output` of
        such a model is refused. `config` takes the place of the folder's, for other dropout rates say; layers
        on top that the folder does not have are then fresh, filled by `initialize`. `adapter` names the task
        of a folder with adapters for each task, whose root is not what any of them runs; "none" takes the
        root alone. `load_report` lists what was renamed, ignored, missing or fresh. `weights_prefix` chooses
        between encoders in one file, by what their tensors' names begin with; `strict` refuses tensors that
        are not the encoder's; `local_files_only` asks no hub.
        Raises InputError for a missing or damaged folder, with everything that is wrong in one message, and
        for a folder with adapters for each task where `adapter` names none of them.
        """
        return load_pretrained(
            cls, source, kernels, pooler, config, adapter, weights_prefix, strict, local_files_only
        )

    def save_pretrained(self, folder: str | Path, base_only: bool = False) -> None:
        """Writes `model.safetensors` and `config.json` as transformers' BertModel does, each whole or not.

        Adapters within attention go into `adapter/` (see attention_adapters.py); config.json then has their
        kinds and no architectures. Other files, such as a tokenizer's, stay. Raises InputError for
        a model with LoRA adapters, which have a file of their own (`save_lora`), unless `base_only`.
        """
        save_pretrained(self, Path(folder), base_only)
