"""LoRA: low-rank adapters beside the linear layers of a frozen BERT, merged into them in the end.

`LoRALinear` is a Linear whose weight and bias keep their names and their Parameter objects; adapters
stand beside them. Folders in PEFT's format: peft.py.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.adapters.config import TARGETS, LoRAConfig
from minbert.adapters.peft import POOLER, AdapterReport, PeftSettings, read_adapter, write_adapter
from minbert.adapters.registry import DEFAULT, check_name
from minbert.batch import Batch
from minbert.errors import InputError, did_you_mean
from minbert.kernels.dropout import apply_dropout
from minbert.kernels.registry import in_use
from minbert.model import BertModel, Linear
from minbert.weights.load import listed, our_name


class Adapter(nn.Module):
    """One adapter of a linear layer: A (r, in), B (out, r), and for DoRA each row's length, magnitude (out,).

    Fresh, it changes nothing: B is zero, A as peft and nn.Linear fill a weight, the lengths are the base's.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, config: LoRAConfig | PeftSettings):
        super().__init__()
        self.alpha, self.dropout, self.rslora = float(alpha), config.dropout, config.rslora
        self.scale = alpha / math.sqrt(rank) if config.rslora else alpha / rank
        weight = linear.weight
        self.A = nn.Parameter(weight.new_empty(rank, linear.in_features))
        self.B = nn.Parameter(weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.register_parameter("magnitude", nn.Parameter(self.lengths(weight)) if config.dora else None)

    def lengths(self, weight: Tensor) -> Tensor:
        """The length of each row of W + scale B A, (out,), a constant to the gradient (DoRA, section 4.3)."""
        wide = torch.promote_types(weight.dtype, torch.float32)
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            update = self.scale * (self.B.to(wide) @ self.A.to(wide))
            lengths = torch.linalg.vector_norm(weight.to(wide) + update, dim=1)
        return lengths.to(weight.dtype).clamp(min=torch.finfo(weight.dtype).tiny)

    def forward(self, x: Tensor, base: Tensor, linear: nn.Linear) -> Tensor:
        """x (T, in), base (T, out), what the linear layer makes of it -> (T, out)"""
        dropping = self.training and self.dropout > 0
        x = apply_dropout(x, self.dropout) if dropping else x
        if self.magnitude is None:
            return torch.addmm(base, F.linear(x, self.A), self.B.t(), alpha=self.scale)
        update = F.linear(F.linear(x, self.A), self.B) * self.scale
        # m V / |V| x for V = W + scale B A. Only the base's own term sees x without dropout, as in peft.
        if dropping:
            directed = F.linear(x, linear.weight)
        else:
            directed = base if linear.bias is None else base - linear.bias
        factor = self.magnitude / self.lengths(linear.weight)
        return (base + (factor - 1) * directed + factor * update).to(base.dtype)

    def merged(self, weight: Tensor) -> Tensor:
        """The weight (out, in) that takes the place of base and adapter, in fp64 on the CPU.

        There neither TF32 nor autocast rounds it.
        """
        A, B, base = (tensor.detach().cpu().double() for tensor in (self.A, self.B, weight))
        whole = base + self.scale * (B @ A)
        if self.magnitude is None:
            return whole
        lengths = torch.linalg.vector_norm(whole, dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        return whole * (self.magnitude.detach().cpu().double() / lengths)[:, None]


class LoRALinear(Linear):
    """W x + b + scale B A dropout(x) (Hu et al. 2021, section 4.1), by the adapter that `active` names.

    Without one it is W x + b. Takes over the Parameter objects of `linear`: what holds them notices nothing.
    """

    def __init__(self, linear: nn.Linear):
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features)
        self.kind = type(linear)  # the pooler's is torch's own
        self.weight, self.bias = linear.weight, linear.bias
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.train(linear.training)

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:  # (T, in) -> (T, out)
        if self.active is None:
            return super().forward(x, gelu)
        out = self.adapters[self.active](x, super().forward(x), self)
        return in_use().gelu(out) if gelu else out

    def plain(self) -> nn.Linear:
        """The linear layer with the same Parameter objects, without the adapters."""
        with torch.device("meta"):
            linear = self.kind(self.in_features, self.out_features)
        linear.weight, linear.bias = self.weight, self.bias
        return linear.train(self.training)


def add_lora(model: BertModel, config: LoRAConfig, names: Sequence[str] = (DEFAULT,)) -> list[str]:
    """Puts adapters beside the chosen linear layers, and freezes all else -> the layers' names.

    One adapter for each of `names`; the first is in use until `use_adapter` says otherwise.
    Raises InputError for a model that has LoRA already, a rank of 0, layers that the model does not have,
    patterns that match nothing, and names that no module can have.
    """
    if present := adapter_names(model):
        raise InputError(
            f"the model has LoRA already ({', '.join(present)}); merge_lora or remove_lora it first, or "
            f"load_lora another adapter"
        )
    if not isinstance(config, LoRAConfig):
        raise InputError(f"config is {config!r}; give a LoRAConfig, such as LoRAConfig(rank=8)")
    if not config.rank:
        raise InputError("rank is 0, which means no adapters; give at least 1")
    if not names or len(set(names)) < len(names):
        raise InputError(f"names is {tuple(names)!r}; give each adapter one of its own")
    for name in names:
        check_name(name)
    numbers = config.layer_numbers(len(model.encoder.layers))
    targets = [TARGETS[target] for target in config.chosen]
    chosen = [f"encoder.layers.{number}.{target}" for number in numbers for target in targets]
    model.requires_grad_(False)
    for module, (rank, alpha) in config.sizes(chosen).items():
        linear = _adapted(model, module)
        for name in names:
            linear.adapters[name] = Adapter(linear, rank, alpha, config).train(linear.training)
        linear.active = names[0]
    return chosen


def _adapted(model: BertModel, name: str) -> LoRALinear:
    """Returns the linear layer of that name, as a LoRALinear from now on."""
    linear = model.get_submodule(name)
    if not isinstance(linear, LoRALinear):
        linear = LoRALinear(linear)
        model.set_submodule(name, linear)
    return linear


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The layers that hold LoRA adapters, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def adapter_names(model: nn.Module) -> tuple[str, ...]:
    """The names of the model's LoRA adapters, each once, as they come layer by layer."""
    return tuple(dict.fromkeys(name for layer in lora_layers(model).values() for name in layer.adapters))


def _one_adapter(model: nn.Module, name: str | None, purpose: str) -> str:
    present = adapter_names(model)
    if not present:
        raise InputError(f"the model has no LoRA adapters to {purpose}; add_lora or load_lora first")
    if name is None and len(present) > 1:
        raise InputError(f"the model has several adapters, {', '.join(present)}; say which one to {purpose}")
    if name is not None and name not in present:
        raise InputError(
            f"there is no adapter {name!r} to {purpose}; the model has {', '.join(present)}"
            f"{did_you_mean(name, present)}"
        )
    return present[0] if name is None else name


def remove_lora(model: BertModel) -> None:
    """Takes all LoRA adapters off; the base stays as it is, frozen where it was frozen."""
    for name, layer in lora_layers(model).items():
        model.set_submodule(name, layer.plain())


def merge_lora(model: BertModel, name: str | None = None) -> float:
    """Writes an adapter into the weights, for good -> the largest absolute change of an output by that.

    The outputs compared are those of a few random token sequences, in evaluation mode.
    Computed in fp64, then rounded once to the weights' type. Other adapters are gone afterwards; what was
    frozen stays frozen. Raises InputError for a model without adapters, an unknown name, or several adapters
    and no name.
    """
    name = _one_adapter(model, name, "merge")
    probe = _random_batch(model)
    for layer in lora_layers(model).values():
        layer.active = name if name in layer.adapters else None
    before = _outputs(model, probe)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            if layer.active is not None:
                layer.weight.copy_(layer.adapters[layer.active].merged(layer.weight))
    remove_lora(model)
    return float((_outputs(model, probe) - before).abs().amax())


def _outputs(model: BertModel, batch: Batch) -> Tensor:
    """(T, D) in evaluation mode; leaves each module in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    with torch.no_grad():
        rows = model(batch).packed
    for module in training:
        module.training = True
    return rows


def _random_batch(model: BertModel) -> Batch:
    """Four sequences of random tokens, always the same ones for a size of vocabulary."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    lengths = [min(length, config.max_length) for length in (16, 9, 9, 3)]
    ids = [torch.randint(config.vocab_size, (n,), generator=generator).tolist() for n in lengths]
    batch = Batch.from_sequences(ids, [[0] * n for n in lengths])
    return batch.to(model.embeddings.word.weight.device)


def base_hash(model: nn.Module, without: Sequence[str] = (".adapters.",)) -> str:
    """Computes sha256 over tensors, names, types and shapes, without names that have one of `without`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not any(part in name for part in without):
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
            digest.update(plain.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save_lora(model: BertModel, folder: str | Path, name: str | None = None, base: str | None = None) -> None:
    """Writes an adapter as peft does, for the family's base model in transformers.

    `base.json` beside it has the hash of the base. `base` is the name or folder of the base's weights, for
    peft's `base_model_name_or_path`. Other files in the folder stay. Raises InputError as `merge_lora` does.
    """
    name = _one_adapter(model, name, "save")
    adapters = {
        key: layer.adapters[name] for key, layer in lora_layers(model).items() if name in layer.adapters
    }
    write_adapter(Path(folder), adapters, base_hash(model), base, model.config.family)


def load_lora(model: BertModel, folder: str | Path, name: str = DEFAULT) -> AdapterReport:
    """Loads an adapter in peft's format under a name, in the place of one of that name, and puts it to use.

    It may have been made for BertModel or a BertForSequenceClassification. A model that had no LoRA is frozen
    but for the adapter. Parts of the encoder that were trained with it (biases, peft's `modules_to_save`)
    take the place of the model's. The report lists the tensors of other modules, such as a classifier's.
    Raises InputError for a folder that `save_lora` wrote for other weights, for trained parts of the encoder
    where the model has other adapters, which would change too, and with everything that is wrong for missing,
    unexpected and mis-shaped tensors and settings that are not supported; the model stays as it was then.
    """
    check_name(name)
    folder = Path(folder)
    shapes = {
        f"encoder.layers.{number}.{target}": tuple(layer.get_submodule(target).weight.shape)
        for number, layer in enumerate(model.encoder.layers)
        for target in TARGETS.values()
    }
    if model.pooler is not None:
        shapes[POOLER] = tuple(model.pooler.dense.weight.shape)
    saved = read_adapter(folder, shapes, model.config.family)
    parts = _trained_parts(model, folder, saved.report.others)
    if parts and {*adapter_names(model)} - {name}:
        raise InputError(
            f"{folder} holds {listed(list(parts), shown=3)}, which were trained with the adapter (peft's "
            f"bias or modules_to_save) and differ from what the model's other adapters have; load it alone"
        )
    if saved.sha256 not in (None, base_hash(model)):
        raise InputError(
            f"the adapter in {folder} was made for other weights than this model's; load the weights that it "
            f"was trained on, unmerged and in their precision"
        )
    if not lora_layers(model):
        model.requires_grad_(False)
    for key, layer in lora_layers(model).items():
        layer.active = None
        if name in layer.adapters:
            del layer.adapters[name]
        if not layer.adapters and key not in saved.values:
            model.set_submodule(key, layer.plain())
    for key, values in saved.values.items():
        linear = _adapted(model, key)
        adapter = Adapter(linear, len(values.A), values.alpha, saved.settings)
        with torch.no_grad():
            for kind, parameter in adapter.named_parameters():
                parameter.copy_(getattr(values, kind))
        linear.adapters[name] = adapter.train(linear.training)
        linear.active = name
    own = model.state_dict()
    with torch.no_grad():
        for part, tensor in parts.items():
            own[part].copy_(tensor)
    if not parts:
        return saved.report
    note = f"trained with the adapter, and in place of the base's: {listed(list(parts), shown=3)}"
    return replace(saved.report, notes=(*saved.report.notes, note))


def _trained_parts(model: BertModel, folder: Path, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the encoder that differ from the model's, by our names.

    Raises InputError for one of another shape.
    """
    own = model.state_dict()
    found = {our_name(name, model.config.family): tensor for name, tensor in others.items()}
    parts = {name: tensor for name, tensor in found.items() if name in own and not _equal(tensor, own[name])}
    for name, tensor in parts.items():
        if tensor.shape != own[name].shape:
            raise InputError(
                f"{folder} holds {name} of shape {tuple(tensor.shape)}, the model's has "
                f"{tuple(own[name].shape)}; load the weights that the adapter was trained on"
            )
    return parts


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a == b.cpu()).all())
