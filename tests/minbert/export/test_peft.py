"""LoRA folders between peft and us: saved and loaded bit by bit; what is no adapter is not passed over.

Settings of peft, and outputs in both directions: tests/minbert/adapters/test_peft_folder.py.
Run: pytest tests/minbert/export/test_peft.py
"""

import pytest
import torch

from minbert import BertModel, LoRAConfig, add_lora, load_lora, save_lora

transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
# What peft asks transformers on the way is about to be renamed there.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

IDS = torch.tensor([[2, 7, 9, 30, 3], [2, 8, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def fill(model) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name or ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def theirs(folder, **settings):
    """peft's model with random adapters on transformers' BertModel."""
    base = transformers.BertModel.from_pretrained(folder)
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=4, lora_alpha=6, target_modules=["query"], **settings)
    )
    fill(model)
    return model.eval()


@pytest.mark.parametrize("dora", [False, True])
def test_a_saved_and_loaded_adapter_is_bit_equal(tiny, tiny_folder, tmp_path, dora):
    add_lora(tiny, LoRAConfig(rank=3, targets=("query", "output"), dora=dora, rank_pattern={"layers.1": 5}))
    fill(tiny)
    save_lora(tiny, tmp_path / "ours")
    again = BertModel.from_pretrained(tiny_folder)
    load_lora(again, tmp_path / "ours")
    before, after = tiny.state_dict(), again.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    through = peft.PeftModel.from_pretrained(
        transformers.BertModel.from_pretrained(tiny_folder), tmp_path / "ours"
    )
    through.save_pretrained(tmp_path / "theirs")
    again = BertModel.from_pretrained(tiny_folder)
    load_lora(again, tmp_path / "theirs")
    after = again.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


MODULES = ("pooler", "LayerNorm", "word_embeddings", "intermediate")


@pytest.mark.parametrize("module", MODULES)
def test_parts_that_are_the_bases_are_no_hindrance(tiny, tiny_folder, tmp_path, module):
    """Saved, but as they were: the adapter is all that is new, and it gives peft's outputs."""
    peers = theirs(tiny_folder, modules_to_save=[module])
    peers.save_pretrained(tmp_path)
    report = load_lora(tiny, tmp_path)
    assert report.others
    found, expected = tiny(IDS, MASK), peers(IDS, MASK)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=0, atol=1e-5)
    rows = MASK.bool()
    torch.testing.assert_close(
        found.last_hidden_state[rows], expected.last_hidden_state[rows], rtol=0, atol=1e-5
    )
