"""A search in one process: which points it tries, what it keeps and writes, how it continues."""

import json
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest

from minbert import CommandParser, InputError
from multitask import RunConfig
from multitask.cli.main import run as multitask
from multitask.config.options import add_run_options, read_run_options
from multitask.experiments.executor.engine import Engine
from multitask.experiments.search.search import Workers, continue_search, search
from multitask.experiments.search.settings import Method, build_config
from multitask.experiments.search.space import Space

DROPOUT = {"tasks.planted.dropout": {"low": 0.0, "high": 0.9}}  # decides the planted task's score


@pytest.fixture(autouse=True)
def few_pages(request, monkeypatch):
    """Only the test of what is written draws the page, which takes longer than the trials."""
    if request.function is not test_what_is_written:
        monkeypatch.setattr("multitask.experiments.report.report.write_report", lambda folder: None)


@pytest.fixture
def space(planted):
    """The function `space(parameters, **others)` -> a Space over the planted task."""
    return lambda parameters, **others: Space.from_dict({"base": planted, "space": parameters, **others})


def grid_of(*values: float) -> dict:
    return {"tasks.planted.dropout": {"choices": list(values)}}


def states(result) -> list[str]:
    return [trial.state for trial in result.trials]


def test_a_random_search_finds_the_best_of_what_it_tried(space, tmp_path):
    parameters = DROPOUT | {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}
    lines = []
    result = search(space(parameters), tmp_path / "out", Method("random", 3), say=lines.append)
    assert states(result) == ["complete"] * 3 and result.metric == "planted.accuracy"
    for trial in result.trials:
        config = json.loads((tmp_path / "out/trials" / str(trial.number) / "config.json").read_text())
        assert config["tasks"]["planted"]["dropout"] == trial.parameters["tasks.planted.dropout"]
        assert config["optim"]["lr"] == trial.parameters["optim.lr"]
        assert trial.value == trial.scores["planted.accuracy"] == 1 - config["tasks"]["planted"]["dropout"]
        assert trial.steps == [[1, trial.value], [2, trial.value]]
    assert len({trial.parameters["optim.lr"] for trial in result.trials}) == 3
    lowest = min(result.trials, key=lambda trial: trial.parameters["tasks.planted.dropout"])
    assert result.best == lowest
    assert sum(line.startswith("trial ") for line in lines) == 3
    assert all("\n" not in line for line in lines)

    # A seed's points do not depend on the trials before, and another seed has others.
    again = search(space(parameters), tmp_path / "again", Method("random", 1))
    assert again.trials[0].parameters == result.trials[0].parameters
    other = search(space(parameters), tmp_path / "other", Method("random", 1, sampler_seed=1))
    assert other.trials[0].parameters not in [trial.parameters for trial in result.trials]


def test_what_is_written(space, tmp_path):
    result = search(space(grid_of(0.5, 0.1, 0.3, 0.2, 0.4), title="T", about="A"), tmp_path, Method("grid"))
    written = json.loads((tmp_path / "search.json").read_text())
    assert " ".join(sorted(written)) == (
        "about best command created direction environment importance kind metric notes parameters sampler "
        "title trials"
    )
    assert (written["kind"], written["title"], written["about"]) == ("search", "T", "A")
    choices = {
        "kind": "choice",
        "low": None,
        "high": None,
        "log": False,
        "choices": [0.5, 0.1, 0.3, 0.2, 0.4],
    }
    assert written["parameters"] == {"tasks.planted.dropout": choices}
    assert [trial["value"] for trial in written["trials"]] == [0.5, 0.9, 0.7, 0.8, 0.6]
    assert " ".join(written["trials"][0]) == "number state value parameters seconds error scores steps"
    assert written["best"] == {"number": 1, "value": 0.9, "parameters": {"tasks.planted.dropout": 0.1}}
    assert written["importance"] is None and any("needs 10" in note for note in written["notes"])
    # Weights stay of the best three, and of these only the best checkpoint.
    assert {path.parent.name for path in tmp_path.glob("trials/*/best")} == {"1", "2", "3"}
    assert not list(tmp_path.glob("trials/*/last"))
    for number in range(5):
        kept = {path.name for path in (tmp_path / "trials" / str(number)).iterdir() if path.is_file()}
        assert kept >= {"config.json", "scores.json", "metrics.jsonl", "environment.json"}
    assert (tmp_path / "report.html").is_file()
    assert result.as_dict().items() <= written.items()


