"""The pages of ablations and searches; and all three kinds of pages in a real browser, from disk.

The browser is Debian's chromium with its chromedriver; where they are not installed its tests are skipped.
"""

import base64
import json
import math
import random
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from minbert import CommandParser, InputError
from multitask import RunConfig, train
from multitask.experiments.reports.charts import chart, short
from multitask.experiments.reports.command import add_report_options, report_command
from multitask.experiments.reports.page import Cell, Column, Section, facts, figure, page, table
from multitask.experiments.reports.report import write_report

pytest.importorskip("matplotlib")

CODE = '</script><script>document.title = "taken"</script><b>bold</b> & "quotes"'
COLUMNS = ["sst.accuracy", "paraphrase.accuracy", "sts.pearson", "overall_2024", "mean_raw"]
ENVIRONMENT = {"torch": "2.13.0", "threads": 1}


def scores_of(sst: float, paraphrase: float, sts: float) -> dict[str, float]:
    overall = (sst + paraphrase + (sts + 1) / 2) / 3, (sst + paraphrase + sts) / 3
    return dict(zip(COLUMNS, (sst, paraphrase, sts, *overall), strict=True))


def ablation_row(place: int, draw: random.Random) -> dict:
    """A row with three seeds; the last but one has a failed cell, the last has nothing else."""
    cells = []
    for seed in (1, 2, 3):
        failed = place == 4 or (place == 3 and seed == 2)
        own = scores_of(*(base + 0.01 * place + draw.gauss(0, 0.004) for base in (0.45, 0.72, 0.8)))
        cells.append(
            {
                "seed": seed,
                "key": f"{place}{seed}" * 20,
                "state": "failed" if failed else "finished",
                "error": f"the loss is nan {CODE}" if failed else None,
                "scores": {} if failed else own,
                "seconds": None if failed else 40.0 + 10 * place + seed,
            }
        )
    done = [cell["scores"] for cell in cells if cell["scores"]]
    means = {name: sum(own[name] for own in done) / len(done) for name in COLUMNS if done}
    return {
        "name": ["heads only", "LoRA first:4", f"cost $5 {CODE}", "full", "a name " * 12][place],
        "about": "what it is",
        "set": {"optim.lr": 2e-5} if place else {},
        "published": None,
        "cells": cells,
        "scores": {name: {"mean": mean, "sd": 0.0123, "n": len(done)} for name, mean in means.items()},
        "costs": {
            "trained_parameters": 7700 * 10**place if done else None,
            "parameters": 77_000_000,
            "seconds_per_epoch": 20.5,
            "peak_memory": 2**30,
            "tokens_per_second": 9000.0,
            "epochs": 3,
        },
    }


@pytest.fixture(scope="session")
def ablation() -> dict:
    """What table.json holds: a baseline, significant and other differences, a failed row, hostile names."""
    draw = random.Random(1)
    rows = [ablation_row(place, draw) for place in range(5)]
    for row in rows[1:4]:
        row["differences"] = {}
        for name in COLUMNS:
            mean = row["scores"][name]["mean"] - rows[0]["scores"][name]["mean"]
            row["differences"][name] = {
                "mean": mean,
                "low": mean - 0.015,
                "high": mean + 0.015,
                "significant": mean > 0.015,
                "why": None if mean > 0.015 else "the interval holds 0",
            }
    unknown = {"mean": 0.01, "low": None, "high": None, "significant": None, "why": "one seed only"}
    rows[1]["differences"]["sst.accuracy"] = unknown
    rows[3]["published"] = {
        "overall": 0.683,
        "formula": "mean_raw",
        "scores": {"sst.accuracy": 0.529},
        "overall_2024": 0.7014,
        "mean_raw": 0.6762,
        "note": "printed with another formula",
    }
    return {
        "kind": "ablation",
        "title": f"Methods {CODE}",
        "about": "Ways of fine-tuning.",
        "baseline": "heads only",
        "seeds": [1, 2, 3],
        "split": "dev",
        "limit": 400,
        "created": "2025-01-01T00:00:00+00:00",
        "environment": ENVIRONMENT,
        "command": "multitask ablate methods",
        "columns": COLUMNS,
        "rows": rows,
        "notes": ["2 rows rejected"],
        "level": 0.95,
        "resamples": 10000,
    }


