"""The page of a run: its numbers against the run's own, its texts, and what it says without data."""

import csv
import json
import re
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from minbert import Batch, InputError, pool
from multitask import load_run, train
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.experiments.report.data import label_counts
from multitask.experiments.report.embeddings import sentence_vectors
from multitask.experiments.report.errors import error_section, margins
from multitask.experiments.report.predictions import Predicted, predict_split, threshold_scores
from multitask.experiments.report.report import write_report
from multitask.inference.chart_style import css_color, task_colors
from multitask.inference.plots import draw_losses
from multitask.metrics.scores import accuracy, f1, overall_scores
from multitask.runtime.tracking import read_metrics

Figure = pytest.importorskip("matplotlib.figure").Figure

TASKS = ("sst", "paraphrase", "sts")


@pytest.fixture(scope="module")
def tables(pages, tables_of):
    return tables_of(pages["run"])


@pytest.fixture
def no_plots(monkeypatch):
    """For tests that look at texts alone: drawing takes longest."""
    monkeypatch.setattr("multitask.experiments.report.charts.chart", lambda *arguments: "<svg></svg>")


@pytest.fixture(scope="module")
def predicted(folder, data) -> dict[str, Predicted]:
    found, notes = predict_split(load_run(folder, "cpu"), data, "dev")
    assert tuple(found) == TASKS
    assert all("all 15 predictions are" in note for note in notes)  # of a head that has hardly been trained
    return found


def test_scores_and_costs_are_those_of_the_run(folder, tables):
    recorded = json.loads((folder / "scores.json").read_text())
    scores = recorded["scores"] | {"all": recorded["overall"]}
    expected = {(task, metric): value for task, own in scores.items() for metric, value in own.items()}
    rows = tables.rows("scores")
    assert {(task[0], name[0]) for task, name, *_ in rows} == set(expected) >= {("all", "mean_raw")}
    for task, name, now in rows:  # they were found again, so that they are there once
        value = expected[task[0], name[0]]
        assert float(now[1]) == value and now[0] == f"{value:.3f}".replace("-", "−")
    costs, rows = recorded["costs"], {name[0]: value[1] for name, value in tables.rows("costs")}
    assert float(rows["parameters trained"]) == costs["trained_parameters"]
    assert float(rows["peak memory"]) == costs["peak_memory"]
    assert float(rows["tokens a second"]) == pytest.approx(costs["tokens"] / costs["training_seconds"])


def test_the_headline_comes_before_all_sections(folder, pages):
    recorded = json.loads((folder / "scores.json").read_text())
    page = pages["run"].read_text(encoding="utf-8")
    head = page[: page.index("<nav")].replace("<wbr>", "")
    shown = dict(re.findall(r"<dt>(\w+)</dt><dd>([−\d.]+)", head))
    main = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}
    expected = recorded["overall"] | {task: recorded["scores"][task][name] for task, name in main.items()}
    assert [*shown] == ["overall_2024", "mean_raw", *main]
    assert shown == {name: f"{value:.3f}".replace("-", "−") for name, value in expected.items()}
    facts = dict(re.findall(r"<span>([\w ]+) <b>(.*?)</b></span>", head))
    assert facts["best step"].startswith(str(recorded["step"])) and facts["seed"] == "11711"
    assert facts["weights"] and facts["time"]


def test_a_task_has_one_color_on_all_charts(folder, pages, predicted):
    colors = task_colors(TASKS)
    assert task_colors(["ner", "sts", "sst"])["sts"] == colors["sts"] != colors["sst"]
    figure = Figure()
    axes = figure.add_subplot()
    draw_losses(axes, read_metrics(folder / "metrics.jsonl"), TASKS)
    drawn = {line.get_label(): line.get_color() for line in axes.lines[1::2]}  # as on the PNG
    assert drawn == colors and [*drawn] == [*TASKS]
    page = pages["run"].read_text(encoding="utf-8")
    plots = dict(re.findall(r"<figcaption><strong>(.*?)</strong>.*?(<svg.*?</svg>)", page, re.DOTALL))
    used = {title: {task for task, color in colors.items() if color in svg} for title, svg in plots.items()}
    for title, tasks in used.items():
        own = {task for task in TASKS if title.startswith(f"{task}:")}
        assert tasks == (own or ({*TASKS} if "rates" not in title else set())), title
    assert css_color(colors["sst"]) in re.findall(r'id="confusion-sst".*?</table>', page, re.DOTALL)[0]


