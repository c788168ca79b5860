"""The public surface as type checkers see it; `make lint` runs mypy on this file, nothing executes it."""

from typing import assert_type

from minbert import (
    AdamW,
    Batch,
    BertConfig,
    BertModel,
    BertOutput,
    LoRAConfig,
    SentenceEncoder,
    Tokenizer,
    add_lora,
    merge_lora,
)
from minbert.check import Stage
from minbert.export import ExportReport
from multitask import Run, RunConfig, load_run, train


def use_the_model(texts: list[str], stage: Stage, report: ExportReport) -> None:
    model = BertModel.from_pretrained("weights", kernels="fused")
    tokenizer = Tokenizer.from_pretrained("weights")
    batch = tokenizer(texts, max_length=128)
    assert_type(model, BertModel)
    assert_type(batch, Batch)
    assert_type(model.config, BertConfig)
    assert_type(model.forward(batch, cls_only=True), BertOutput)
    assert_type(add_lora(model, LoRAConfig(rank=8, layers="last:4")), list[str])
    assert_type(merge_lora(model), float)
    assert_type(SentenceEncoder.from_pretrained("weights", pooling="mean"), SentenceEncoder)
    assert_type(AdamW(model.parameters(), lr=1e-3, weight_decay=0.01), AdamW)
    assert_type(stage.name, str)
    assert_type(report, ExportReport)


def train_on_tasks() -> None:
    run = train(RunConfig.from_dict({"weights": "weights", "data": "data", "out": "run"}))
    assert_type(run, Run)
    assert_type(load_run("run"), Run)
