"""Progress: what is logged, which checkpoint is the best, when a run stops, what an interruption leaves."""

import math
import os
import signal
from types import SimpleNamespace

import pytest
import torch

from minbert import InputError
from multitask.training.plan import Plan, TaskData
from multitask.training.progress import Progress

NAN = math.nan


class Recorder:
    """A run of 3 epochs of 8 steps on nothing, whose evaluations give `values` one after the other."""

    def __init__(self, values=(), state=None, losses=lambda number: 1.0, **options):
        self.values = iter(values)
        self.losses = losses
        self.events, self.records = [], []
        data = TaskData(
            [1] * 8, lambda indices: SimpleNamespace(tokens=7), 1, accumulation=options.pop("accumulation", 1)
        )
        self.plan = Plan({"a": data}, "sequential", 3, 0)
        select = {"best": lambda scores: scores["a"]["x"]} | options.pop("select", {})
        self.progress = Progress(
            self.plan,
            evaluate=self.evaluate,
            select=select,
            save=lambda name: self.events.append((name, self.plan.step)),
            log=lambda kind, step, **values: self.records.append((kind, step, values)),
            rate=lambda: 0.5,
            quiet=True,
            **options,
        )
        if state:
            self.plan.load_state_dict(state["plan"])
            self.progress.load_state_dict(state["progress"])

    def evaluate(self):
        self.events.append(("evaluate", self.plan.step))
        return {"a": {"x": next(self.values, 0.0)}}

    def state(self):
        return {"plan": self.plan.state_dict(), "progress": self.progress.state_dict()}

    def run(self, before_step=lambda number: None):
        with self.progress.interruption():
            self.progress.catch_up()
            for step in self.plan:
                before_step(step.number)
                for piece in step.pieces:
                    self.progress.report(step, piece, torch.tensor(self.losses(step.number)))
                self.progress.after_step(step)
        return self


def test_each_epoch_ends_with_an_evaluation_and_a_checkpoint():
    events = Recorder([0.1, 0.3, 0.2]).run().events
    assert events == [
        *(("evaluate", 8), ("best", 8), ("last", 8)),
        *(("evaluate", 16), ("best", 16), ("last", 16)),
        *(("evaluate", 24), ("last", 24)),
    ]


def test_more_evaluations_and_checkpoints_where_asked_for():
    events = Recorder([0.3, 0.2], evaluate_every=5, save_every=3).run().events
    assert [step for name, step in events if name == "evaluate"] == [5, 8, 10, 15, 16, 20, 24]
    assert [step for name, step in events if name == "last"] == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]


@pytest.mark.parametrize(
    ("values", "best", "step"),
    [
        ([0.1, 0.3, 0.2], 0.3, 16),
        ([0.2, 0.2, 0.2], 0.2, 8),
        ([-0.5, -0.4, -0.4], -0.4, 16),
        ([NAN, 0.1, NAN], 0.1, 16),
        ([NAN, -1.0, NAN], -1.0, 16),
        ([0.1, NAN, 0.1], 0.1, 8),
        ([NAN, NAN, NAN], -math.inf, 8),
        ([None, None, None], None, 24),
    ],
)
def test_the_best_is_the_highest_then_the_earliest_and_never_nan(values, best, step):
    recorder = Recorder(values).run()
    assert (recorder.progress.best["best"], recorder.progress.best_step) == (best, step)
    assert [at for name, at in recorder.events if name == "best"][-1] == step


def test_other_checkpoints_have_a_best_of_their_own():
    other = {"best-b": lambda scores: -scores["a"]["x"], "best-c": lambda scores: None}
    recorder = Recorder([0.1, 0.3, -0.2], select=other, patience=1).run()
    assert [event for event in recorder.events if event[0].startswith("best")] == [
        *(("best", 8), ("best-b", 8), ("best", 16), ("best-b", 24)),
    ]
    assert recorder.progress.best_steps == {"best": 16, "best-b": 24}
    state = recorder.state()["progress"]
    second = Recorder(select=other)
    second.progress.load_state_dict(state)
    assert second.progress.best == recorder.progress.best == {"best": 0.3, "best-b": 0.2}


