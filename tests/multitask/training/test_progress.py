"""Progress: records, the best checkpoint, when a run stops, what an interruption leaves, costs."""

import math
import os
import signal
from threading import Thread
from types import SimpleNamespace

import pytest
import torch

from minbert import InputError
from multitask import RunConfig
from multitask.runtime.callbacks import Callback
from multitask.runtime.precision import Precision
from multitask.training.plan import BatchPlan, TaskData
from multitask.training.progress import Progress

NAN = math.nan


class Recorder(Callback):
    """A run of 3 epochs of 8 steps on nothing, whose evaluations give `values` one after the other."""

    def __init__(self, values=(), state=None, losses=lambda number: 1.0, select=None, stops_at=0, **options):
        self.values = iter(values)
        self.losses = losses
        self.stops_at = stops_at
        self.events, self.records = [], []
        accumulation = options.pop("accumulation", 1)
        data = TaskData([7] * 8, lambda indices: None, 1, accumulation=accumulation)
        self.plan = BatchPlan({"a": data}, "sequential", 3, 0)
        self.precision = Precision("fp32", torch.device("cpu"))
        self.progress = Progress(
            RunConfig.from_dict({"optim": {"lr": 0.5}, **options}),
            self.plan,
            self.precision,
            {"best": lambda scores: scores["a"]["x"]} | (select or {}),
            evaluate=self.evaluate,
            save=self.save,
            callbacks=self,
        )
        if state:
            self.plan.load_state_dict(state["plan"])
            self.progress.load_state_dict(state["progress"])

    def on_record(self, kind, step, values):
        self.records.append((kind, step, values))

    def on_step_end(self, step):
        return step == self.stops_at

    def evaluate(self):
        self.events.append(("evaluate", self.plan.step))
        return {"a": {"x": next(self.values, 0.0)}}

    def save(self, name):
        self.events.append((name, self.plan.step))
        self.saved = self.state()

    def state(self):
        return {"plan": self.plan.state_dict(), "progress": self.progress.state_dict()}

    def run(self, before_step=lambda number: None):
        with self.progress.interruption():
            self.progress.catch_up()
            for step in self.plan:
                before_step(step.number)
                for micro_batch in step.micro_batches:
                    loss = torch.tensor(self.losses(step.number) * micro_batch.weight)
                    self.progress.report(step, micro_batch, loss)
                self.progress.after_step(step)
        return self

    def steps_of(self, name):
        return [step for event, step in self.events if event == name]


def interrupts(at, times=1):
    return lambda number: number == at and [os.kill(os.getpid(), signal.SIGINT) for _ in range(times)]


def without_seconds(records):
    return [
        (kind, step, {k: v for k, v in values.items() if k != "seconds"}) for kind, step, values in records
    ]


# Evaluations and checkpoints.


def test_evaluations_and_checkpoints_at_the_end_of_epochs_and_where_asked_for():
    assert Recorder([0.1, 0.3, 0.2]).run().events == [
        *(("evaluate", 8), ("best", 8), ("last", 8)),
        *(("evaluate", 16), ("best", 16), ("last", 16)),
        *(("evaluate", 24), ("last", 24)),
    ]
    run = Recorder([0.3, 0.2], eval={"every_steps": 5}, checkpoint={"every_steps": 3}).run()
    assert run.steps_of("evaluate") == [5, 8, 10, 15, 16, 20, 24]
    assert run.steps_of("last") == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]


@pytest.mark.parametrize(
    ("values", "best", "step"),
    [
        ([0.1, 0.3, 0.2], 0.3, 16),
        ([0.2, 0.2, 0.2], 0.2, 8),
        ([NAN, -1.0, NAN], -1.0, 16),
        ([0.1, NAN, 0.1], 0.1, 8),
        ([NAN, NAN, NAN], -math.inf, 8),
        ([None, None, None], None, 24),
    ],
)
def test_the_best_is_the_highest_then_the_earliest_and_never_nan(values, best, step):
    run = Recorder(values).run()
    assert (run.progress.best["best"], run.progress.best_step) == (best, step)
    assert run.steps_of("best")[-1] == step


def test_other_checkpoints_have_a_best_of_their_own():
    other = {"best-b": lambda scores: -scores["a"]["x"], "best-c": lambda scores: None}
    run = Recorder([0.1, 0.3, -0.2], select=other, patience=1).run()
    assert (run.steps_of("best"), run.steps_of("best-b"), run.steps_of("best-c")) == ([8, 16], [8, 24], [])
    second = Recorder(select=other, state=run.state())
    assert second.progress.best == run.progress.best == {"best": 0.3, "best-b": 0.2}
    assert second.progress.best_scores == {"a": {"x": 0.3}}


