"""benchmarks/quality.py: its interval is scipy's, its plain arm is plain, other tasks are refused.

Run: pytest tests/benchmarks/test_quality.py
"""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy.stats import ttest_rel
from torch import nn

from minbert.kernels.dropout import Dropout

FILE = Path(__file__).parents[2] / "benchmarks" / "quality.py"
SPEC = spec_from_file_location("quality", FILE)
quality = module_from_spec(SPEC)
SPEC.loader.exec_module(quality)


def test_the_interval_is_that_of_a_paired_t_test():
    plain, ours = [45.0, 45.4, 45.1, 44.4, 45.6], [45.1, 44.3, 45.6, 44.6, 45.9]
    expected = ttest_rel(ours, plain).confidence_interval(0.95)
    found = quality.compare(plain, ours)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["mean"] == pytest.approx((expected.low + expected.high) / 2)


def test_the_plain_arm_pads_draws_uniformly_and_has_torchs_dropout(tiny, tiny_tokenizer, texts):
    task = SimpleNamespace(collate=lambda examples: quality_batch(tiny_tokenizer(examples)))
    model = SimpleNamespace(modules=tiny.modules, tasks={"sst": task})
    quality.make_plain(SimpleNamespace(model=model))
    assert not task.collate(texts).inputs.layout.packed and task.uniform_batches
    drops = [module for module in tiny.modules() if isinstance(module, nn.Dropout)]
    assert drops and not any(isinstance(module, Dropout) for module in drops)


def quality_batch(inputs):
    from multitask.data.collate import TaskBatch

    return TaskBatch(inputs, inputs.order, ())


def test_another_task_is_refused():
    done = subprocess.run(
        [sys.executable, FILE, "W", "D", "--tasks", "sst,ner"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --tasks has 'ner'; choose from sst, sts\n"
