"""Fixtures for exports of encoders: the command as it is called, and sentences that the tokenizer knows."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import BertModel, CommandParser, LoRAConfig, add_lora, save_lora
from minbert.cli.export import add_export_options, export_command


@pytest.fixture
def export(capfd):
    """The function `export(*words)`: runs `minbert export WORDS --json` -> what it printed.

    Nothing else is printed, by any of the libraries that it calls.
    """

    def call(*words) -> dict:
        parser = CommandParser(prog="minbert export")
        add_export_options(parser)
        arguments = parser.parse_args([*map(str, words), "--json"])
        capfd.readouterr()  # what a test's own calls of other libraries left
        export_command(arguments)
        printed = capfd.readouterr()
        assert printed.err == "" and printed.out.count("\n") == 1
        return json.loads(printed.out)

    return call


@pytest.fixture(scope="session")
def same_tensors():
    """The function `same_tensors(a, b)`: whether two models, or files of safetensors, hold the same bits."""

    def compare(a, b) -> bool:
        first, second = (load_file(x) if isinstance(x, str | Path) else x.state_dict() for x in (a, b))
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    return compare


@pytest.fixture
def with_adapters(tiny_folder, tmp_path) -> Path:
    """A folder whose root is a base, with a LoRA adapter for each of the tasks sst and sts."""
    folder = tmp_path / "adapted"
    shutil.copytree(tiny_folder, folder)
    model = BertModel.from_pretrained(tiny_folder)
    add_lora(model, LoRAConfig(rank=2, targets=("query", "output")), ["sst", "sts"])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapters." in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    for name in ("sst", "sts"):
        save_lora(model, folder / "adapter" / name, name)
    return folder