@pytest.fixture(scope="session")
def search() -> dict:
    """What search.json holds: 24 trials of every state over a log scale, whole numbers and choices."""
    draw, trials = random.Random(2), []
    parameters = {
        "optim.lr": {"kind": "float", "low": 1e-6, "high": 1e-3, "log": True, "choices": None},
        "lora.rank": {"kind": "int", "low": 2, "high": 32, "log": False, "choices": None},
        "sampling": {
            "kind": "choice",
            "low": None,
            "high": None,
            "log": False,
            "choices": ["annealed", CODE],
        },
    }
    for place in range(24):
        state = {3: "failed", 23: "running"}.get(place, "pruned" if place % 6 == 5 else "complete")
        given = {
            "optim.lr": 10 ** draw.uniform(-6, -3),
            "lora.rank": draw.randint(2, 32),
            "sampling": draw.choice(["annealed", CODE]),
        }
        value = 0.7 - 0.02 * (math.log10(given["optim.lr"]) + 4.5) ** 2
        trials.append(
            {
                "number": place,
                "state": state,
                "value": value if state == "complete" else None,
                "parameters": {} if state == "running" else given,
                "seconds": None if state == "running" else 30.0 + place,
                "error": CODE if state == "failed" else None,
                "scores": {"sst.accuracy": value - 0.2, "overall_2024": value} if state == "complete" else {},
                "steps": [[10, value - 0.1], [20, value]] if state in ("complete", "pruned") else [],
            }
        )
    best = max((trial for trial in trials if trial["value"]), key=lambda trial: trial["value"])
    return {
        "kind": "search",
        "title": "Rates",
        "about": "What matters.",
        "sampler": "tpe",
        "metric": "overall_2024",
        "direction": "maximize",
        "created": "2025-01-01T00:00:00+00:00",
        "environment": ENVIRONMENT,
        "command": "multitask search rates",
        "parameters": parameters,
        "trials": trials,
        "best": {key: best[key] for key in ("number", "value", "parameters")},
        "importance": {"optim.lr": 0.8, "lora.rank": 0.15, "sampling": 0.05},
        "notes": [],
    }


