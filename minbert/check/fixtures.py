"""Reference outputs as references/make.py writes them: safetensors files beside the code."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open


@cache
def read_fixture(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a fixture, read-only, and its settings, which are JSON in the metadata."""
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(file.metadata()["settings"])
    for tensor in tensors.values():
        tensor.setflags(write=False)
    return tensors, settings


def model_fixture(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A fixture of this package: model, optimizer, lora, pooling or tokenizer."""
    return read_fixture(Path(__file__).with_name("fixtures") / f"{name}.safetensors")
