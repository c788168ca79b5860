"""Callbacks: calls in their order, on rank 0; records of a run; a run that a callback ends."""

import json

import pytest

from multitask import load_run, resume, train
from multitask.runtime.callbacks import Callback, Callbacks, ProgressBar
from multitask.runtime.messages import logger, show_messages
from multitask.runtime.tracking import read_metrics


class Recorder(Callback):
    """Notes all calls."""

    def __init__(self, stops_at=0):
        self.stops_at = stops_at
        self.calls, self.records = [], []

    def on_start(self, step, total_steps):
        self.calls.append(("start", step, total_steps))

    def on_record(self, kind, step, values):
        self.records.append({"kind": kind, "step": step, **values})

    def on_step_end(self, step):
        self.calls.append(("step", step))
        return step == self.stops_at

    def on_end(self, scores):
        self.calls.append(("end", scores))


def test_all_are_called_also_after_one_that_stops():
    stops, goes_on = Recorder(stops_at=1), Recorder()
    assert Callbacks([stops, goes_on]).on_step_end(1) and not Callbacks([goes_on]).on_step_end(1)
    assert goes_on.calls == [("step", 1)] * 2


def test_an_error_ends_the_run_and_the_others_hear_of_it(tiny_config, tmp_path):
    class Fails(Callback):
        def on_step_end(self, step):
            raise RuntimeError("full")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="full"):
        train(tiny_config(), callbacks=[recorder, Fails()])
    assert recorder.calls[-1] == ("end", None)
    assert not (tmp_path / "run" / "scores.json").exists()


def test_a_run_that_a_callback_ends_is_finished(tiny_config, tmp_path, said):
    """At a step without an evaluation; its best checkpoint is chosen, and resuming it does nothing."""
    recorder = Recorder(stops_at=5)
    run = train(tiny_config(), callbacks=[recorder])
    steps = [("step", step) for step in range(1, 6)]
    assert recorder.calls == [("start", 0, 28), *steps, ("end", run.scores["scores"])]
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [(record["kind"], record["step"]) for record in records] == [("train", 5), ("evaluation", 5)]
    assert recorder.records == records
    assert run.scores["step"] == 5 and run.scores["costs"]["epochs"] == pytest.approx(5 / 14)
    assert load_run(tmp_path / "run").evaluate().scores == run.scores["scores"]
    state = json.loads((tmp_path / "run/last/training_state/state.json").read_text())
    assert dict(dict(state["items"])["plan"]["items"]) == {"step": 5, "stopped": True}
    assert resume(tmp_path / "run").scores == run.scores
    assert said[-1] == f"{tmp_path / 'run'} is finished; nothing is left to train"


def test_messages_are_shown_where_asked_for_and_on_rank_0(monkeypatch):
    shown = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with show_messages(shown.append):
            logger.info(f"rank {rank}: 5 %")
    logger.info("nobody")
    assert shown == ["rank 0: 5 %"]


def test_the_bar_shows_each_tasks_loss_as_a_moving_average(monkeypatch):
    bar = ProgressBar()
    bar.on_start(0, 40)
    shown = []
    monkeypatch.setattr(bar.bar, "set_postfix_str", shown.append)
    for losses in ({"sst": 2.0}, {"sst": 1.0, "sts": 0.5}, {"sts": 1.0}):
        bar.on_record("train", 10, {"epoch": 1, "loss": losses})
    bar.on_record("evaluation", 10, {"epoch": 1, "scores": {}})
    bar.on_end(None)
    sst, sts = 0.7 * 2 + 0.3 * 1, 0.7 * 0.5 + 0.3 * 1
    first = ["epoch 1, loss sst 2.000", f"epoch 1, loss sst {sst:.3f}, sts 0.500"]
    assert shown == [*first, f"epoch 1, loss sst {sst:.3f}, sts {sts:.3f}"]
