"""A user's module with the course's classes (CS224N default project) as a candidate for the part "model"."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from inspect import signature
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minbert.check.bert.known_dropout import Draws, WithDropout
from minbert.check.references.bert import model_config, model_weights, weight_names
from minbert.check.stage import (
    AbsentFunction,
    Array,
    Arrays,
    ChangedInput,
    InvalidOutput,
    MissingImplementation,
)

SEEDS = count()  # another for each call, so that dropout shows, and the same in every check


class CourseModel:
    """BertSelfAttention, BertLayer and BertModel of a module, each built on its own, with our weights.

    See minbert.check.bert.candidate for the methods. `settings` are further attributes of the configuration.
    """

    def __init__(self, module: ModuleType, settings: Mapping[str, Any] | None = None):
        self.module = module
        self.settings = settings or {}

    @property
    def _attention(self) -> nn.Module:
        return self._built("BertSelfAttention", "bert_layers.0.self_attention.").as_built()

    def _layer(self, number: int) -> nn.Module:
        return self._built("BertLayer", f"bert_layers.{number}.").as_built()

    @property
    def _model(self) -> nn.Module:
        return self._built("BertModel", "").as_built()

    @cache  # noqa: B019  one for each check
    def _built(self, name: str, prefix: str) -> "Built":
        return Built(self._build(name, prefix))

    def _build(self, name: str, prefix: str) -> nn.Module:
        """A module of a user's class, in evaluation mode; `prefix` is where it stands in a BertModel."""
        made = self._new(name)
        set_weights(made, name, prefix)
        return made.eval()

    def _new(self, name: str) -> nn.Module:
        if not hasattr(self.module, name):
            raise MissingImplementation(f"there is no class {name}")
        with torch.random.fork_rng(devices=[]), written(f"{name}.__init__"):
            torch.default_generator.manual_seed(next(SEEDS))
            kind = getattr(self.module, name)
            check_arguments(kind, f"{name}(config)", 1)
            return kind(Configuration(**model_config() | {"name_or_path": ""} | self.settings))

    def embed(self, ids: Array, training: bool = False) -> Array:
        return call(self._model, "embed", ids, training=training)

    def split(self, hidden: Array) -> Arrays:
        attention = self._attention
        return {
            name: call(attention, "transform", hidden, fixed=(getattr(attention, name),))
            for name in ("key", "query", "value")
        }

    def attention(self, key: Array, query: Array, value: Array, mask: Array, training: bool = False) -> Array:
        return call(self._attention, "attention", key, query, value, mask, training=training)

    def self_attention(self, hidden: Array, mask: Array) -> Array:
        return call(self._attention, "forward", hidden, mask)

    def add_norm(
        self, x: Array, output: Array, dense: tuple[Array, Array] | None = None, training: bool = False
    ) -> Array:
        layer = self._layer(0)
        linear = layer.attention_dense if dense is None else _linear(*dense).to(_type_of(layer))
        modules = (linear, layer.attention_dropout, layer.attention_layer_norm)
        return call(layer, "add_norm", x, output, fixed=modules, training=training)

    def feed_forward(self, hidden: Array) -> Array:
        layer = self._build("BertLayer", "bert_layers.0.")
        with torch.no_grad():
            for parameter in layer.attention_dense.parameters():
                parameter.zero_()
        mask = np.zeros((len(hidden), 1, 1, hidden.shape[1]), dtype=np.float32)
        return call(layer, "forward", hidden, mask)

    def layer(self, number: int, hidden: Array, mask: Array) -> Array:
        return call(self._layer(number), "forward", hidden, mask)

    def all_layers(self, embeddings: Array, ids: Array, mask: Array) -> Array:
        with replaced(self._model, embed=embeddings):
            return self.forward(ids, mask)["last_hidden_state"]

    def pool(self, hidden: Array, embeddings: Array, ids: Array, mask: Array) -> Array:
        with replaced(self._model, embed=embeddings, encode=hidden):
            return self.forward(ids, mask)["pooler_output"]

    def forward(self, ids: Array, mask: Array) -> Arrays:
        return self._forward(self._model, ids, mask)

    def _forward(self, model: nn.Module, ids: Array, mask: Array) -> Arrays:
        with torch.no_grad():
            outputs = self._outputs(model, ids, mask)
        return {name: to_array(value, f"BertModel's {name}") for name, value in outputs.items()}

    def gradients(self, ids: Array, mask: Array, hidden: Array, pooler: Array) -> Arrays:
        model = self._build("BertModel", "")
        with torch.enable_grad():
            outputs = self._outputs(model, ids, mask)
            total = (outputs["last_hidden_state"] * torch.from_numpy(hidden)).sum()
            total = total + (outputs["pooler_output"] * torch.from_numpy(pooler)).sum()
            if not total.requires_grad:
                raise InvalidOutput(
                    "BertModel's outputs have no gradient: look for torch.no_grad() and detach()"
                )
            total.backward()
        held = dict(model.named_parameters(remove_duplicate=False))
        found = {}
        for name, theirs in weight_names("").items():
            gradient = held[name].grad if name in held else None
            shape = model_weights()[theirs].shape
            found[theirs] = np.zeros(shape) if gradient is None else to_array(gradient, f"gradient of {name}")
        return found

    def layer_in_training(self, hidden: Array, mask: Array) -> Array:
        return call(self._layer(0), "forward", hidden, mask, training=True)

    def forward_in_training(self, ids: Array, mask: Array) -> Arrays:
        return self._forward(self._model.train(), ids, mask)

    def has_parameter(self) -> dict[str, bool]:
        held = dict(self._new("BertModel").named_parameters(remove_duplicate=False))
        return {name: name in held for name in weight_names("")}

    def changed_weights(self, ids: Array, mask: Array) -> Array:
        try:
            self.forward(ids, mask)
        except MissingImplementation:
            raise
        except Exception as error:  # the next stage tells more
            raise AbsentFunction(f"BertModel.forward does not run: {error}") from None
        return np.array(self._built("BertModel", "").changed())

    def with_dropout(self, draws: Draws | None) -> WithDropout:
        return WithDropout(draws)

    @staticmethod
    def _outputs(model: nn.Module, ids: Array, mask: Array) -> dict[str, Tensor]:
        inputs = (torch.from_numpy(ids.copy()), torch.from_numpy(mask.copy()))
        name = "BertModel.forward"
        check_arguments(model.forward, "BertModel.forward(input_ids, attention_mask)", 2)
        with torch.random.fork_rng(devices=[]), unchanged(inputs, name), written(name):
            torch.default_generator.manual_seed(next(SEEDS))
            outputs = model(*inputs)
        for name in ("last_hidden_state", "pooler_output"):
            try:
                value = outputs[name]
            except (KeyError, TypeError, IndexError):
                raise InvalidOutput(f'BertModel.forward has to return a dict with "{name}"') from None
            if not isinstance(value, Tensor):
                raise InvalidOutput(f"BertModel's {name} is a {type(value).__name__}; it has to be a tensor")
        return {name: outputs[name] for name in ("last_hidden_state", "pooler_output")}


