"""`multitask augment`: killed and continued, dry, refused; what it prints and how it ends."""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from minbert import InputError
from multitask.cli.main import run as multitask
from multitask.experiments.augmentation.cache import ReplyCache


def run(*arguments):
    """The command in this process; -> its status."""
    return multitask(["augment", *map(str, arguments)])


def tiny(server, tiny_data, out, *more):
    """Arguments for 55 paraphrases by that server; the attempts of a request come fast."""
    words = f"--data {tiny_data} --out {out} --endpoint {server.url} --model tiny"
    return *words.split(), *"--backoff 0.001 --timeout 5 --per-class 20".split(), *more


def test_a_killed_run_goes_on(serve, tiny_data, tmp_path, acts, capsys):
    """Nothing is lost, and nothing is paid twice."""
    process = None

    def act(place, body):
        if place == 14:
            process.kill()
        return acts.fails(500) if place % 7 == 6 else acts.paraphrase(place, body)

    server = serve(act)
    out = tmp_path / "out.csv"
    arguments = tiny(server, tiny_data, out, "--concurrency", "4", "--json")
    process = subprocess.Popen([sys.executable, "-m", "multitask", "augment", *map(str, arguments)])
    process.wait(timeout=600)
    assert not out.exists()

    first = list(server.seen)
    with ReplyCache(Path(f"{out}.cache.jsonl")) as cache:
        kept = set(cache.replies)
        with pytest.raises(InputError, match="in use by another augment"):
            run(*arguments)
    # Of the 14 before the signal two failed, and at most three were under way beside the one that sent it.
    assert 14 - 2 - 3 <= len(kept) <= len(first) < 55

    assert run(*arguments) is None
    summary = json.loads(capsys.readouterr().out)
    second = server.seen[len(first) :]
    asked = [seen.body["seed"] for seen in first], [seen.body["seed"] for seen in second]
    # Asked again are the requests that failed or were under way: at most four of these.
    failed = {seen.body["seed"] for place, seen in enumerate(first) if place % 7 == 6}
    assert len(set(asked[0]) & set(asked[1]) - failed) <= 4
    assert len(set(asked[0]) | set(asked[1])) == summary["added"] == 100 - 45
    with open(out, encoding="utf-8", newline="") as file:
        labels = Counter(row["sentiment"] for row in csv.DictReader(file, delimiter="\t"))
    assert labels == dict.fromkeys("01234", 20)

    other = tmp_path / "uninterrupted.csv"
    assert run(*tiny(serve(), tiny_data, other, "--json")) is None
    assert other.read_bytes() == out.read_bytes()


def test_a_dry_run_asks_nothing_and_the_cap_is_a_status_of_its_own(serve, tiny_data, tmp_path, capsys):
    server = serve()
    arguments = tiny(server, tiny_data, tmp_path / "out.csv", "--price-in", "1", "--price-out", "2")
    assert run(*arguments, "--dry-run") is None
    printed = capsys.readouterr().out
    assert printed.startswith("55 requests, which cost") and "You are rewriting movie reviews." in printed
    assert server.seen == [] and list(tmp_path.iterdir()) == []

    assert run(*arguments, "--max-cost", "0.003") == 1
    assert "stopped: the next request could go over the cost cap of 0.003" in capsys.readouterr().out
    asked = len(server.seen)
    run(*arguments, "--dry-run", "--json")
    preview = json.loads(capsys.readouterr().out)
    assert (preview["requests"], preview["cached"]) == (55 - asked, asked) and 0 < asked < 55
    body = server.seen[0].body
    assert preview["prompt"] in [seen.body["messages"][0]["content"] for seen in server.seen]
    # The bound on the costs is what the budget takes for each.
    assert preview["cost_at_most"] / (55 - asked) == pytest.approx(
        (len(body["messages"][0]["content"]) + 200 + 2 * body["max_tokens"]) / 1e6, rel=0.1
    )

    assert run(*arguments, "--max-cost", "1") is None
    printed = capsys.readouterr().out
    assert f"{55 - asked} requests in this run; the cache has cost {55 * 40e-6:.4f} so far" in printed
    assert len(server.seen) == 55


def test_a_template_of_ones_own(serve, tiny_data, tmp_path):
    server = serve()
    template = tmp_path / "template.txt"
    template.write_text("{meaning}: {text} ({label})", encoding="utf-8")
    run(*tiny(server, tiny_data, tmp_path / "out.csv", "--template", template, "--body", '{"top_p": 0.5}'))
    contents = {seen.body["messages"][0]["content"] for seen in server.seen}
    assert any(content.startswith("somewhat positive: ") and content.endswith(" (3)") for content in contents)
    assert all(seen.body["top_p"] == 0.5 for seen in server.seen)


def test_without_a_language_model(tmp_path, capsys):
    words = ("--method", "words", "--share", "0.3", "--attempts", "9", "--seed", "2")
    assert run("--data", "sample", "--out", tmp_path / "words.csv", *words) is None
    assert "new rows; train on it with --sst.train" in capsys.readouterr().out

    (tmp_path / "mine.csv").write_text("t,y\na b c,up\nd e f,up\ng h i,down\n")
    (tmp_path / "run.toml").write_text(
        '[tasks.mine]\ntype = "classification"\ntrain = "mine.csv"\ntext = "t"\nlabel = "y"\n'
    )
    settings = ("--config", tmp_path / "run.toml", "--data", tmp_path, "--json")
    settings += ("--out", tmp_path / "out.csv")
    run("--task", "mine", "--method", "resample", *settings)
    assert (tmp_path / "out.csv").read_text().splitlines()[4:] == ["g h i,down"]
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out.csv.json").read_text())
    with pytest.raises(InputError, match="has no task 'other'; it has mine"):
        run("--task", "other", "--method", "resample", *settings)


ENDPOINT = ("--endpoint", "http://h/v1", "--model", "m")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--endpoint is missing"),
        (ENDPOINT[:2], "--model is missing"),
        (("--method", "words", "--model", "m"), "--model is for --method paraphrase"),
        (("--method", "words", "--dry-run"), "--dry-run is for --method paraphrase"),
        (("--synonyms", "f"), "--synonyms is for --method words"),
        (("--method", "resample", "--near", "0.4"), "resample makes none"),
        (("--method", "words", "--check-distance", "1"), "give --check too"),
        ((*ENDPOINT, "--body", "[1]"), "give a JSON object"),
        ((*ENDPOINT, "--max-cost", "1", "--price-in", "1"), "--price-out"),
        (
            (*ENDPOINT, *"--max-cost 1 --price-in 1 --price-out 2 --body".split(), '{"max_tokens": null}'),
            "limit on the length of replies",
        ),
        ((*ENDPOINT, "--template", "none.txt"), "no such file"),
        (("--method", "words", "--task", "stss"), "did you mean 'sts'"),
    ],
)
def test_wrong_options_are_refused(tiny_data, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        run("--data", tiny_data, "--out", tmp_path / "out.csv", *arguments)
    assert list(tmp_path.iterdir()) == []