def test_skipped_steps_are_in_the_log():
    records = Recorder(skipped=lambda: 3).run().records
    assert all(values["skipped"] == 3 for kind, _, values in records if kind == "train")
    assert not any("skipped" in values for _, _, values in Recorder().run().records)


@pytest.mark.parametrize("values", [[NAN, 0.1, 0.0], [0.3, 0.3, 0.1], [NAN, NAN, 0.0]])
def test_the_best_so_far_survives_a_resume_at_each_epoch(values):
    whole = Recorder(values).run()
    for epochs in (1, 2):
        second = Recorder(values[epochs:], state=state_at(values, 8 * epochs)).run()
        assert second.progress.best == whole.progress.best
        assert second.progress.best_step == whole.progress.best_step


def interrupt_twice():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def state_at(values, step):
    """The state that the checkpoint of `last` at a step holds."""
    states = {}
    recorder = Recorder(values)
    recorder.progress.save = lambda name: states.setdefault((name, recorder.plan.step), recorder.state())
    recorder.run()
    return states["last", step]


@pytest.mark.parametrize(
    ("values", "patience", "last_step"),
    [
        ([0.3, 0.2, 0.4], 1, 16),
        ([0.3, 0.3, 0.4], 1, 16),
        ([0.1, 0.2, 0.3], 1, 24),
        ([0.3, 0.2, 0.1], 2, 24),
        ([0.3, 0.2, 0.1], None, 24),
        ([NAN, NAN, 0.1], 1, 16),
    ],
)
def test_patience(values, patience, last_step):
    recorder = Recorder(values, patience=patience).run()
    assert recorder.plan.step == last_step
    assert recorder.events[-1] == ("last", last_step)
    assert not list(recorder.plan)


def test_losses_are_means_over_the_steps_since_the_last_record_and_a_step_sums_its_pieces():
    recorder = Recorder(losses=float, save_every=5, accumulation=2).run()  # 4 steps an epoch, pieces of 1/2
    train = {step: values["loss"]["a"] for kind, step, values in recorder.records if kind == "train"}
    assert train == {4: 2.5, 5: 5.0, 8: 7.0, 10: 9.5, 12: 11.5}
    record = recorder.records[0][2]
    assert record.keys() == {"epoch", "loss", "rate", "seconds"} and record["rate"] == 0.5


def test_losses_are_read_every_ten_steps():
    recorder = Recorder()
    read = []
    for step in recorder.plan:
        for piece in step.pieces:
            recorder.progress.report(step, piece, torch.tensor(1.0))
        recorder.progress.after_step(step)
        read.append(not recorder.progress._losses)
    assert [i + 1 for i, done in enumerate(read) if done] == [8, 10, 16, 20, 24]


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_task_and_step_and_keeps_the_checkpoint(value):
    recorder = Recorder(losses=lambda number: value if number == 13 else 1.0)
    with pytest.raises(InputError, match=rf"the loss of a is {value} at step 13; lower --optim.lr"):
        recorder.run()
    assert recorder.events[-1] == ("last", 8)


def test_one_ctrl_c_waits_for_the_step_and_saves_a_state_between_steps():
    before = signal.getsignal(signal.SIGINT)  # a job in the background has it ignored
    recorder = Recorder([0.1])
    with pytest.raises(KeyboardInterrupt):
        recorder.run(lambda number: number == 13 and os.kill(os.getpid(), signal.SIGINT))
    assert recorder.events[-1] == ("last", 13)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_does_not_wait_and_leaves_last_as_it_was():
    recorder = Recorder([0.1])
    with pytest.raises(KeyboardInterrupt):
        recorder.run(lambda number: number == 13 and interrupt_twice())
    assert recorder.events[-1] == ("last", 8)


def test_ctrl_c_before_an_evaluation_leaves_it_to_the_resumed_run():
    values = [0.1, 0.2, 0.3]
    whole = Recorder(values).run()
    first = Recorder(values)
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda number: number == 16 and os.kill(os.getpid(), signal.SIGINT))
    assert first.events[-2:] == [("last", 8), ("last", 16)]
    second = Recorder(values[1:], state=first.state()).run()
    assert second.events == [("evaluate", 16), ("best", 16), ("last", 16), *whole.events[-3:]]
    assert without_seconds(first.records + second.records) == without_seconds(whole.records)