class Configuration(SimpleNamespace):
    """Builds the `config` that a user's classes get."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the check's config has no {name!r}; give it by --config {name}=VALUE")


def check_arguments(function: Callable[..., Any], called: str, count: int) -> None:
    """Raises InvalidOutput for a function that cannot be called with so many arguments."""
    taken = signature(function)
    try:
        taken.bind(*range(count))
    except TypeError as error:
        raise InvalidOutput(
            f"the check calls {called}, but it takes {taken} ({error}); give further arguments default values"
        ) from None


class Built:
    """A module of a user's class, whose state and mode are set again before it is used."""

    def __init__(self, module: nn.Module):
        self.module = module
        self.state = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        module = self.module
        return dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())

    def as_built(self) -> nn.Module:
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                if name in self.state and tensor.shape == self.state[name].shape:
                    tensor.copy_(self.state[name])
        return self.module.eval()

    def changed(self) -> int:
        """The number of parameters that are not as they were built."""
        held = dict(self.module.named_parameters(remove_duplicate=False))
        return sum(not torch.equal(value, self.state[name]) for name, value in held.items())


def set_weights(module: nn.Module, class_name: str, prefix: str) -> None:
    """Fills a user's module. A layer without a bias stays without.

    Raises MissingImplementation for other missing weights.
    """
    held = dict(module.named_parameters(remove_duplicate=False))
    weights = model_weights()
    with torch.no_grad():
        for name, theirs in weight_names(prefix).items():
            parameter, value = held.get(name), torch.from_numpy(weights[theirs].copy())
            if parameter is None:
                if name.endswith(".bias") and f"{name.removesuffix('bias')}weight" in held:
                    continue
                raise MissingImplementation(f"{class_name} has no parameter {name}")
            if parameter.shape != value.shape:
                shapes = f"{tuple(parameter.shape)}; it has to be {tuple(value.shape)}"
                raise InvalidOutput(f"{class_name}'s {name} has shape {shapes}")
            parameter.copy_(value)


