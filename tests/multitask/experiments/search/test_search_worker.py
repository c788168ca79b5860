"""Workers whose predecessor has ended, at each moment at which it can end."""

import os
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from minbert import InputError
from multitask.experiments.executor.shared_folder import make_shared_folder
from multitask.experiments.search.search import continue_search, search
from multitask.experiments.search.settings import Method, read_settings, with_length
from multitask.experiments.search.space import Space
from multitask.experiments.search.storage import (
    Attempts,
    database_url,
    open_study,
    quiet_optuna,
    retry_lost,
    suggest,
    without_password,
)
from multitask.experiments.search.worker import Worker
from multitask.runtime.locks import one_writer
from tests.multitask.runs import killed, records

DROPOUT = "tasks.planted.dropout"
STATE = optuna.trial.TrialState


@pytest.fixture(scope="module", autouse=True)
def no_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multitask.experiments.report.report.write_report", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def one_trial(planted_values, tmp_path_factory):
    """The folder of a random search of one trial, complete."""
    given = {"base": planted_values, "space": {"tasks.planted.dropout": {"low": 0.0, "high": 0.9}}}
    return search(Space.from_dict(given), tmp_path_factory.mktemp("search"), Method("random", 1)).folder


@pytest.fixture
def begun(one_trial, tmp_path):
    """A copy of that search, and its study."""
    folder = shutil.copytree(one_trial, tmp_path / "out")
    return folder, open_study(read_settings(folder), folder)


def ask(folder, study, name: str | None) -> optuna.Trial:
    """A trial that the worker `name` takes, and dies; None: before it says who it is."""
    with quiet_optuna(), pytest.warns(UserWarning, match="Heartbeat"):
        trial = study.ask()
    if name is not None:
        trial.set_user_attr("worker", name)
    return trial


def test_the_point_of_a_trial_whose_worker_died_is_tried_again(begun):
    folder, study = begun
    settings = with_length(read_settings(folder), 2)
    trial = ask(folder, study, f"{make_shared_folder(folder)}/3/")
    trial.suggest_float(DROPOUT, 0.0, 0.9)
    result = continue_search(folder, trials=2)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    assert result.trials[1].parameters == trial.params
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert Attempts(study, settings.trials).numbers == {0: 0, 1: 1, 2: 1}


def test_a_trial_whose_worker_died_before_it_had_a_name_is_tried_again(begun):
    folder, study = begun
    orphan = ask(folder, study, None)
    result = continue_search(folder, trials=2)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    assert study.get_trials()[orphan.number].state == STATE.FAIL


def test_trials_of_other_machines_are_waited_for_and_tried_again_once_lost(begun, monkeypatch):
    """Optuna's heartbeat tells which are lost; a trial that another machine has interrupted is taken up."""
    folder, study = begun
    other = ask(folder, study, "another machine/0/")
    study._storage.record_heartbeat(other._trial_id)
    interrupted = ask(folder, study, "another machine/1/")
    study.tell(interrupted, state=STATE.FAIL)
    looks = []

    def sleep(seconds):
        looks.append([trial.state.name for trial in study.get_trials()])
        if len(looks) == 2:
            monkeypatch.setattr(study._storage._backend, "grace_period", -1)  # it is lost from now on

    monkeypatch.setattr(time, "sleep", sleep)
    settings = with_length(read_settings(folder), 3)
    Worker(settings, folder, study, "here").run()
    assert looks[:2] == [["COMPLETE", "RUNNING", "FAIL", "COMPLETE"]] * 2
    assert [trial.state.name for trial in study.get_trials()[1:]] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert not Attempts(study, 3).left()


def test_two_retries_of_a_trial_give_one_result(begun):
    """Two machines that begin at once may both see that a trial is lost."""
    folder, study = begun
    settings = with_length(read_settings(folder), 2)
    study.tell(ask(folder, study, "a"), state=STATE.FAIL)
    lost = Attempts(study, 2).lost()
    assert [trial.number for trial in lost] == [1]
    for _ in range(2):
        with quiet_optuna():
            optuna.storages.RetryHeartbeatStaleTrialCallback()(study, lost[0])
    first, second = (ask(folder, study, name) for name in "ab")
    attempts = Attempts(study, 2)
    assert [attempts.is_superseded(trial) for trial in (first, second)] == [False, True]
    study.tell(first, state=STATE.FAIL)
    study.tell(second, state=STATE.FAIL)
    Worker(settings, folder, study, "c").run()
    ended = [trial.state.name for trial in study.get_trials()]
    assert ended == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE"]


