"""GradCache: the gradients of the large batch, and with dropout those of the same chunks in one graph."""

import warnings

import pytest
import torch

from minbert import AdamW
from multitask.data.collate import Chunks
from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.grad_cache import GradCache
from multitask.training.methods.standard import StandardLoss
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch

LEARNT = {"ranking": {"learn_temperature": True, "symmetric": True, "training_head": "mlp", "weight": 0.5}}
CPU = torch.device("cpu")


@pytest.fixture
def model(make_model):
    return make_model(**LEARNT)


@pytest.fixture
def chunks_of(make_batch):
    """chunks_of(model, *sizes) -> Chunks of consecutive examples."""

    def make(model, *sizes):
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return Chunks(
            tuple(make_batch(model, "ranking", n, start) for n, start in zip(sizes, starts, strict=True))
        )

    return make


def unscaled(loss, task):
    loss.backward()


@pytest.mark.parametrize(
    ("sizes", "dtype", "atol"),
    [((3, 3, 2), torch.float64, 1e-10), ((1, 7), torch.float32, 1e-5), ((8,), torch.float64, 1e-10)],
)
def test_without_dropout_it_is_the_large_batch(
    sizes, dtype, atol, model, make_batch, chunks_of, gradients_of, assert_equal_gradients
):
    model.to(dtype)
    loss = GradCache()(Engine(model), MicroBatch("ranking", chunks_of(model, *sizes), 0.25), unscaled)
    found = gradients_of(model)
    model.zero_grad(set_to_none=True)
    wanted = model.loss("ranking", make_batch(model, "ranking", 8))
    (wanted * 0.25).backward()
    torch.testing.assert_close(loss, wanted.detach() * 0.25, atol=atol, rtol=0)
    assert not loss.requires_grad
    assert_equal_gradients(found, gradients_of(model), atol)
    assert found["heads.ranking.log_temperature"].abs() > 1e-3
    assert found["heads.ranking.dense.weight"].abs().max() > 1e-4


@pytest.mark.parametrize("checkpointing", [False, True])
def test_with_dropout_it_is_the_same_chunks_in_one_graph(
    checkpointing, model, chunks_of, gradients_of, assert_equal_gradients
):
    model.train()
    batch = chunks_of(model, 3, 3, 2)
    torch.manual_seed(9)
    outputs = torch.cat([model("ranking", part.inputs) for part in batch.parts])
    after = torch.get_rng_state()
    loss = model.loss_of("ranking", outputs, batch.targets)
    loss.backward()
    wanted = gradients_of(model)
    assert outputs.std() > 0 and not torch.equal(outputs[:3], model("ranking", batch.parts[0].inputs))
    model.zero_grad(set_to_none=True)
    torch.manual_seed(9)
    model.encoder.encoder.checkpointing = checkpointing
    found = GradCache()(Engine(model), MicroBatch("ranking", batch, 1.0), unscaled)
    torch.testing.assert_close(found, loss.detach(), atol=1e-12, rtol=0)
    assert_equal_gradients(gradients_of(model), wanted, 1e-12)
    assert torch.equal(torch.get_rng_state(), after), "training goes on as if each chunk had run once"


def test_no_more_than_one_chunk_has_a_graph(model, chunks_of):
    """The first pass records nothing; in the second, each chunk is freed before the next one runs."""
    events = []
    hook = model.encoder.register_forward_hook(
        lambda module, args, output: events.append("graph" if output.packed.requires_grad else "no graph")
    )

    def backward(loss, task):
        events.append("backward")
        loss.backward()

    GradCache()(Engine(model), MicroBatch("ranking", chunks_of(model, 2, 2), 1.0), backward)
    hook.remove()
    assert events == ["no graph", "no graph", "graph", "backward", "graph", "backward"]


def test_gradients_are_scaled_exactly_once(model, chunks_of, gradients_of, assert_equal_gradients):
    piece = MicroBatch("ranking", chunks_of(model, 3, 2), 1.0)
    found = []
    for scale in (1.0, 1024.0):
        precision = Precision("fp32", CPU)
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        parameters = list(model.parameters())
        gradients = Gradients(AdamW(parameters, lr=0.0), precision)
        GradCache()(Engine(model), piece, gradients.backward)
        before = gradients_of(model)
        gradients.finish()
        found.append(gradients_of(model))
        assert_equal_gradients(before, {name: scale * g for name, g in found[-1].items()}, 1e-9)
        model.zero_grad(set_to_none=True)
    assert_equal_gradients(*found, 1e-10)


def test_a_batch_that_is_not_cut_has_the_standard_loss(model, make_batch, gradients_of):
    piece = MicroBatch("ranking", make_batch(model, "ranking", 4), 0.5)
    plain = StandardLoss()(Engine(model), piece, unscaled)
    wanted = gradients_of(model)
    model.zero_grad(set_to_none=True)
    assert torch.equal(GradCache()(Engine(model), piece, unscaled), plain)
    assert all(torch.equal(wanted[name], found) for name, found in gradients_of(model).items())


@pytest.mark.slow
def test_it_is_that_of_sentence_transformers(tiny_folder, make_model, chunks_of):
    """CachedMultipleNegativesRankingLoss on the same texts: the loss, and gradients from bottom and top."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("sentence_transformers", reason="compares with sentence-transformers")
        from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

        theirs = library.SentenceTransformer(str(tiny_folder), device="cpu").double().eval()
        objective = CachedMultipleNegativesRankingLoss(theirs, scale=20.0, mini_batch_size=3)
        model = make_model(ranking={"temperature": 0.05, "mask_false_negatives": False})
        batch = chunks_of(model, 3, 3, 2)
        sides = []
        for side in (0, 1):
            halves = [part.inputs.padded()["input_ids"].chunk(2)[side] for part in batch.parts]
            ids = torch.nn.utils.rnn.pad_sequence([row for half in halves for row in half], batch_first=True)
            sides.append({"input_ids": ids, "attention_mask": (ids != 0).long()})
        wanted = objective(sides, None)
        wanted.backward()
    found = GradCache()(Engine(model), MicroBatch("ranking", batch, 1.0), unscaled)
    torch.testing.assert_close(found, wanted.detach(), atol=1e-10, rtol=0)
    names = dict(theirs.named_parameters())
    for ours, name in (
        (model.encoder.embeddings.word.weight, "embeddings.word_embeddings.weight"),
        (model.encoder.encoder.layers[1].feed_forward.output.weight, "encoder.layer.1.output.dense.weight"),
    ):
        (reference,) = (parameter for key, parameter in names.items() if key.endswith(name))
        assert reference.grad.abs().max() > 1e-4
        torch.testing.assert_close(ours.grad, reference.grad, atol=1e-10, rtol=0)