@pytest.mark.parametrize(
    ("values", "patience", "last_step"),
    [
        ([0.3, 0.3, 0.4], 1, 16),
        ([0.1, 0.2, 0.3], 1, 24),
        ([0.3, 0.2, 0.1], 2, 24),
        ([0.3, 0.2, 0.1], None, 24),
        ([NAN, NAN, 0.1], 1, 16),
    ],
)
def test_patience(values, patience, last_step):
    run = Recorder(values, patience=patience).run()
    assert run.events[-1] == ("last", last_step) and not list(run.plan)


@pytest.mark.parametrize(
    ("at", "more"), [(11, []), (16, [("last", 16)])], ids=["before an evaluation", "after"]
)
def test_a_callback_stops_the_run_with_an_evaluation_and_a_checkpoint(at, more):
    run = Recorder([0.1, 0.2], stops_at=at).run()
    assert run.events[3:] == [("evaluate", at), ("best", at), ("last", at), *more] and run.plan.stopped
    kinds = [(kind, step) for kind, step, _ in run.records if step >= 11]
    assert kinds == [("train", at), ("evaluation", at)]
    assert Recorder(state=run.state()).run().events == [], "a resumed run knows that it has ended"


# Records.


def test_losses_are_means_over_the_steps_since_the_last_record_and_a_step_sums_its_micro_batches():
    run = Recorder(losses=float, checkpoint={"every_steps": 5}, accumulation=2).run()  # 4 steps an epoch
    train = {step: values["loss"]["a"] for kind, step, values in run.records if kind == "train"}
    assert train == {4: 2.5, 5: 5.0, 8: 7.0, 10: 9.5, 12: 11.5}
    assert run.records[0][2].keys() == {"epoch", "loss", "rate", "step_skipped", "seconds"}
    assert Recorder().run().records[1][1] == 8 and Recorder().run().records[2][1] == 10  # every ten steps


@pytest.mark.parametrize("value", [NAN, -math.inf])
def test_a_loss_that_is_not_finite_names_task_and_step_and_keeps_the_checkpoint(value):
    run = Recorder(losses=lambda number: value if number == 13 else 1.0)
    with pytest.raises(InputError, match=rf"the loss of a is {value} at step 13; lower --optim.lr"):
        run.run()
    assert run.events[-1] == ("last", 8)


# Interruption.


@pytest.mark.parametrize(("times", "last"), [(1, 13), (2, 8)], ids=["once", "twice"])
def test_ctrl_c_waits_for_the_step_and_saves_a_state_between_steps_but_only_once(times, last):
    before = signal.getsignal(signal.SIGINT)  # a job in the background has it ignored
    run = Recorder([0.1])
    with pytest.raises(KeyboardInterrupt):
        run.run(interrupts(13, times))
    assert run.events[-1] == ("last", last)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_sigterm_and_sighup_do_the_same_and_leave_with_their_status(number, status):
    run, before = Recorder([0.1]), signal.signal(number, signal.SIG_DFL)  # under nohup one is ignored
    try:
        with pytest.raises(SystemExit) as ended:
            run.run(lambda step: step == 13 and os.kill(os.getpid(), number))
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert ended.value.code == status and run.events[-1] == ("last", 13)


def test_a_second_signal_while_the_first_one_has_it_saved_stops_at_once():
    run, saved = Recorder([0.1]), []

    def save(name):
        saved.append((name, run.plan.step))
        if run.plan.step == 13:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("not stopped")

    run.progress.save = save
    with pytest.raises(SystemExit) as ended:
        run.run(lambda step: step == 13 and os.kill(os.getpid(), signal.SIGTERM))
    assert ended.value.code == 143 and saved[-1] == ("last", 13) and saved.count(saved[-1]) == 1


def test_what_was_ignored_stays_ignored():
    """As SIGHUP is by nohup, SIGINT of a job in the background."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGUSR1)}
    try:
        run = Recorder([0.1]).run(lambda step: step == 13 and [os.kill(os.getpid(), n) for n in before])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert run.events[-1] == ("last", 24) and ("last", 13) not in run.events


def test_sigusr1_has_it_saved_and_changes_no_record():
    values = [0.1, 0.3, 0.2]
    whole = Recorder(values).run()
    asked = Recorder(values).run(lambda step: step in (8, 13) and os.kill(os.getpid(), signal.SIGUSR1))
    assert asked.steps_of("last") == [8, 13, 16, 24], "at step 8 last/ is due anyway"
    assert without_seconds(asked.records) == without_seconds(whole.records)


def test_checkpoints_by_the_clock_of_rank_0(monkeypatch):
    """A step takes 30 seconds; a checkpoint that is due starts the clock anew."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("multitask.training.progress.time", clock)

    def later(step):
        clock.now += 30

    for minutes, steps in ((2.5, [5, 8, 13, 16, 21, 24]), (0, [8, 16, 24])):
        run = Recorder(checkpoint={"every_minutes": minutes}).run(later)
        assert run.steps_of("last") == steps
    other = Recorder(checkpoint={"every_minutes": 2.5})
    other.progress.group = SimpleNamespace(
        size=1, is_main=False, any=lambda *flags: list(flags), sum=lambda numbers: numbers
    )
    assert other.run(later).steps_of("last") == [8, 16, 24]