def test_best_toml_is_the_best_trials_configuration(space, tmp_path, planted):
    # `train` of the tasks has defaults that are not none.
    planted |= {"tasks": {"planted": {}, "sts": {"train": "none"}}, "select": "planted.accuracy"}
    given = {"limit": 20, "optim": {"warmup": 0.0}, "patience": 3}
    parameters = grid_of(0.4, 0.2) | {"tasks.planted.hidden": {"choices": [[]]}}
    search(
        space(parameters, seeds=[5]),
        tmp_path / "out",
        Method("grid"),
        configure=lambda values: build_config(values | given),
    )
    text = (tmp_path / "out" / "best.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    assert not {"weights", "data", "out", "limit"} & values.keys() and "--limit 20" in text
    assert values["optim"] == {"warmup": 0.0}, "no default values"
    parser = CommandParser(prog="multitask train")
    add_run_options(parser)
    words = [tmp_path / "out/best.toml", "--data", planted["data"], "--weights", planted["weights"]]
    words += ["--limit", "20", "--out", tmp_path / "out/trials/1"]
    built, _ = read_run_options(parser, [str(word) for word in words])
    trained = json.loads((tmp_path / "out/trials/1/config.json").read_text())
    assert built == RunConfig.from_dict(trained) and built.tasks["sts"].train is None
    assert (built.tasks["planted"].dropout, built.tasks["planted"].hidden, built.train.seed) == (0.2, (), 5)


@pytest.mark.parametrize("storage", [None, "journal:study.journal"])
def test_a_search_continues_where_it_was(space, tmp_path, monkeypatch, storage):
    monkeypatch.chdir(tmp_path)
    out, workers = tmp_path / "out", Workers(storage=storage)
    first = search(space(DROPOUT), out, Method("random", 2), workers)
    assert Path(storage.removeprefix("journal:") if storage else out / "study.db").is_file()
    assert (out / "study.db").exists() == (storage is None)
    monkeypatch.chdir("/")  # the folder knows where the trials are kept
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/scores.json")}
    assert continue_search(out).trials == first.trials
    longer = continue_search(out, trials=3)
    assert longer.trials[:2] == first.trials and len(longer.trials) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert longer.settings.trials == 3 and longer.settings.created == first.settings.created
    with pytest.raises(InputError, match="the search is kept in "):
        continue_search(out, workers=Workers(storage="other.db"))


def test_another_search_does_not_continue_it(space, planted, tmp_path):
    data = shutil.copytree(planted["data"], tmp_path / "data")
    planted["data"] = str(data)
    out, random = tmp_path / "out", Method("random", 1)
    first = search(space(DROPOUT), out, random)
    assert search(space(DROPOUT), out, random).trials == first.trials
    with pytest.raises(InputError, match="begun before has other values of parameters; choose another --out"):
        search(space({"tasks.planted.dropout": {"low": 0.0, "high": 0.8}}), out, random)
    with pytest.raises(InputError, match="other values of base.patience;"):
        search(space(DROPOUT), out, random, configure=lambda v: build_config(v | {"patience": 9}))
    with pytest.raises(InputError, match="sampler"):
        search(space(DROPOUT), out, Method("tpe", 1))
    with open(data / "ids-sst-train.csv", "a", encoding="utf-8") as file:
        file.write("99\tmore\ta good film\t3\n")
    with pytest.raises(InputError, match="other values of data"):
        continue_search(out)


def test_a_trial_that_cannot_be_trained_is_a_failed_one(space, tmp_path):
    # A rate that makes the loss infinite, among two that do not.
    parameters = {"optim.head_lr": {"choices": [1e-3, 1e38, 1e-2]}}
    result = search(space(parameters), tmp_path, Method("grid", pruner="none"))
    assert states(result) == ["complete", "failed", "complete"]
    failed = result.trials[1]
    assert failed.value is None and "--optim.lr" in failed.error and "\n" not in failed.error
    assert any("1 of 3 trials failed" in note for note in result.notes)
    assert continue_search(tmp_path).trials == result.trials  # it failed by itself, so it would fail again


@pytest.mark.parametrize("pruner", ["median", pytest.param("none", marks=pytest.mark.slow)])
def test_weak_trials_are_pruned(space, tmp_path, pruner):
    # Nothing is pruned before there are five to compare with.
    values = [0.8, 0.2, 0.3, 0.4, 0.5, 0.7, 0.05]
    result = search(space(grid_of(*values)), tmp_path, Method("grid", pruner=pruner))
    assert states(result) == ["complete"] * 5 + ["pruned" if pruner == "median" else "complete", "complete"]
    assert result.best.number == 6
    if pruner == "median":
        assert result.trials[5].steps == [[1, pytest.approx(0.3)]]  # at the first of two evaluations
        assert (tmp_path / "trials/5/config.json").is_file() and not (tmp_path / "trials/5/best").exists()


@pytest.mark.slow
def test_runs_with_other_batches_are_compared_by_evaluations(space, planted, tmp_path):
    """Batches of 23 are evaluated at step 2 of 45 rows, batches of 15 at step 3, where there is no median."""
    planted.update(train={"epochs": 1}, eval={})
    parameters = {"train.batch_size": {"choices": [23, 15]}} | grid_of(0.5, 0.4, 0.3, 0.2, 0.1)
    result = search(space(parameters), tmp_path, Method("grid"))
    assert states(result) == ["complete"] * 5 + ["pruned"] * 2 + ["complete"] * 3
    assert [trial.steps[0][0] for trial in result.trials] == [2] * 5 + [3] * 5


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_other_pruners_run(space, tmp_path, pruner):
    result = search(space(DROPOUT), tmp_path, Method("tpe", 4, pruner))
    assert set(states(result)) <= {"complete", "pruned"} and len(result.trials) == 4


def test_several_seeds_count_by_their_mean(space, tmp_path, tiny_values):
    base = tiny_values | {"tasks": {"sst": {}}, "train": {"epochs": 1, "batch_size": 8}}
    del base["out"]
    given = {"base": base, "seeds": [1, 2], "space": {"optim.lr": {"choices": [1e-3, 1e-2]}}}
    result = search(Space.from_dict(given), tmp_path / "out", Method("grid"))
    for trial in result.trials:
        runs = [tmp_path / "out/trials" / str(trial.number) / f"seed-{seed}" for seed in (1, 2)]
        assert [json.loads((run / "config.json").read_text())["train"]["seed"] for run in runs] == [1, 2]
        scores = [json.loads((run / "scores.json").read_text())["scores"]["sst"] for run in runs]
        assert trial.value == pytest.approx(sum(score["accuracy"] for score in scores) / 2)
        means = {f"sst.{name}": pytest.approx((scores[0][name] + scores[1][name]) / 2) for name in scores[0]}
        assert trial.scores == means
    assert any("seeds 1, 2" in note for note in result.notes)


@pytest.mark.slow
def test_importance_tells_what_decides_from_what_does_not(space, tmp_path):
    parameters = DROPOUT | {"optim.weight_decay": {"low": 0.0, "high": 0.1}}
    result = search(space(parameters), tmp_path, Method("random", 40, "none"))
    assert sum(result.importance.values()) == pytest.approx(1)
    assert result.importance["tasks.planted.dropout"] > 2 * result.importance["optim.weight_decay"]


def test_no_search_begins_without_what_it_needs(space, planted, tmp_path):
    for changes, message in (
        ({"weights": None}, "give --weights"),
        ({"data": str(tmp_path / "nowhere")}, "does not exist"),
        ({"select": "planted.acuracy"}, "did you mean 'planted.accuracy'"),
        ({"tasks": {"planted": {"dev": "none"}}}, "no task has a dev split"),
    ):
        given = {"base": planted | changes, "space": grid_of(0.2)}
        with pytest.raises(InputError, match=message):
            search(Space.from_dict(given), tmp_path / "out", Method("grid"))
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="give --pruner none"):
        search(space(grid_of(0.2)), tmp_path / "out", Method("grid"), configure=_with_stages)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="exists and is not a search"):
        search(space(grid_of(0.2)), tmp_path / "full", Method("grid"))
    with pytest.raises(InputError, match="has no search: settings.json is missing"):
        continue_search(tmp_path / "full")
    cluster = Workers(Engine("ray", address="127.0.0.1:1"), storage="study.db")
    with pytest.raises(InputError, match="on a cluster needs --storage postgresql"):
        search(space(grid_of(0.2)), tmp_path / "out", Method("grid"), cluster)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="PASSWORD@HOST"):
        Workers(storage="postgresql://host/db?user=a&password=secret")