def test_the_confusion_matrix_has_the_share_of_each_row(predicted, tables):
    entry = predicted["sst"]
    for label, *cells in tables.rows("confusion-sst"):
        true = [hard for gold, hard in zip(entry.gold, entry.hard, strict=True) if str(gold) == label[0]]
        assert sum(int(count) for _, count in cells) == len(true)
        for place, (text, count) in enumerate(cells):
            assert int(count) == sum(hard == entry.classes[place] for hard in true)
            assert text == (f"{count}{100 * int(count) / len(true):.0f} %" if int(count) else "0")


def test_configuration_and_evaluations_are_complete(folder, tables):
    config = json.loads((folder / "config.json").read_text())
    rows = {name[0]: value[0] for name, value in tables.rows("configuration")}
    assert rows["optim.lr"] == "0.001" and rows["sampling"] == "together" and rows["limit"] == "none"
    assert rows["tasks.sst.pooling"] == config["tasks"]["sst"]["pooling"]
    records = [r for r in read_metrics(folder / "metrics.jsonl") if r["kind"] == "evaluation"]
    rows = tables.rows("evaluations")
    assert [int(row[0][1]) for row in rows] == [record["step"] for record in records]
    main = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}
    for place, (task, name) in enumerate(main.items(), 5):  # before all other scores
        assert [float(row[place][1]) for row in rows] == [r["scores"][task][name] for r in records]
    found = [[float(cell[1]) for cell in row[3:5]] for row in rows]
    assert found == [[*overall_scores(record["scores"]).values()] for record in records]


def test_only_what_differs_from_the_defaults_is_unfolded(tables, pages):
    rows = {key[0]: (value[0], default[0]) for key, value, default in tables.rows("changed")}
    assert rows["optim.lr"] == ("0.001", "5e-05") and rows["sampling"] == ("together", "proportional")
    assert "train.seed" not in rows and not any(value == default for value, default in rows.values())
    page = pages["run"].read_text(encoding="utf-8")
    folded = re.findall(r"<details>.*?</details>", page, re.DOTALL)
    assert any('id="configuration"' in part for part in folded)
    assert not any('id="changed"' in part for part in folded)


def test_gradient_conflict_is_the_mean_over_the_steps(folder, tables):
    records = [r for r in read_metrics(folder / "metrics.jsonl") if r["kind"] == "conflict"]
    assert records
    names = [heading[0].replace(" and ", " ") for heading in tables.tables["conflicts"][0][1:]]
    for layer, *cells in tables.rows("conflicts"):
        for pair, (text, mean) in zip(names, cells, strict=True):
            name = "overall" if layer[0] == "whole encoder" else layer[0]
            values = [record["cosines"][name][pair] for record in records]
            assert float(mean) == pytest.approx(np.mean(values))
            assert text.endswith(f"{100 * np.mean([value < 0 for value in values]):.0f} %")


def test_thresholds_against_the_metrics_one_by_one():
    draw = np.random.default_rng(1)
    probabilities, labels = draw.random(40).round(1), draw.integers(2, size=40)
    thresholds = np.array([0.0, 0.3, 0.5, 0.75, 1.0])
    scores = threshold_scores(probabilities, labels, thresholds)
    for i, threshold in enumerate(thresholds):
        hard = [int(p > threshold) for p in probabilities]
        hits = sum(h == 1 and g == 1 for h, g in zip(hard, labels, strict=True))
        assert scores["accuracy"][i] == accuracy(hard, labels)
        assert scores["f1"][i] == f1(hard, labels)
        assert scores["recall"][i] == hits / sum(labels)
        if sum(hard):
            assert scores["precision"][i] == hits / sum(hard)
        else:
            assert np.isnan(scores["precision"][i])


