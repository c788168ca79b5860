"""Writes tests/minbert/fixtures: a random tiny BERT and what transformers computes with it.

Run by hand (`python tests/make_reference_fixture.py`, needs transformers); the result is committed, so that
the model is compared with the reference also where transformers is not installed.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

FOLDER = Path(__file__).parent / "minbert" / "fixtures"


def main() -> None:
    generator = torch.Generator().manual_seed(11711)
    config = BertConfig(
        vocab_size=37,
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=22,
        max_position_embeddings=13,
        type_vocab_size=3,
        layer_norm_eps=1e-7,
        attn_implementation="eager",
    )
    model = BertModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if name.endswith("LayerNorm.weight") else noise)

    ids = torch.randint(0, 37, (4, 13), generator=generator)
    types = torch.randint(0, 3, (4, 13), generator=generator)
    mask = torch.ones(4, 13, dtype=torch.long)
    mask[1, 6:] = 0  # right padding
    mask[2, :4] = 0  # left padding
    mask[3, 1:] = 0  # one token
    output = model(ids, mask, types, output_hidden_states=True, output_attentions=True)
    weight = torch.randn(output.last_hidden_state.shape, generator=generator) * mask.unsqueeze(-1)
    pooler_weight = torch.randn(output.pooler_output.shape, generator=generator)
    loss = (output.last_hidden_state * weight).sum() + (output.pooler_output * pooler_weight).sum()
    loss.backward()

    expected = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": types,
        "loss_weight": weight,
        "loss_pooler_weight": pooler_weight,
        "last_hidden_state": output.last_hidden_state,
        "pooler_output": output.pooler_output,
    }
    expected |= {f"hidden_states.{i}": state for i, state in enumerate(output.hidden_states)}
    expected |= {f"attentions.{i}": state for i, state in enumerate(output.attentions)}
    expected |= {f"grad.{name}": parameter.grad for name, parameter in model.named_parameters()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(FOLDER)
    plain = {name: tensor.detach().clone() for name, tensor in expected.items()}
    save_file(plain, FOLDER / "expected.safetensors")


if __name__ == "__main__":
    main()