def test_a_retry_is_taken_once(begun):
    """By workers at the same time, on SQLite."""
    folder, study = begun
    settings, retries = read_settings(folder), 24
    with quiet_optuna():
        for _ in range(retries):
            study.enqueue_trial({DROPOUT: 0.5})

    def take(_) -> list[int]:
        own = open_study(settings, folder)
        return [own.ask().number for _ in range(retries // 4)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a heartbeat outside `optimize`
        with ThreadPoolExecutor(4) as pool:
            taken = [number for numbers in pool.map(take, range(4)) for number in numbers]
    assert sorted(taken) == list(range(1, retries + 1))


def test_one_trial_too_many_ends_at_once(begun):
    """Of two workers that see one trial left, the slower one takes a trial of no number."""
    folder, study = begun
    settings = read_settings(folder)
    worker = Worker(settings, folder, study, "a")
    worker._take()
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL"]
    assert not (folder / "trials" / "1").exists()
    result = continue_search(folder, trials=2)  # which has a number now
    assert [trial.state for trial in result.trials] == ["complete", "complete"]


def test_a_worker_that_was_given_up_leaves_its_trial(begun):
    """Another machine has seen no sign of it, and failed its trial while it trains."""
    folder, study = begun
    settings = with_length(read_settings(folder), 2)
    other = open_study(settings, folder)
    given_up = []

    def look():
        running = other.get_trials(states=[STATE.RUNNING])
        if running and not given_up:
            given_up.append(running[0].number)
            other.tell(running[0].number, state=STATE.FAIL)

    Worker(settings, folder, study, "a", look=look).run()
    states = [trial.state.name for trial in study.get_trials()]
    assert given_up == [1] and states == ["COMPLETE", "FAIL", "COMPLETE"]


def test_an_error_of_ours_ends_the_worker_and_the_trial_is_tried_again(begun, monkeypatch):
    folder, study = begun

    def broken(self, trial, number, point):
        raise RuntimeError("shapes differ")

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_train", broken)
        with pytest.raises(RuntimeError, match="shapes differ"):
            continue_search(folder, trials=2)
    settings = read_settings(folder)
    tried = Attempts(study, settings.trials).latest(1)
    assert tried.state == STATE.FAIL and tried.user_attrs["stopped"] == "RuntimeError: shapes differ"
    assert [trial.state for trial in continue_search(folder).trials] == ["complete", "complete"]


def test_a_trial_that_was_killed_resumes_and_has_the_same_result(planted_values, tmp_path):
    """Its evaluations are in the study once, those before the kill too, and its log is that of one run."""
    values = planted_values | {"train": {"max_steps": 6, "batch_size": 8}, "eval": {"every_steps": 2}}
    space = Space.from_dict({"base": values, "space": {DROPOUT: {"low": 0.0, "high": 0.9}}})
    whole = search(space, tmp_path / "whole", Method("random", 2))
    killed(lambda: search(space, tmp_path / "out", Method("random", 2)), after=5)
    run = tmp_path / "out" / "trials" / "0"
    assert [entry["step"] for entry in records(run) if entry["kind"] == "evaluation"] == [2, 4]
    begun = (run / "environment.json").stat().st_mtime_ns
    result = continue_search(tmp_path / "out")
    study = open_study(result.settings, result.folder)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [replaced(trial) for trial in result.trials] == [replaced(trial) for trial in whole.trials]
    assert study.get_trials()[1].intermediate_values.keys() == {1, 2, 3}
    assert records(run) == records(tmp_path / "whole" / "trials" / "0")
    assert (run / "environment.json").stat().st_mtime_ns == begun, "it was not begun anew"


def replaced(trial) -> dict:
    return vars(trial) | {"seconds": None}


def test_points_are_a_function_of_seed_and_number(begun):
    folder, study = begun
    settings = with_length(read_settings(folder), 9)
    trials = [ask(folder, study, "a") for _ in range(3)]
    order = [suggest(study, settings, number, trial) for number, trial in zip((5, 2, 5), trials, strict=True)]
    assert order[0] == order[2] != order[1]


def test_no_trial_begins_after_the_timeout(begun):
    folder, study = begun
    settings = with_length(read_settings(folder), 50)
    Worker(settings, folder, study, "a", until=time.time()).run()
    assert len(study.get_trials()) == 1


def test_a_folder_has_one_command(begun):
    folder, _ = begun
    with one_writer(folder):
        with pytest.raises(InputError, match=f"is in use by process {os.getpid()} on .* since 20"):
            continue_search(folder)
    continue_search(folder)


def test_a_journal_tells_nothing_of_other_machines(one_trial, tmp_path):
    """Their trials are not waited for; our own lost ones are tried again at the next start."""
    folder = shutil.copytree(one_trial, tmp_path / "out")
    settings = with_length(read_settings(folder), 3)
    storage = f"journal:{tmp_path / 'a.journal'}"
    settings.__dict__["storage"] = storage
    study = open_study(settings, folder)
    mine, other = study.ask(), study.ask()
    mine.set_user_attr("worker", f"{make_shared_folder(folder)}/0/")
    other.set_user_attr("worker", "another machine/0/")
    retry_lost(study, 3, make_shared_folder(folder))
    Worker(settings, folder, study, "b").run()
    states = [trial.state.name for trial in study.get_trials()]
    assert states == ["FAIL", "RUNNING", "COMPLETE", "COMPLETE"]


def test_addresses_of_databases(tmp_path, begun):
    assert database_url("postgresql://h/db") == "postgresql+psycopg://h/db"
    assert database_url("sqlite:///x.db") == "sqlite:///x.db"
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert without_password("sqlite:///x.db") == "sqlite:///x.db"
    settings = read_settings(begun[0])
    for storage, message in (
        ("nosql://a:b@c/d", "storage nosql://a@c/d cannot be opened: Can't load plugin"),
        ("mysql://a:b@c/d", "storage mysql://a@c/d cannot be opened: it is neither"),
        ("not a url://", "storage not a url:// cannot be opened"),
    ):
        with pytest.raises(InputError, match=message):
            open_study(settings, begun[0], storage)