def test_the_best_threshold_beats_all_others(predicted, tables):
    entry = predicted["paraphrase"]
    rows = {
        row[0][0]: [float(cell[1]) for cell in row[1:] if cell[1]]
        for row in tables.rows("thresholds-paraphrase")
    }
    highest = max(accuracy([int(p > t) for p in entry.soft], entry.gold) for t in [0.0, *entry.soft])
    assert rows["best accuracy"][1] == highest >= rows["in use"][1]
    assert rows["in use"][:2] == [0.5, accuracy(entry.hard, entry.gold)]


def test_margins_are_what_the_page_says(predicted):
    sst, paraphrase, sts = (predicted[name] for name in TASKS)
    for i, row in enumerate(sst.rows):
        assert margins(sst)[i] == sst.soft[i].max() - sst.soft[i][row.label] >= 0
    for i, row in enumerate(paraphrase.rows):
        p = paraphrase.soft[i]
        assert margins(paraphrase)[i] == pytest.approx(0 if (p > 0.5) == row.label else abs(2 * p - 1))
    assert margins(sts) == pytest.approx([abs(p - g) for p, g in zip(sts.soft, sts.gold, strict=True)])


def test_each_task_has_a_tab_with_its_errors_worst_first(predicted, tables):
    for name, entry in predicted.items():
        rows = tables.rows(f"errors-{name}")
        wrong = {row.id for row, hard in zip(entry.rows, entry.hard, strict=True) if hard != row.label}
        assert {row[4][0] for row in rows} == wrong
        found = [float(row[3][1]) for row in rows]
        assert found == sorted(found, reverse=True)
        texts = {row.id: "\n".join(row.texts) for row in entry.rows}
        assert all(row[0][0] == texts[row[4][0]] for row in rows)


def test_wrong_tags_are_shown_behind_their_words():
    task = make_task("ner", task_config("ner", {"labels": ["O", "B-PER", "I-PER"]}))
    words = ("Ada", "met", "Bob")
    row = Example("7", (" ".join(words),), ("B-PER", "O", "B-PER"), 3, words)
    entry = Predicted(task, [row, row], None, [["O", "O", "O"], [*row.label]])  # a model predicts lists
    assert margins(entry).tolist() == [2, 0]
    page = "".join(error_section({"ner": entry}, True).parts)
    assert "Ada B-PER\nBob B-PER" in page and "Ada O\nBob O" in page and "1 of 2 are wrong" in page
    page = "".join(error_section({"ner": entry}, False).parts)
    assert "B-PER\nB-PER" in page and "Ada" not in page


def test_no_text_becomes_code(tables, hostile):
    assert any(hostile in row[0][0] for row in tables.rows("errors-sst"))  # it is there, as text
    tags = Counter(tag for tag, _ in tables.tags)
    assert tags["script"] == 1 and tags["img"] == 0
    assert not any(name.startswith("on") for _, attributes in tables.tags for name in attributes)


def test_without_texts_no_sentence_is_in_the_page(folder, data, tables_of, tmp_path, no_plots):
    """Nor the reason why a row was rejected, which may quote it."""
    copy = shutil.copytree(data, tmp_path / "data")
    with open(copy / "ids-sst-dev.csv", "a", encoding="utf-8") as file:
        file.write("99\tx99\tthe cat\ta secret in the wrong column\n")
    _, notes = predict_split(load_run(folder, "cpu"), copy, "dev")
    assert "a secret" in " ".join(notes)
    path = write_report(folder, tmp_path / "page.html", copy, with_texts=False)
    texts, page = set(), path.read_text(encoding="utf-8")
    for file in data.glob("*.csv"):
        with open(file, encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows, delimiter="\t"):
                texts |= {value for name, value in row.items() if name.startswith("sentence")}
    plain = {text for text in texts if len(text.split()) > 2}
    assert len(plain) > 100 and not [text for text in plain if text in page]
    assert "onerror" not in page and tables_of(path).rows("errors-sst")
    assert "ids-sst-dev.csv: 1" in page and "a secret" not in page


