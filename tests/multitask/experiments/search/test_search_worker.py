"""Workers whose predecessor has ended, at each moment at which it can end."""

import shutil

import optuna
import pytest

from multitask.experiments.search.search import continue_search, search
from multitask.experiments.search.settings import Method, read_settings, with_length
from multitask.experiments.search.space import Space
from multitask.experiments.search.storage import ask, open_study
from multitask.experiments.search.worker import Worker


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
    """A copy of that search, and its storage."""
    folder = shutil.copytree(one_trial, tmp_path / "out")
    return folder, open_study(read_settings(folder), folder)


def test_the_point_of_a_trial_whose_process_died_is_tried_again(begun):
    folder, handle = begun
    settings = with_length(read_settings(folder), 2)
    slot = list(settings.slots())[1]
    ask(handle, settings, slot, {"tasks.planted.dropout": 0.123})  # and dies, without a lease
    result = continue_search(folder, trials=2)
    assert [trial.state for trial in result.trials] == ["complete", "failed", "complete"]
    assert result.trials[2].parameters == result.trials[1].parameters == {"tasks.planted.dropout": 0.123}
    assert result.trials[2].value == 1 - 0.123


def test_a_trial_that_nobody_had_begun_yet_does_not_run_for_ever(begun):
    folder, handle = begun
    orphan = handle.study.ask()  # its process died before it said whose turn it was
    result = continue_search(folder, trials=2)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    state = optuna.trial.TrialState
    assert handle.study.get_trials()[orphan.number].state == state.FAIL


def test_a_trial_that_was_told_but_not_recorded_is_not_repeated(begun):
    folder, handle = begun
    (slot,) = read_settings(folder).slots()
    handle.claims.forget(slot.key)  # as if its process had died between the two
    before = handle.study.get_trials()
    continue_search(folder)
    assert handle.study.get_trials() == before
    assert handle.claims.results([slot.key]) == {slot.key: {"trial": 0}}


def test_a_worker_that_was_given_up_leaves_its_trial(begun):
    """Another machine has seen no heartbeat of it, and failed its trial while it trains."""
    folder, handle = begun
    settings = with_length(read_settings(folder), 2)
    other = open_study(settings, folder).study
    given_up = []

    def look():
        running = other.get_trials(states=[optuna.trial.TrialState.RUNNING])
        if running and not given_up:
            given_up.append(running[0].number)
            other.tell(running[0].number, state=optuna.trial.TrialState.FAIL)

    Worker(settings, folder, handle, look=look).run()
    states = [trial.state.name for trial in handle.study.get_trials()]
    assert given_up == [1] and states == ["COMPLETE", "FAIL", "COMPLETE"]


def test_an_error_of_ours_ends_the_worker_and_the_trial_is_tried_again(begun, monkeypatch):
    folder, handle = begun

    def broken(self, trial):
        raise RuntimeError("shapes differ")

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_train", broken)
        with pytest.raises(RuntimeError, match="shapes differ"):
            continue_search(folder, trials=2)
    result = continue_search(folder)
    assert [trial.state for trial in result.trials] == ["complete", "failed", "complete"]
    assert result.trials[1].error == "RuntimeError: shapes differ"


def test_no_trial_begins_after_the_timeout(begun):
    folder, handle = begun
    settings = with_length(read_settings(folder), 50)
    Worker(settings, folder, handle, timeout=1e-9).run()
    assert len(handle.study.get_trials()) == 1