def call(
    owner: nn.Module, method: str, *arrays: Array, fixed: tuple[Any, ...] = (), training: bool = False
) -> Array:
    """Calls a user's method with copies of arrays, and then `fixed`, without gradients.

    Raises MissingImplementation for a method that is missing or not written yet, InvalidOutput where it does
    not return a tensor or changes its inputs.
    """
    name = f"{type(owner).__name__}.{method}"
    function = getattr(owner, method, None)
    if function is None:
        raise MissingImplementation(f"there is no method {name}")
    inputs = tuple(_to_tensor(array, owner) for array in arrays)
    given = len(inputs) + len(fixed)
    check_arguments(function, f"{name} with {given} argument{'s' * (given > 1)}", given)
    arguments = _by_name(function, inputs)
    if training:
        owner.train()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), unchanged(inputs, name), written(name):
            torch.default_generator.manual_seed(next(SEEDS))
            result = function(**arguments) if arguments else function(*inputs, *fixed)
    finally:
        if training:
            owner.eval()
    return to_array(result, name)


def _by_name(function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """attention's arguments by name, where it has these names in another order; else nothing."""
    names = ("key", "query", "value", "attention_mask")
    if getattr(function, "__name__", "") == "attention" and set(names) == set(signature(function).parameters):
        return dict(zip(names, inputs, strict=True))
    return {}


@contextmanager
def written(name: str) -> Iterator[None]:
    """Raises MissingImplementation for NotImplementedError."""
    try:
        yield
    except NotImplementedError:
        raise MissingImplementation(f"{name} is not written yet (NotImplementedError)") from None


@contextmanager
def unchanged(inputs: tuple[Tensor, ...], name: str) -> Iterator[None]:
    """Raises ChangedInput where the inputs are others afterwards."""
    before = [value.clone() for value in inputs]
    yield
    for number, (value, old) in enumerate(zip(inputs, before, strict=True), start=1):
        if value.shape != old.shape or not torch.equal(value, old):
            raise ChangedInput(
                f"{name} changes its inputs (argument {number}); let operations in place, such as +=, "
                f"work on a copy"
            )


@contextmanager
def replaced(model: nn.Module, **results: Array) -> Iterator[None]:
    """Methods of a model that return what is given, so that the rest is seen alone."""
    for name, result in results.items():
        value = torch.from_numpy(result).to(_type_of(model))
        setattr(model, name, lambda *_, value=value, **__: value.clone())
    try:
        yield
    finally:
        for name in results:
            delattr(model, name)


def to_array(value: Any, name: str) -> Array:
    if not isinstance(value, Tensor):
        raise InvalidOutput(f"{name} returned {_described(value)}; it has to return a tensor")
    return value.detach().to("cpu", torch.float64).numpy().copy()


def _described(value: Any) -> str:
    return "nothing (no return statement?)" if value is None else f"a {type(value).__name__}"


def _to_tensor(array: Array, owner: nn.Module) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(_type_of(owner)) if tensor.is_floating_point() else tensor


def _type_of(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype


def _linear(weight: Array, bias: Array) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))
    return linear
