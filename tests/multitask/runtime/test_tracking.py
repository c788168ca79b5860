"""The log of a run: what a resumed run keeps of it, and JSON that every reader takes."""

from multitask.runtime.tracking import MetricsLog, read_metrics, strict


def test_the_log_drops_what_the_checkpoint_does_not_know(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (5, 10):
        log.on_record("train", step, {"loss": {"a": 1.0}})
        log.on_record("evaluation", step, {"scores": {"a": {"x": float("nan")}}})
    kinds = [(record["kind"], record["step"]) for record in read_metrics(path)]
    assert kinds == [("train", 5), ("evaluation", 5), ("train", 10), ("evaluation", 10)]
    log.rewind(10, 5)
    kinds = [(record["kind"], record["step"]) for record in read_metrics(path)]
    assert kinds == [("train", 5), ("evaluation", 5), ("train", 10)]
    log.rewind(0, 0)
    assert read_metrics(path) == []


def test_nan_becomes_null():
    assert strict({"a": [float("nan"), float("inf"), 1.5, "NaN", None, True]}) == {
        "a": [None, None, 1.5, "NaN", None, True]
    }