def _with_stages(values: dict) -> RunConfig:
    return build_config(values | {"stages": [{"train": {"max_steps": 1}}]})


def command(*words) -> int:
    return multitask(["search", *map(str, words)])


def test_the_command(planted, tmp_path, capsys):
    import tomli_w

    weights, data = planted.pop("weights"), planted.pop("data")
    given = {"title": "Drop", "base": planted, "space": grid_of(0.3, 0.2)}
    (tmp_path / "space.toml").write_text(tomli_w.dumps(given), encoding="utf-8")
    words = [tmp_path / "space.toml", "--weights", weights, "--data", data, "--out", tmp_path / "out"]
    words += ["--sampler", "grid", "--limit", 12, "--planted.normalize", "l2"]
    assert command(*words) == 0
    out, err = capsys.readouterr()
    head, best, second = out.splitlines()[:3]
    assert head.split() == ["trial", "planted.accuracy", "tasks.planted.dropout", "seconds"]
    assert best.split()[:3] == ["1", "0.8000", "0.2"] and second.split()[:3] == ["0", "0.7000", "0.3"]
    assert "trial 0: planted.accuracy 0.7000 (tasks.planted.dropout 0.3)" in err
    config = json.loads((tmp_path / "out/trials/0/config.json").read_text())
    assert config["limit"] == 12 and config["tasks"]["planted"]["normalize"] == "l2"
    command(*words, "--json")
    written = json.loads(capsys.readouterr().out)
    assert len(written["trials"]) == 2
    assert shlex.split(written["command"]) == ["multitask", "search", *map(str, words), "--json"]
    command(tmp_path / "out", "--json")
    assert json.loads(capsys.readouterr().out)["trials"] == written["trials"]
    with pytest.raises(InputError, match="continued as it began; leave out --limit"):
        command(tmp_path / "out", "--limit", "3")
    with pytest.raises(InputError, match="leave out --planted.dropout"):
        command(tmp_path / "out", "--planted.dropout", "0.3")
    with pytest.raises(InputError, match="give --out FOLDER"):
        command(tmp_path / "space.toml")
    with pytest.raises(InputError, match="no preset of that name; presets: paper-grid, paper-range"):
        command("paper-gird", "--out", Path("out"))
