"""Our own BertModel as a candidate for the part "model"."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from minbert.batch import Layout
from minbert.check.references.bert import model_config, model_weights, weight_names
from minbert.check.stage import Array, Arrays, InvalidOutput
from minbert.config import BertConfig
from minbert.kernels.attention import attend, split_heads
from minbert.model import BertModel, EncoderLayer, MultiHeadAttention
from minbert.weights.load import hugging_face_name, our_name


class OwnModel:
    """BertModel by the kernels of a name, "fused" or "reference". See minbert.check.bert.candidate."""

    def __init__(self, kernels: str = "fused"):
        self.model = BertModel(BertConfig.from_dict(model_config()), kernels).eval()
        weights = {our_name(name): torch.from_numpy(value.copy()) for name, value in model_weights().items()}
        self.model.load_state_dict(weights)

    def embed(self, ids: Array, training: bool = False) -> Array:
        count, columns = ids.shape
        tokens = torch.from_numpy(ids).flatten()
        positions = torch.arange(columns).repeat(count)
        embeddings = self.model.embeddings.train(training)
        with torch.no_grad():
            rows = embeddings(tokens, torch.zeros_like(tokens), positions)
        embeddings.eval()
        return to_array(rows.unflatten(0, (count, columns)))

    def split(self, hidden: Array) -> Arrays:
        attention, layout = self._layer(0).attention, open_layout(hidden)
        found = {}
        with torch.no_grad():
            for name in ("query", "key", "value"):
                rows = getattr(attention, name)(to_rows(hidden))
                [found[name]] = split_heads(rows, layout, attention.heads)
        return {name: to_array(value) for name, value in found.items()}

    def attention(self, key: Array, query: Array, value: Array, mask: Array, training: bool = False) -> Array:
        attention = self._layer(0).attention
        rows = (to_rows(x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)) for x in (query, key, value))
        rate = attention.dropout if training else 0.0
        with torch.no_grad():
            merged = attend(*rows, to_layout(mask), attention.heads, rate)
        return to_array(merged.unflatten(0, (len(query), -1)))

    def self_attention(self, hidden: Array, mask: Array) -> Array:
        with torch.no_grad():
            rows = MultiHeadAttention.forward(self._layer(0).attention, to_rows(hidden), to_layout(mask))
        return to_array(rows.unflatten(0, hidden.shape[:2]))

    def add_norm(
        self, x: Array, output: Array, dense: tuple[Array, Array] | None = None, training: bool = False
    ) -> Array:
        """The input of the feed-forward layers, which stand in the same function as the sum before them."""
        layer = self._layer(0).train(training)
        entered: list[Tensor] = []
        hook = layer.feed_forward.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        with torch.no_grad():
            rows = to_rows(output)
            if dense is None:
                attended = layer.attention.output(rows)
            else:
                attended = nn.functional.linear(rows, *map(torch.from_numpy, dense))
            layer.after_attention(to_rows(x), attended, None)
        hook.remove()
        layer.eval()
        return to_array(entered[0].unflatten(0, x.shape[:2]))

    def feed_forward(self, hidden: Array) -> Array:
        rows = to_rows(hidden)
        with torch.no_grad():
            rows = self._layer(0).after_attention(rows, torch.zeros_like(rows), None)
        return to_array(rows.unflatten(0, hidden.shape[:2]))

    def layer(self, number: int, hidden: Array, mask: Array) -> Array:
        with torch.no_grad():
            rows = self._layer(number)(to_rows(hidden), to_layout(mask))
        return to_array(rows.unflatten(0, hidden.shape[:2]))

    def all_layers(self, embeddings: Array, ids: Array, mask: Array) -> Array:
        layout = to_layout((1 - mask[:, None, None, :]) * -10000)
        with torch.no_grad():
            rows = self.model.encoder(to_rows(embeddings), layout)
        return to_array(rows.unflatten(0, embeddings.shape[:2]))

    def pool(self, hidden: Array, embeddings: Array, ids: Array, mask: Array) -> Array:
        layout = to_layout((1 - mask[:, None, None, :]) * -10000)
        with torch.no_grad():
            return to_array(self.model.pooler(to_rows(hidden), layout))

    def forward(self, ids: Array, mask: Array) -> Arrays:
        with torch.no_grad():
            out = self.model(torch.from_numpy(ids), torch.from_numpy(mask))
            return {name: to_array(out[name]) for name in ("last_hidden_state", "pooler_output")}

    def layer_in_training(self, hidden: Array, mask: Array) -> Array:
        self._layer(0).train()
        found = self.layer(0, hidden, mask)
        self._layer(0).eval()
        return found

    def forward_in_training(self, ids: Array, mask: Array) -> Arrays:
        self.model.train()
        found = self.forward(ids, mask)
        self.model.eval()
        return found

    def has_parameter(self) -> dict[str, bool]:
        held = {hugging_face_name(name) for name, _ in self.model.named_parameters()}
        return {name: theirs in held for name, theirs in weight_names("").items()}

    def changed_weights(self, ids: Array, mask: Array) -> Array:
        before = {name: value.clone() for name, value in self.model.named_parameters()}
        self.forward(ids, mask)
        held = self.model.named_parameters()
        return np.array(sum(not torch.equal(value, before[name]) for name, value in held))

    def with_dropout(self, draws: object) -> AbstractContextManager:
        return nullcontext()  # our kernels drop by themselves

    def gradients(self, ids: Array, mask: Array, hidden: Array, pooler: Array) -> Arrays:
        self.model.zero_grad()
        with torch.enable_grad():
            out = self.model(torch.from_numpy(ids), torch.from_numpy(mask))
            total = (out.last_hidden_state * torch.from_numpy(hidden)).sum()
            (total + (out.pooler_output * torch.from_numpy(pooler)).sum()).backward()
        found = {}
        for name, parameter in self.model.named_parameters():
            if parameter.grad is None:
                raise InvalidOutput(f"{name} has no gradient")
            found[hugging_face_name(name)] = to_array(parameter.grad)
        return found

    def _layer(self, number: int) -> EncoderLayer:
        return self.model.encoder.layers[number]


def to_rows(hidden: Array) -> Tensor:
    """(B, S, D) -> (B S, D)"""
    return torch.from_numpy(np.array(hidden)).flatten(0, 1)


def to_layout(mask: Array) -> Layout:
    """The rectangle of an additive mask (B, 1, 1, S)."""
    seen = torch.from_numpy(mask[:, 0, 0, :] == 0)
    count, columns = seen.shape
    return Layout(torch.arange(columns).repeat(count), columns, (), seen)


def open_layout(hidden: Array) -> Layout:
    """A rectangle without padding, for (B, S, D)."""
    return to_layout(np.zeros((len(hidden), 1, 1, hidden.shape[1])))


def to_array(tensor: Tensor) -> Array:
    return tensor.detach().to(torch.float64).numpy().copy()