@pytest.fixture(scope="session")
def pages(tmp_path_factory, ablation, search, tiny_folder, tiny_data) -> dict[str, Path]:
    """The three pages, each in the folder that it is about."""
    folder = tmp_path_factory.mktemp("pages")
    values = {
        "weights": str(tiny_folder),
        "data": str(tiny_data),
        "out": str(folder / "run"),
        "device": "cpu",
        "threads": 1,
        "sampling": "together",
        "gradients": {"conflicts_every": 2},
        "train": {"epochs": 1, "batch_size": 8},
        "tasks": {"sst": {}, "paraphrase": {}, "sts": {}},
    }
    train(RunConfig.from_dict(values))
    for name, content in (("table", ablation), ("search", search)):
        (folder / name).mkdir()
        (folder / name / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return {name: write_report(folder / name) for name in ("run", "table", "search")}


def test_only_folders_of_the_three_kinds_have_a_page(tmp_path):
    with pytest.raises(InputError, match="holds none of config.json, table.json, search.json"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        write_report(tmp_path / "none")
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        write_report(tmp_path)
    (tmp_path / "table.json").write_text('{"kind": "search", "columns": [], "rows": []}')
    with pytest.raises(InputError, match='needs "kind": "ablation"'):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_tables_without_any_result_are_pages_too(ablation, search, tmp_path):
    """As at the start: no cell is finished, no trial complete, nothing is known."""
    rows = [
        row | {"cells": [cell | {"state": "missing"} for cell in row["cells"]], "scores": {}, "costs": {}}
        for row in ablation["rows"]
    ]
    rows = [{key: value for key, value in row.items() if key != "differences"} for row in rows]
    (tmp_path / "table.json").write_text(json.dumps(ablation | {"rows": rows, "notes": []}))
    assert "Cells that are not finished" in write_report(tmp_path).read_text(encoding="utf-8")
    (tmp_path / "table.json").unlink()
    empty = search | {"trials": search["trials"][-1:], "best": None, "importance": None}
    (tmp_path / "search.json").write_text(json.dumps(empty))
    assert "No trial is complete yet" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_table_and_a_search_need_nothing_but_their_one_file(pages, tmp_path):
    for name in ("table", "search"):
        shutil.copy(pages[name].parent / f"{name}.json", tmp_path)
        assert write_report(tmp_path, tmp_path / "out" / "page.html").read_text() == pages[name].read_text()
        (tmp_path / f"{name}.json").unlink()


def test_the_command_writes_where_it_is_told(pages, tmp_path, capsys):
    parser = CommandParser(prog="multitask report")
    add_report_options(parser)
    out = tmp_path / "page.html"
    report_command(parser.parse_args([str(pages["search"].parent), "--out", str(out), "--without-texts"]))
    assert out.read_text() == pages["search"].read_text()
    assert capsys.readouterr().out == f"wrote {out}\n"
    with pytest.raises(InputError, match="at least 1"):
        report_command(parser.parse_args(["x", "--threads", "0"]))
    assert isinstance(parser.parse_args(["x"]), Namespace)


def test_all_that_is_shown_is_escaped():
    text = "<i>&\"'"
    shown = [
        table(
            text, [Column(text, choose=True), text], [[Cell(text, text, text, group=text), text]], search=True
        ),
        facts(text, {text: text}),
        figure(text, text, "<svg></svg>"),
    ]
    whole = page(text, text, [Section(text, "".join(shown))])
    assert "<i>" not in whole and '<i>&"' not in whole
    assert whole.count("&lt;i&gt;&amp;&quot;&#x27;") >= 12


def test_a_plot_has_the_same_bytes_again_and_takes_any_name():
    def draw(axes):
        axes.plot([1, 2], [3, 4], label="$x_ costs $5 漢 <b>")
        axes.set(xlabel="$\\frac$")
        axes.legend()

    assert chart(draw) == chart(draw)
    svg = chart(draw)
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    assert "http" not in svg and "metadata" not in svg and "<b>" not in svg


def test_two_plots_in_a_page_share_no_id():
    svg = '<svg><path id="a"/><use href="#a"/><g clip-path="url(#a)"/></svg>'
    first, second = figure("one", "", svg), figure("two", "", svg)
    ids = {part.split('"')[1] for part in (first + second).split(" id=")[1:]} if " id=" in first else set()
    assert len(ids) == 2
    for own, whole in zip(sorted(ids, key=(first + second).index), (first, second), strict=True):
        assert f'href="#{own}"' in whole and f"url(#{own})" in whole


def test_long_names_are_cut_for_plots():
    assert short("LoRA first:4") == "LoRA first:4"
    assert short("a name " * 12, 20).count("\n") == 1 and short("a name " * 12, 20).endswith("…")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("chromium and chromedriver (Debian's packages) are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for option in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser, pages):
    """The function `show(name, width=1280)`: opens a page from disk in a window of that width."""

    def open_page(name: str, width: int = 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(pages[name].as_uri())
        return browser

    return open_page


def rows_of(browser, name: str, shown: bool = True) -> list[list[list]]:
    """The rows that a table shows, in their order: (text, data-value) of each cell."""
    return browser.execute_script(
        """return [...document.getElementById(arguments[0]).querySelectorAll("tbody tr")]
        .filter((row) => !arguments[1] || row.getClientRects().length)
        .map((row) => [...row.cells].map((cell) => [cell.innerText, cell.dataset.value ?? null]))""",
        name,
        shown,
    )


def choose(browser, table: str, column: str, value: str) -> None:
    """Picks a value of a filter, as a user would."""
    from selenium.webdriver.support.select import Select

    path = f'//div[@id="{table}"]//label[starts-with(normalize-space(.), "{column}")]/select'
    Select(browser.find_element("xpath", path)).select_by_visible_text(value)


@pytest.mark.parametrize("name", ["run", "table", "search"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_fits_its_window_and_reports_no_error(show, name, width):
    browser = show(name, width)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return innerWidth") == width
    assert browser.get_log("browser") == []
    assert browser.title != "taken" and browser.find_elements("css selector", "main b") == []
    outside = browser.execute_script(
        """return [...document.querySelectorAll("svg, .scroll, p, li, select")]
        .filter((element) => element.getClientRects().length && !element.closest(".wide"))
        .filter((element) => element.getBoundingClientRect().right > innerWidth).length"""
    )
    assert outside == 0


@pytest.mark.parametrize("name", ["run", "table", "search"])
def test_a_page_asks_for_nothing(show, name, pages):
    browser = show(name)
    browser.get_log("performance")
    browser = show(name)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert pages[name].as_uri() in asked
    assert [url for url in asked if not url.startswith("data:") and url != pages[name].as_uri()] == []


def test_text_in_plots_can_be_read(show):
    """The smallest glyph of a plot is scaled by the page; its font size must stay above 8 pixels."""
    for width in (1280, 400):
        browser = show("table", width)
        scales = browser.execute_script(
            """return [...document.querySelectorAll("svg")].map((svg) => svg.getBoundingClientRect().width
            / svg.viewBox.baseVal.width)"""
        )
        assert len(scales) >= 7 and min(scales) * 9.5 > 8


def test_every_plot_has_axes_and_a_title(show):
    for name in ("run", "table", "search"):
        browser = show(name)
        for plot in browser.find_elements("css selector", "figure"):
            title = plot.find_element("tag name", "strong").text
            label = plot.find_element("tag name", "svg").get_attribute("aria-label")
            assert title and label.startswith(title) and len(label) > len(title) + 20
            assert plot.find_elements("css selector", '[id*="matplotlib.axis_1"]')


def test_the_ablation_shows_the_numbers_of_its_file(show, ablation):
    browser = show("table")
    shown = {row[0][1]: row for row in rows_of(browser, "scores")}
    for row in ablation["rows"]:
        cells = shown[row["name"]][1:]
        for (text, value), name in zip(cells, COLUMNS, strict=False):
            score, difference = row["scores"].get(name), row.get("differences", {}).get(name)
            if score is None:
                assert text == "–" and value is None
                continue
            assert float(value) == score["mean"]
            assert text.startswith(f"{score['mean']:.4f} ± 0.0123")
            assert (difference is not None) == (f"\n{(difference or score)['mean']:+.4f}" in text)
            if difference and difference["low"] is not None:
                assert f"[{difference['low']:+.4f}, {difference['high']:+.4f}]" in text
                assert text.endswith("\nsignificant") == difference["significant"]
            else:
                assert "significant" not in text
        tinted = browser.execute_script(
            """return [...document.querySelectorAll("#scores tbody tr")]
            .find((row) => row.cells[0].dataset.value === arguments[0]).querySelectorAll(".strong").length""",
            row["name"],
        )
        differences = row.get("differences", {}).values()
        assert tinted == sum(difference["significant"] is True for difference in differences)
        assert cells[-1][0].startswith(str(sum(cell["state"] == "finished" for cell in row["cells"])))


def test_the_ablation_shows_costs_failures_and_published_numbers(show, ablation):
    browser = show("table")
    costs = {row[0][1]: [cell[1] for cell in row[1:]] for row in rows_of(browser, "costs")}
    assert [float(value) for value in costs["full"]] == [7.7e6, 0.1, 20.5, 3, 72, 1024, 9000]
    failures = rows_of(browser, "failures")
    assert [(row[0][1], int(row[1][1])) for row in failures] == [("full", 2)] + [
        ("a name " * 12, seed) for seed in (1, 2, 3)
    ]
    assert all(CODE in row[3][0] for row in failures)
    ours = ablation["rows"][3]["scores"]
    published = {row[1][0]: [float(cell[1]) for cell in row[2:5]] for row in rows_of(browser, "published")}
    for name, key, value in (
        ("sst.accuracy", "sst.accuracy", 0.529),
        ("overall_2024", "overall_2024", 0.7014),
        ("overall, as printed", "mean_raw", 0.683),
    ):
        mean = ours[key]["mean"]
        assert published[name] == pytest.approx([value, mean, mean - value])


def test_the_search_shows_the_numbers_of_its_file(show, search):
    browser = show("search")
    for row, trial in zip(rows_of(browser, "trials"), search["trials"], strict=True):
        number, state, value, rate, rank, sampling = row[:6]
        assert int(number[1]) == trial["number"] and state[0] == trial["state"]
        assert (None if value[1] is None else float(value[1])) == trial["value"]
        given = trial["parameters"]
        if given:
            assert float(rate[1]) == given["optim.lr"] and int(rank[1]) == given["lora.rank"]
            assert sampling[0] == given["sampling"]
    best = {row[0][0]: row[1][0] for row in rows_of(browser, "best")}
    assert best["trial"] == str(search["best"]["number"])
    assert float(best["overall_2024"]) == pytest.approx(search["best"]["value"], abs=5e-5)


def test_a_heading_sorts_its_column_up_and_down_with_unknown_values_last(show, search):
    browser = show("search")
    known = sorted(trial["value"] for trial in search["trials"] if trial["value"] is not None)
    heading = browser.find_element("xpath", '//div[@id="trials"]//button[.="overall_2024"]')
    for expected, direction in ((known, "ascending"), (known[::-1], "descending")):
        heading.click()
        values = [row[2][1] for row in rows_of(browser, "trials")]
        assert [float(value) for value in values[: len(known)]] == expected
        assert values[len(known) :] == [None] * (len(values) - len(known))
        assert heading.find_element("xpath", "..").get_attribute("aria-sort") == direction
    browser.find_element("xpath", '//div[@id="trials"]//button[.="state"]').click()
    states = [row[1][0] for row in rows_of(browser, "trials")]
    assert states == sorted(states)
    assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "none"


def test_trials_are_filtered_by_state(show, search):
    browser = show("search")
    choose(browser, "trials", "state", "pruned")
    shown = [int(row[0][1]) for row in rows_of(browser, "trials")]
    expected = [trial["number"] for trial in search["trials"] if trial["state"] == "pruned"]
    assert shown == expected and expected
    count = browser.find_element("css selector", "#trials output").text
    assert count == f"{len(expected)} of {len(search['trials'])} rows"
    choose(browser, "trials", "state", "all")
    assert len(rows_of(browser, "trials")) == len(search["trials"])


def test_errors_are_filtered_by_task_gold_predicted_and_words(show):
    browser = show("run")
    every = rows_of(browser, "errors")
    assert {row[0][0] for row in every} == {"sst", "paraphrase", "sts"}
    choose(browser, "errors", "task", "sst")
    sst = [row for row in every if row[0][0] == "sst"]
    assert rows_of(browser, "errors") == sst
    gold = sst[0][2][0]
    choose(browser, "errors", "gold", gold)
    assert rows_of(browser, "errors") == [row for row in sst if row[2][0] == gold]
    predicted = sst[0][3][0]
    choose(browser, "errors", "predicted", predicted)
    expected = [row for row in sst if (row[2][0], row[3][0]) == (gold, predicted)]
    assert rows_of(browser, "errors") == expected
    for column in ("task", "gold", "predicted"):
        choose(browser, "errors", column, "all")
    words = every[-1][1][0].split()[-2:]
    browser.find_element("css selector", "#errors input").send_keys(" ".join(words).upper())
    found = rows_of(browser, "errors")
    assert found == [row for row in every if all(word in " ".join(cell[0] for cell in row) for word in words)]
    assert 0 < len(found) < len(every)


def test_scores_are_filtered_by_the_part_of_their_range(show):
    browser = show("run")
    choose(browser, "errors", "task", "sts")
    every = rows_of(browser, "errors")
    choose(browser, "errors", "gold", "1 to 2")
    assert rows_of(browser, "errors") == [row for row in every if 1 <= float(row[2][1]) < 2]


def test_a_page_can_be_printed(show):
    browser = show("table")
    content = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert content.startswith(b"%PDF")
