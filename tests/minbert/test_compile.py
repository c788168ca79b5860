"""torch.export and torch.compile of the whole model, and weights that torchao has quantized.

Run: pytest tests/minbert/test_compile.py
"""

import io

import pytest
import torch
from torch import Tensor, nn

from minbert import BertModel, InputError

REFUSED = 'kernels="fused" packs sequences by their lengths, .* give kernels="reference" to from_pretrained'


@pytest.fixture
def reference(load) -> BertModel:
    return load(kernels="reference", num_hidden_layers=1)


def padded(seed: int, count: int, columns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(count, columns, dtype=torch.long)
    mask[1, columns // 2 :] = 0
    return torch.randint(5, 40, (count, columns), generator=generator), mask


def assert_same(found, expected):
    for name in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")  # of which torch's compiler has many, raised and hidden by itself
@pytest.mark.parametrize(
    "dynamic",
    [False, pytest.param(True, marks=pytest.mark.slow)],  # torch's proofs on symbols take long
)
def test_an_exported_program_gives_the_same_outputs(reference, dynamic):
    sizes = {0: torch.export.Dim("count"), 1: torch.export.Dim("columns", max=64)}
    shapes = (sizes, sizes) if dynamic else None
    program = torch.export.export(reference, padded(0, 3, 7), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    inputs = padded(1, 5, 11) if dynamic else padded(1, 3, 7)
    found = torch.export.load(file).module()(*inputs)
    assert_same(found, reference(*inputs))
    hidden, pooled = found
    assert hidden is found.last_hidden_state and pooled is found.pooler_output


@pytest.mark.filterwarnings("ignore")
def test_a_model_on_ours_is_one_graph(reference):
    """Outputs and gradients, and in training too, where dropout draws from torch's generator."""
    torch._dynamo.reset()

    class Classifier(nn.Module):
        def __init__(self, bert):
            super().__init__()
            self.bert = bert

        def forward(self, ids, mask):
            out = self.bert(ids, attention_mask=mask)
            return out["last_hidden_state"].sum(dim=1) + out.pooler_output

    model, inputs = Classifier(reference), padded(0, 3, 7)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found, expected = compiled(*inputs), model(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    parameters = list(reference.parameters())
    gradients = [torch.autograd.grad(output.square().sum(), parameters) for output in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
    model.train()
    assert not torch.equal(compiled(*inputs), compiled(*inputs))


@pytest.mark.filterwarnings("ignore")
def test_the_default_kernels_say_why_they_are_not_one_graph(load):
    torch._dynamo.reset()
    tiny, inputs = load(num_hidden_layers=1), padded(0, 3, 7)
    for strict, error in ((False, InputError), (True, Exception)):
        with pytest.raises(error, match=REFUSED):
            torch.export.export(tiny, inputs, strict=strict)
    with pytest.raises(Exception, match=REFUSED):
        torch.compile(tiny, fullgraph=True, backend="eager")(*inputs)
    assert_same(torch.compile(tiny, backend="eager")(*inputs), tiny(*inputs))


class Quantized(Tensor):
    """A weight that knows F.linear alone, as torchao's do."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not nn.functional.linear:
            assert function.__name__ in ("__get__", "detach", "requires_grad_"), function
            return super().__torch_function__(function, types, args, kwargs or {})
        x, weight, *bias = args
        with torch._C.DisableTorchFunctionSubclass():
            steps = weight.abs().amax(dim=1, keepdim=True) / 127
            return function(x, (weight / steps).round() * steps, *bias)


@pytest.mark.parametrize("gelu", [False, True])
def test_a_linear_layer_leaves_the_product_to_a_quantized_weight(tiny, gelu):
    layer = tiny.encoder.layers[0].feed_forward.intermediate
    assert isinstance(layer, nn.Linear)  # by which torchao finds it
    x = torch.randn(6, 24)
    with torch.no_grad():
        plain = layer(x, gelu)
        layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Quantized), requires_grad=False)
        found = layer(x, gelu)
    assert 0 < (found - plain).abs().max() < 0.05


@pytest.mark.filterwarnings("ignore")
def test_torchao_quantizes_every_linear_layer(tiny, tiny_tokenizer, texts):
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    with torch.no_grad():
        batch = tiny_tokenizer(texts)
        expected = tiny(batch).last_hidden_state
        quantization.quantize_(tiny, quantization.Int8DynamicActivationInt8WeightConfig())
        layers = [module for module in tiny.modules() if isinstance(module, nn.Linear)]
        assert all(type(layer.weight) not in (Tensor, nn.Parameter) for layer in layers)
        difference = (tiny(batch).last_hidden_state - expected).abs().max()
    assert 0 < difference < 0.2
