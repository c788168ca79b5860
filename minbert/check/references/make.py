"""Writes the fixtures of the checking kit. Run: python -m minbert.check.references.make

A fixture holds inputs, and what formulas of plain numpy in fp64 make of them. Tests compare it with
transformers, torch, peft and sentence-transformers.
"""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from minbert.check.fixtures import read_fixture

ROOT = Path(__file__).parents[3]
OURS = "minbert.check.references"
FIXTURES = {  # name -> module with `fixture() -> (tensors, settings)`, and the folder of NAME.safetensors
    "model": (f"{OURS}.bert_fixture", "minbert/check/fixtures"),
    "optimizer": (f"{OURS}.optimizer", "minbert/check/fixtures"),
    "lora": (f"{OURS}.lora", "minbert/check/fixtures"),
    "pooling": (f"{OURS}.pooling", "minbert/check/fixtures"),
    "tokenizer": (f"{OURS}.tokenizer", "minbert/check/fixtures"),
    "losses": ("multitask.check.loss_formulas", "multitask/check/fixtures"),
    "metrics": ("multitask.check.metric_formulas", "multitask/check/fixtures"),
}


def fixture_path(name: str) -> Path:
    return ROOT / FIXTURES[name][1] / f"{name}.safetensors"


def make(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """Computes the tensors and settings of a fixture."""
    tensors, settings = import_module(FIXTURES[name][0]).fixture()
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    return tensors, json.loads(json.dumps(settings))


def is_up_to_date(name: str) -> bool:
    """Returns True if the file has what `make` gives, but for the last digits, which differ between CPUs."""
    written, settings = read_fixture(fixture_path(name))
    tensors, made_settings = make(name)
    return (
        settings == made_settings
        and written.keys() == tensors.keys()
        and all(written[key].dtype == value.dtype for key, value in tensors.items())
        and all(written[key].shape == value.shape for key, value in tensors.items())
        and all(np.allclose(written[key], value, 1e-12, 1e-12) for key, value in tensors.items())
    )


def main() -> None:
    for name in FIXTURES:
        path = fixture_path(name)
        if path.exists() and is_up_to_date(name):
            print(f"{path.relative_to(ROOT)}: unchanged")
            continue
        tensors, settings = make(name)
        path.write_bytes(
            save(tensors, {"settings": json.dumps(settings)})
        )  # one key: their order is not kept
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
