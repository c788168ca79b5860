"""A checkpoint with any tasks whose heads hold random numbers, and the command as it is called."""

import json

import pytest
import torch

from minbert import CommandParser, add_lora
from multitask.cli.export import add_export_options, export_command
from multitask.config.task_config import task_config
from multitask.inference.checkpoint import save_model
from multitask.inference.saved_tasks import make_tasks
from multitask.model.multitask_model import DEFAULT_ADAPTER, MultitaskModel


@pytest.fixture
def checkpoint(tiny, tiny_folder, tiny_tokenizer, randomize, tmp_path):
    """checkpoint(lora=None, per_task=False, encoder=None, **tasks) -> its folder; a task is its settings."""

    def make(lora=None, per_task=False, encoder=tiny, **tasks):
        configs = {name: task_config(name, values) for name, values in tasks.items()}
        model = MultitaskModel(encoder, make_tasks(configs, encoder.config))
        randomize(model.heads)
        if lora is not None:
            add_lora(tiny, lora, list(tasks) if per_task else [DEFAULT_ADAPTER])
            with torch.no_grad():
                for name, parameter in tiny.named_parameters():
                    if ".adapters." in name:
                        parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
        labels = {name: list(getattr(task, "labels", ())) or None for name, task in model.tasks.items()}
        facts = {name: {"config": values, "labels": labels[name]} for name, values in tasks.items()}
        folder = tmp_path / "checkpoint"
        folder.mkdir()
        save_model(folder, model, tiny_tokenizer, facts, str(tiny_folder))
        return folder

    return make


@pytest.fixture
def export(capfd):
    """The function `export(*words)`: runs `multitask export WORDS --json` -> what it printed, and no more."""

    def call(*words) -> dict:
        parser = CommandParser(prog="multitask export")
        add_export_options(parser)
        arguments = parser.parse_args([*map(str, words), "--json"])
        capfd.readouterr()  # what a test's own calls of other libraries left
        export_command(arguments)
        printed = capfd.readouterr()
        assert printed.err == "" and printed.out.count("\n") == 1
        return json.loads(printed.out)

    return call