def test_with_another_process_gone_nothing_is_saved_after_a_signal(said):
    run = Recorder([0.1])

    def any_of_both(*flags):
        if run.plan.step == 13:
            raise RuntimeError("Connection closed by peer")
        return list(flags)

    run.progress.group = SimpleNamespace(size=2, is_main=True, any=any_of_both, sum=lambda numbers: numbers)
    try:
        with pytest.raises(SystemExit) as ended:
            run.run(lambda step: step == 13 and os.kill(os.getpid(), signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN, "torchrun sends it once more"
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert ended.value.code == 143 and run.events[-1] == ("last", 8)
    assert said == ["another process is gone (Connection closed by peer); last/ stays as it was"]


def test_ctrl_c_in_an_evaluation_stops_at_once_and_the_resumed_run_makes_it():
    values = [0.1, 0.2, 0.3]
    whole, first = Recorder(values).run(), Recorder(values)
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
    run = Recorder([0.1, 0.2, 0.3])

    def save(name):
        if (name, run.plan.step) == ("best", 16):
            os.kill(os.getpid(), signal.SIGINT)
        run.events.append((name, run.plan.step))

    run.progress.save = save
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.events[-4:] == [("evaluate", 16), ("best", 16), ("last", 16), ("last", 16)]
    assert run.progress.evaluated_step == run.progress.best_step == 16


@pytest.mark.parametrize("values", [[0.1, 0.2, 0.3] * 3, [NAN, 0.1, 0.0, NAN, NAN]])
def test_the_log_of_an_interrupted_run_is_that_of_a_whole_one(values):
    """Losses that were not written yet are part of the state, and so is an evaluation that is due."""
    options = {"losses": lambda number: 1 / number, "eval": {"every_steps": 5}}
    whole = Recorder(values, **options).run()
    for step in range(1, 25):
        first = Recorder(values, **options)
        with pytest.raises(KeyboardInterrupt):
            first.run(interrupts(step))
        second = Recorder(values[len(first.steps_of("evaluate")) :], state=first.state(), **options).run()
        assert repr(without_seconds(first.records + second.records)) == repr(without_seconds(whole.records))
        assert second.progress.best == whole.progress.best
        assert second.progress.best_steps == whole.progress.best_steps


def test_training_in_a_thread_needs_no_signals():
    run = Recorder([0.1, 0.2])
    thread = Thread(target=run.run)
    thread.start()
    thread.join()
    assert run.events[-1] == ("last", 24)


# Costs.


def test_costs_are_those_of_the_whole_run(monkeypatch):
    """A clock that moves by what each thing takes: a step 1, an evaluation 100, a checkpoint 1000 seconds."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    memory = [5]
    monkeypatch.setattr("multitask.training.progress.time", clock)
    monkeypatch.setattr("multitask.training.progress.peak_memory", lambda device: memory[0])

    def timed(run):
        def takes(seconds, act):
            def slow(*arguments):
                found = act(*arguments)
                clock.now += seconds
                return found

            return slow

        run.progress.evaluate = takes(100, run.progress.evaluate)
        run.progress.save = takes(1000, run.progress.save)
        return run

    by_step = {"checkpoint": {"every_minutes": 0.0}}
    first = timed(Recorder([0.1], **by_step))
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda number: [setattr(clock, "now", clock.now + 1), interrupts(12)(number)])
    state = first.saved
    clock.now += 10**6  # between the processes
    for memory[0], largest in ((3, 5), (9, 9)):
        second = timed(Recorder([0.2, 0.3], state=state, **by_step))
        started = clock.now
        second.run(lambda number: setattr(clock, "now", clock.now + 1))
        wanted = {"epochs": 3.0, "training_seconds": 24, "tokens": 24 * 7, "peak_memory": largest}
        assert second.progress.costs() == wanted
        # Step 8 is evaluated and saved twice before the interruption, 16 and 24 after it.
        assert second.progress.elapsed() == 24 + 3 * 100 + 6 * 1000 == 2112 + clock.now - started
