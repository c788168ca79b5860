"""Writes the fixtures of the checking kit. Run: python -m references.make

The references are fp64 formulas in plain numpy, written from the papers, and import nothing of minBERT: each
file beside this one, and those of MODULES, has `fixture() -> (tensors, settings)`.
"""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).parents[1]
PLACES = {
    "model": "minbert/check/fixtures",
    "optimizer": "minbert/check/fixtures",
    "lora": "minbert/check/fixtures",
    "pooling": "minbert/check/fixtures",
    "tokenizer": "minbert/check/fixtures",
    "losses": "multitask/check/fixtures",
    "metrics": "multitask/check/fixtures",
}


MODULES = {"losses": "multitask.check.loss_formulas", "metrics": "multitask.check.metric_formulas"}


def make(name: str) -> bytes:
    """The bytes of a fixture's file."""
    tensors, settings = import_module(MODULES.get(name, f"references.{name}")).fixture()
    arrays = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    return save(arrays, {"settings": json.dumps(settings)})  # one key, since their order is not kept


def main() -> None:
    for name, folder in PLACES.items():
        path = ROOT / folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make(name))
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