def test_ctrl_c_in_an_evaluation_stops_at_once_and_the_resumed_run_makes_it():
    values = [0.1, 0.2, 0.3]
    whole = Recorder(values).run()
    first = Recorder(values)
    evaluate = first.evaluate

    def interrupted():
        if first.plan.step == 16:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not stopped")
        return evaluate()

    first.progress.evaluate = interrupted
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.events[-1] == ("last", 16)
    assert first.progress.evaluated_step == 8 and first.progress.best_step == 8
    second = Recorder(values[1:], state=first.state()).run()
    assert second.events == [("evaluate", 16), ("best", 16), ("last", 16), *whole.events[-3:]]
    assert without_seconds(first.records + second.records) == without_seconds(whole.records)


def test_ctrl_c_while_the_best_is_saved_waits_until_it_is_whole():
    recorder = Recorder([0.1, 0.2, 0.3])

    def save(name):
        if (name, recorder.plan.step) == ("best", 16):
            os.kill(os.getpid(), signal.SIGINT)
        recorder.events.append((name, recorder.plan.step))

    recorder.progress.save = save
    with pytest.raises(KeyboardInterrupt):
        recorder.run()
    assert recorder.events[-4:] == [("evaluate", 16), ("best", 16), ("last", 16), ("last", 16)]
    assert recorder.progress.evaluated_step == recorder.progress.best_step == 16


@pytest.mark.parametrize("step", range(1, 25))
def test_the_log_of_an_interrupted_run_is_that_of_a_whole_one(step):
    """Losses that were not written yet are part of the state."""
    values = [0.1, 0.2, 0.3]
    options = {"losses": lambda number: 1 / number, "evaluate_every": 5}
    whole = Recorder(values * 3, **options).run()
    first = Recorder(values * 3, **options)
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda number: number == step and os.kill(os.getpid(), signal.SIGINT))
    done = sum(name == "evaluate" for name, _ in first.events)
    second = Recorder((values * 3)[done:], state=first.state(), **options).run()
    assert without_seconds(first.records + second.records) == without_seconds(whole.records)
    assert second.progress.best_step == whole.progress.best_step


def without_seconds(records):
    return [
        (kind, step, {k: v for k, v in values.items() if k != "seconds"}) for kind, step, values in records
    ]


def test_seconds_add_up_over_interruptions():
    first = Recorder([0.1]).run()
    state = first.state()
    state["progress"]["seconds"] = 1000.0
    assert 1000 <= Recorder(state=state).progress.elapsed() < 1060


def test_training_in_a_thread_needs_no_signals():
    from threading import Thread

    recorder = Recorder([0.1, 0.2])
    thread = Thread(target=recorder.run)
    thread.start()
    thread.join()
    assert recorder.events[-1] == ("last", 24)


def test_costs_count_tokens_and_epochs_and_leave_evaluations_and_checkpoints_out(monkeypatch):
    """A clock that moves by what each thing takes: a step 1, an evaluation 100, a checkpoint 1000 seconds."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("multitask.training.progress.time", clock)
    recorder = Recorder([0.1, 0.2, 0.3])

    def takes(seconds, what):
        def timed(*arguments):
            clock.now += seconds
            return what(*arguments)

        return timed

    recorder.progress.evaluate = takes(100, recorder.progress.evaluate)
    recorder.progress.save = takes(1000, recorder.progress.save)
    recorder.run(lambda number: takes(1, lambda: None)())
    assert recorder.progress.elapsed() == 24 + 3 * 100 + 6 * 1000
    assert recorder.progress.costs() == {"epochs": 3.0, "training_seconds": 24.0, "tokens": 24 * 7}
    state = recorder.state()
    again = Recorder(state=state)
    assert again.progress.costs() == recorder.progress.costs()


def test_half_an_epoch_counts_as_half():
    recorder = Recorder([0.1])
    steps = iter(recorder.plan)
    for _ in range(12):
        step = next(steps)
        list(step.pieces)
    assert recorder.plan.epochs_done == 1.5
