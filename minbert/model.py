"""BertModel: embeddings, encoder and pooler in one, loaded from and saved to Hugging Face folders."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from minbert.batch import Batch
from minbert.config import BertConfig
from minbert.embeddings import Embeddings, LayerNorm
from minbert.encoder import Encoder
from minbert.errors import InputError
from minbert.hub import find_folder
from minbert.kernels import find_kernels
from minbert.pooling import Pooler
from minbert.weights import LoadReport, load_weights, save_weights


@dataclass(frozen=True)
class BertOutput:
    """What BERT computed for a batch of B sequences; also readable as out["last_hidden_state"].

    `packed` (T, D) are the rows of the batch's layout; the rest is made from them when it is read.
    """

    packed: Tensor
    batch: Batch
    pooler: Pooler | None
    states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    @cached_property
    def last_hidden_state(self) -> Tensor:
        """(B, S, D) in the caller's order, zeros at padding."""
        return self.batch.pad(self.packed)

    @cached_property
    def pooler_output(self) -> Tensor:
        """(B, D): tanh of a linear layer over column 0, fp32 at least. Raises InputError without a pooler."""
        if self.pooler is None:
            raise InputError(
                'these weights hold no pooler; pool by "cls", "mean" or "max", or load with pooler="random" '
                "and train it"
            )
        rows = self.packed.to(torch.promote_types(self.packed.dtype, self.pooler.dense.weight.dtype))
        vectors = self.batch.restore(self.pooler(rows, self.batch.layout))
        return vectors.to(torch.promote_types(vectors.dtype, torch.float32))

    @cached_property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        """The embeddings and each layer's output, L + 1 tensors (B, S, D); None where not asked for."""
        return None if self.states is None else tuple(self.batch.pad(state) for state in self.states)

    def __getitem__(self, name: str) -> Tensor:
        names = {f.name for f in fields(self)} | {"last_hidden_state", "pooler_output", "hidden_states"}
        if name not in names:
            raise KeyError(f"{name!r} is not an output of the model; choose from {', '.join(sorted(names))}")
        return getattr(self, name)


class BertModel(nn.Module):
    """The encoder of Devlin et al. 2018. B sequences, S columns, T token rows, D hidden size, L layers.

    `BertModel(config)` is a fresh model in training mode; `from_pretrained` loads one in evaluation mode.
    """

    def __init__(self, config: BertConfig, kernels: str = "fused", pooler: bool = True):
        super().__init__()
        chosen = find_kernels(kernels)
        self.config = config
        self.kernels = kernels
        self.embeddings = Embeddings(config, chosen)
        self.encoder = Encoder(config, chosen)
        self.pooler = Pooler(config.hidden_size) if pooler else None
        self.load_report: LoadReport | None = None
        self.initialize()

    def initialize(self) -> None:
        """Fills all parameters as BERT's authors did.

        | tensors                              | values                                           |
        |--------------------------------------|--------------------------------------------------|
        | weights of linear layers, embeddings | normal, mean 0, deviation `initializer_range`    |
        | the padding token's embedding        | 0                                                |
        | biases                               | 0                                                |
        | layer norms                          | weight 1, bias 0                                 |
        """
        for module in self.modules():
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
        input_ids: Tensor | Batch,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BertOutput:
        """A Batch, or padded tensors (B, S), which are packed on entry (see `Batch.from_padded`).

        `attention_mask` is 1 at real tokens, (B, S) or (B, S, S). Raises InputError for an empty batch,
        shapes that do not fit, ids outside the vocabulary, and sequences longer than the position embeddings.
        """
        batch = input_ids
        if not isinstance(batch, Batch):
            packed = self.kernels == "fused" and not output_attentions
            batch = Batch.from_padded(input_ids, attention_mask, token_type_ids, packed=packed)
        elif output_attentions:
            batch = batch.rectangular()
        self._check(batch)
        states: list[Tensor] | None = [] if output_hidden_states else None
        maps: list[Tensor] | None = [] if output_attentions else None
        hidden = self.embeddings(batch.token_ids, batch.token_type_ids, batch.layout.positions)
        hidden = self.encoder.run(hidden, batch.layout, states=states, maps=maps)
        return BertOutput(hidden, batch, self.pooler, states and tuple(states), maps and tuple(maps))

    def _check(self, batch: Batch) -> None:
        config, columns = self.config, batch.layout.columns
        if columns > config.max_position_embeddings:
            raise InputError(
                f"the batch has sequences of {columns} tokens; this model takes "
                f"{config.max_position_embeddings}: tokenize with max_length={config.max_position_embeddings}"
            )
        if batch.token_ids.device.type != "cpu" or not len(batch.token_ids):
            return  # on an accelerator a look at the values would wait for the device
        for name, values, size in (
            ("input_ids", batch.token_ids, config.vocab_size),
            ("token_type_ids", batch.token_type_ids, config.type_vocab_size),
        ):
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= size:
                raise InputError(f"{name} holds {low if low < 0 else high}; this model knows 0 to {size - 1}")

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        kernels: str = "fused",
        pooler: str | None = None,
        config: BertConfig | None = None,
    ) -> "BertModel":
        """Loads a Hugging Face folder, in evaluation mode, fp32, weights copied out of the file.

        `pooler="random"` makes a fresh pooler where the weights hold none; otherwise reading `pooler_output`
        of such a model is refused. `config` takes the place of the folder's, for other dropout rates say.
        `load_report` says what was renamed, ignored or missing.
        Raises InputError for a missing or damaged folder, with everything that is wrong in one message.
        """
        if pooler not in (None, "random"):
            raise InputError(
                f'pooler is {pooler!r}; give None, or "random" for a fresh one where it is missing'
            )
        folder = find_folder(source)
        config = config or BertConfig.from_folder(folder)
        with torch.device("meta"):
            model = cls(config, kernels)
        model.load_report = load_weights(model, folder)
        if "pooler.dense.weight" in model.load_report.missing:
            model.pooler = None
            if pooler == "random":
                model.pooler = Pooler(config.hidden_size)
                nn.init.normal_(model.pooler.dense.weight, std=config.initializer_range)
                nn.init.zeros_(model.pooler.dense.bias)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `model.safetensors` and `config.json` as transformers' BertModel does, each whole or not.

        Other files in the folder, such as a tokenizer's, stay.
        """
        facts = {"architectures": ["BertModel"], "dtype": str(next(self.parameters()).dtype).split(".")[1]}
        extra = {name: value for name, value in self.config.extra.items() if name != "torch_dtype"}
        save_weights(self, Path(folder))
        replace(self.config, extra=extra | facts).save(folder)