def test_label_counts_of_classes_and_of_scores(predicted):
    counts = label_counts(predicted["sst"].task, {"train": [0, 4, 4], "dev": [1]})
    assert counts == {"train": {"0": 1, "1": 0, "4": 2}, "dev": {"0": 0, "1": 1, "4": 0}}
    counts = label_counts(predicted["sts"].task, {"dev": [0.0, 0.49, 0.5, 4.99, 5.0]})["dev"]
    assert counts["0 to 0.5"] == 2 and counts["0.5 to 1"] == 1 and counts["4.5 to 5"] == 2
    assert len(counts) == 10 and sum(counts.values()) == 5


def test_histograms_count_both_splits(predicted, tables):
    own = Counter(str(label) for label in predicted["sst"].gold)
    rows = {label[0]: (int(train[1]), int(dev[1])) for label, train, dev in tables.rows("labels-sst")}
    assert {label: dev for label, (_, dev) in rows.items()} == {label: own[label] for label in rows}
    assert sum(train for train, _ in rows.values()) == 45 and own.keys() <= rows.keys()


def test_sentence_vectors_are_pooled_as_the_task_pools(folder, predicted):
    run = load_run(folder, "cpu")
    texts = [text for row in predicted["sts"].rows for text in row.texts][:9]
    vectors = sentence_vectors(run, "sts", texts)
    for text, vector in zip(texts, vectors, strict=True):
        [sequence] = run.tokenizer.encode([text], max_length=run.task("sts").config.max_length)
        with torch.inference_mode():
            output = run.model.encoder(Batch.from_sequences([sequence.ids], [sequence.types]))
        [alone] = pool(output, run.config.tasks["sts"].pooling).numpy()
        assert vector == pytest.approx(alone, abs=1e-5)


def test_the_page_loads_nothing_and_is_the_same_again(folder, pages, tables, tmp_path):
    page = pages["run"].read_text(encoding="utf-8")
    assert not re.search(r"(?:https?:)?//[\w.]+\.\w", page)
    assert not [a for _, a in tables.tags if "src" in a]
    links = [a["href"] for _, a in tables.tags if "href" in a]
    assert links and all(link.startswith(("#", "data:")) for link in links)
    ids = Counter(a["id"] for _, a in tables.tags if "id" in a)
    assert max(ids.values()) == 1 and {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert write_report(folder, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_without_the_data_the_curves_are_still_shown(folder, tables_of, tmp_path, no_plots):
    copy = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"data": str(tmp_path / "gone")}))
    path = write_report(copy)
    assert path == copy / "report.html" and "nothing is predicted: data folder" in path.read_text("utf-8")
    assert "evaluations" in tables_of(path).tables and "errors-sst" not in tables_of(path).tables
    with pytest.raises(InputError, match="does not exist"):
        write_report(copy, data=tmp_path / "gone too")


def test_a_split_without_labels_is_said_to_have_none(folder, data, tables_of, tmp_path, no_plots):
    copy = shutil.copytree(data, tmp_path / "data")
    (copy / "sts-test-student.csv").write_text("\tid\tsentence1\tsentence2\n0\ta\tthe cat\tthe dog\n")
    path = write_report(folder, tmp_path / "page.html", copy, "test")
    page = path.read_text(encoding="utf-8")
    assert "sts-test-student.csv has no labelled row" in page and "sst: no test split" in page
    assert "errors-sst" not in tables_of(path).tables


def test_a_run_of_one_task_has_no_overall_score(tiny_config, tables_of, tmp_path, no_plots):
    train(tiny_config(tasks={"sst": {}}, train={"epochs": 1}))
    path = write_report(tmp_path / "run")
    page = path.read_text(encoding="utf-8")
    assert "There is no overall score" in page
    assert not {"Gradient conflict", "Sentence vectors"} & {*re.findall(r"<h2>(.*?)</h2>", page)}
    assert {row[0][0] for row in tables_of(path).rows("scores")} == {"sst"}


def test_without_matplotlib_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "minbert\[experiments\]"'):
        write_report(folder)
