"""Writes weights with their last layers started anew, for a contrastive loss to mend.

python benchmarks/weaken.py WEIGHTS OUT [--layers 2] [--seed 11711]

The linear layers of the last layers get normal values of deviation 0.02, biases 0, norms 1 and 0. OUT is a
folder of weights like WEIGHTS, mean pooling included; `multitask evaluate --weights OUT --tasks sts` says how
much is left.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from minbert import (
    BertModel,
    CommandParser,
    InputError,
    SentenceModules,
    Tokenizer,
    run_command,
    write_modules,
)
from minbert.model import LayerNorm


def weaken(model: BertModel, layers: int, seed: int) -> None:
    """Starts the last `layers` layers anew, in place."""
    if not 1 <= layers <= len(model.encoder.layers):
        raise InputError(f"layers is {layers}; the model has {len(model.encoder.layers)}")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.encoder.layers[-layers:].modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=0.02, generator=generator)
                module.bias.zero_()
            elif isinstance(module, LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11711)
    options = parser.parse_args(arguments)
    model = BertModel.from_pretrained(options.weights)
    weaken(model, options.layers, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(options.out)
    Tokenizer.from_pretrained(options.weights).save(options.out)
    write_modules(options.out, SentenceModules.of(model.config.hidden_size))
    print(f"wrote {options.out}: the last {options.layers} of {len(model.encoder.layers)} layers anew")


if __name__ == "__main__":
    run_command(main)
