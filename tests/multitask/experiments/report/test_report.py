"""The pages of ablations and searches, without a browser: which folder has one, and what text becomes."""

import json
import re
import shutil
from collections import Counter

import pytest

from minbert import InputError
from multitask.cli.main import run as multitask
from multitask.experiments.report.charts import chart, short
from multitask.experiments.report.report import write_report

pytest.importorskip("matplotlib")


def test_only_folders_of_the_three_kinds_have_a_page(tmp_path):
    with pytest.raises(InputError, match="has none of config.json, table.json, search.json"):
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
    nothing = {"scores": {}, "costs": {}, "differences": {}}
    rows = [
        row | nothing | {"cells": [cell | {"state": "missing"} for cell in row["cells"]]}
        for row in ablation["rows"]
    ]
    empty = ablation | {"columns": [], "rows": rows, "notes": ["15 of 15 cells have no scores"]}
    (tmp_path / "table.json").write_text(json.dumps(empty))
    assert "15 of 15 cells have no scores" in write_report(tmp_path).read_text(encoding="utf-8")
    (tmp_path / "table.json").unlink()
    empty = search | {"trials": search["trials"][-1:], "best": None, "importance": None}
    (tmp_path / "search.json").write_text(json.dumps(empty))
    assert "No trial is complete yet" in write_report(tmp_path).read_text(encoding="utf-8")


def test_the_ablation_shows_the_numbers_of_its_file(pages, tables_of, ablation):
    tables = tables_of(pages["table"])
    shown = {row[0][1]: row[1:] for row in tables.rows("scores")}
    columns = ["overall_2024", "mean_raw", "sst.accuracy", "paraphrase.accuracy", "sts.pearson"]
    assert {*columns} == {*ablation["columns"]}
    significant = []
    for row in ablation["rows"]:
        for (text, value), name in zip(shown[row["name"]], columns, strict=False):
            score, difference = row["scores"].get(name), row["differences"].get(name)
            if score is None:
                assert text == "–" and value is None
                continue
            assert float(value) == score["mean"]
            sides = {True: "▲ ", False: "▼ "}
            side = sides[difference["mean"] > 0] if difference and difference["significant"] else ""
            assert text == f"{side}{score['mean']:.3f} ± {score['sd']:.3f}"
            assert (difference is None) == (row["name"] == ablation["baseline"])
            significant += [difference["significant"]] if difference else []
        finished = sum(cell["state"] == "finished" for cell in row["cells"])
        assert shown[row["name"]][-1] == (f"{finished} of 3", str(finished))
    kinds = Counter(attributes.get("class") for tag, attributes in tables.tags if tag == "td")
    assert kinds["number strong"] == sum(significant) > 0
    assert kinds["number soft"] == len(significant) - sum(significant) > 0
    full = ablation["rows"][3]
    costs = {row[0][1]: [float(cell[1]) for cell in row[1:]] for row in tables.rows("costs") if row[1][1]}
    assert costs["full"] == [4000, 0.05, 15.0, 2.0, 72.0, 1e8 / 2**20, 200.0]
    assert costs.keys() == {row["name"] for row in ablation["rows"][:4]}
    published = {row[1][0]: [float(cell[1]) for cell in row[2:5]] for row in tables.rows("published")}
    mean = full["scores"]["mean_raw"]["mean"]
    assert published["overall, as printed"] == pytest.approx([0.683, mean, mean - 0.683])
    assert published["overall_2024"][0] == pytest.approx((0.529 + 0.738 + 1.782 / 2) / 3)
    page = pages["table"].read_text(encoding="utf-8")
    assert "failed: full, seed 2; a name" in page and "the loss is nan &lt;/script&gt;" in page
    assert "400 random examples of each split" in page and "another formula" in page


def test_the_search_shows_the_numbers_of_its_file(pages, tables_of, search):
    tables = tables_of(pages["search"])
    for row, trial in zip(tables.rows("trials"), search["trials"], strict=True):
        number, state, value, rate, rank, sampling = row[:6]
        assert int(number[1]) == trial["number"] and state[0] == trial["state"]
        assert (None if value[1] is None else float(value[1])) == trial["value"]
        found = {"optim.lr": float(rate[1]), "lora.rank": int(rank[1]), "sampling": sampling[0]}
        assert found == trial["parameters"]
    page = pages["search"].read_text(encoding="utf-8").replace("<wbr>", "")
    assert f"<dt>overall_2024</dt><dd>{search['best']['value']:.3f}" in page
    assert f"trial {search['best']['number']}, the best" in page
    assert "{'" not in page and "{&#39;" not in page, "a dictionary as Python writes it"


def test_each_plot_has_a_guide_to_reading_it(pages):
    for path in pages.values():
        captions = re.findall(r"<figcaption><strong>.+?</strong> (.+?)</figcaption>", path.read_text("utf-8"))
        assert captions and all(caption.endswith(".") for caption in captions)


def test_the_command_needs_nothing_but_one_file_and_writes_where_it_is_told(pages, tmp_path, capsys):
    out = tmp_path / "out" / "page.html"
    for name in ("table", "search"):
        shutil.copy(pages[name].parent / f"{name}.json", tmp_path)
        multitask(["report", str(tmp_path), "--out", str(out), "--without-texts"])
        assert out.read_text() == pages[name].read_text()
        (tmp_path / f"{name}.json").unlink()
    assert capsys.readouterr().out == f"wrote {out}\n" * 2
    with pytest.raises(InputError, match="at least 1"):
        multitask(["report", "x", "--threads", "0"])


def test_a_plot_has_the_same_bytes_again_and_takes_any_name():
    def draw(axes):
        axes.plot([1, 2], [3, 4], label="$x_ costs $5 漢 <b>")
        axes.set(xlabel="$\\frac$")
        axes.legend()

    assert chart(draw) == chart(draw)
    svg = chart(draw)
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    assert "http" not in svg and "metadata" not in svg and "<b>" not in svg


def test_long_names_are_cut_for_plots():
    assert short("LoRA first:4") == "LoRA first:4"
    assert short("a name " * 12, 20).count("\n") == 1 and short("a name " * 12, 20).endswith("…")
