"""TensorBoard and Weights & Biases hold what metrics.jsonl holds, also after a kill; only if asked."""

import json
import math
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minbert import InputError
from multitask import resume, train
from multitask.runtime.trackers import Trackers, flatten
from multitask.runtime.tracking import MetricsLog, read_metrics

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def stranger(monkeypatch, tmp_path):
    """Somebody whom Weights & Biases does not know, and who works offline."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield
    if sys.modules.get("wandb"):
        import wandb

        wandb.teardown()


def points_of(folder: Path) -> dict[tuple[str, int], float]:
    """(name, step) -> value from metrics.jsonl, as the trackers shall have them; no point comes twice."""
    points = {}

    def add(name, step, value):
        assert (name, step) not in points
        points[name, step] = value

    for record in read_metrics(folder / "metrics.jsonl"):
        step = record["step"]
        if record["kind"] == "train":
            for name in ("rate", "epoch", "step_skipped"):
                add(name, step, float(record[name]))
            for task, loss in record["loss"].items():
                add(f"loss/{task}", step, loss)
        elif record["kind"] == "conflict":
            for layer, cosines in record["cosines"].items():
                for pair, cosine in cosines.items():
                    add(f"conflict/{layer}/{pair}", step, cosine)
        else:
            scores = record["scores"]
            for task, values in scores.items():
                for name, value in values.items():
                    add(f"scores/{task}/{name}", step, value)
            r, others = scores["sts"]["pearson"], scores["sst"]["accuracy"] + scores["paraphrase"]["accuracy"]
            add("overall/mean_raw", step, (others + r) / 3)
            add("overall/overall_2024", step, (others + (1 + r) / 2) / 3)
    return points


def raw_tensorboard(folder: Path) -> list[tuple[str, int, float, float]]:
    """(name, step, value, time) of every event that stands in the files, in their order."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return [
        (value.tag, event.step, value.tensor.float_val[0], event.wall_time)
        for path in sorted((folder / "tensorboard").iterdir())
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def assert_tensorboard_is_complete(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    expected = points_of(folder)
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    shown = [(name, e.step, e.value) for name in events.Tags()["scalars"] for e in events.Scalars(name)]
    raw = raw_tensorboard(folder)
    for found in (shown, [event[:3] for event in raw]):
        assert len(found) == len(expected)
        for name, step, value in found:
            assert value == pytest.approx(expected[name, step], rel=1e-6)
    times = [time for *_, time in raw]
    assert times == sorted(times)


def read_wandb(folder: Path) -> tuple[dict[tuple[str, int], float], list]:
    """(name, step) -> value of the only offline run of a folder, and all records of its file."""
    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 600
    # Another process writes the file, and may come to its end after the run has.
    while "exit" not in map(kind_of, records := read_records(path)):
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.05)
    points = {}
    for record in records:
        for item in record.history.item if kind_of(record) == "history" else ():
            name = item.key or "/".join(item.nested_key)
            if not name.startswith("_"):
                assert (name, record.history.step.num) not in points
                points[name, record.history.step.num] = json.loads(item.value_json)
    return points, records


def read_records(path: Path) -> list:
    """The records of a .wandb file, as far as it is written.

    It is a log as LevelDB has it: blocks of 32 KiB; before each piece its checksum, length and type.
    """
    from wandb.proto import wandb_internal_pb2

    data, records, whole, place = path.read_bytes(), [], b"", 7
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if place + 7 + length > len(data):
            break
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            records.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return records


def kind_of(record) -> str:
    return record.WhichOneof("record_type")


def summary_of(records: list) -> dict[str, float]:
    items = [item for record in records for item in record.summary.update]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


# What stands in the files.


def test_the_trackers_hold_what_the_log_holds(tiny_config, tmp_path):
    """Weights & Biases, offline, the configuration and the best scores too."""
    config = tiny_config(
        track=["tensorboard", "wandb"], sampling="together", gradients={"conflicts_every": 2}
    )
    run = train(config)
    names = {name for name, _ in points_of(tmp_path / "run")}
    assert {"loss/sts", "rate", "scores/sst/accuracy", "overall/mean_raw"} <= names
    assert {"conflict/overall/sst sts", "conflict/layers.1/paraphrase sts"} <= names
    assert_tensorboard_is_complete(tmp_path / "run")
    points, records = read_wandb(tmp_path / "run")
    assert points == points_of(tmp_path / "run")
    (told,) = [record.run for record in records if kind_of(record) == "run"]
    assert (told.display_name, told.project) == ("run", tmp_path.name)
    assert told.run_id == (tmp_path / "run" / "wandb-id").read_text().strip()
    sent = {item.key: json.loads(item.value_json) for item in told.config.update}
    assert config.to_dict().items() <= sent.items()
    best = {
        f"best/scores/{task}/{name}": value
        for task, values in run.scores["scores"].items()
        for name, value in values.items()
    }
    assert best.items() <= summary_of(records).items()
    assert [r.exit.exit_code for r in records if kind_of(r) == "exit"] == [0]


DIES = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from multitask import RunConfig, train
from multitask.runtime.callbacks import Callback

class Dies(Callback):
    def on_record(self, kind, step, values):
        if step >= 20:
            os._exit(9)  # at once: nothing is flushed, nothing is closed

config = RunConfig.from_dict(json.loads(sys.argv[1]))
out = Path(config.out).with_name("unasked")
train(replace(config, track=(), out=str(out), train=replace(config.train, max_steps=1)))
assert not [name for name in sys.modules if name.partition(".")[0] in ("wandb", "tensorboard")]
assert not {"wandb", "wandb-id", "tensorboard"} & {path.name for path in out.iterdir()}
train(config, callbacks=[Dies()])
"""


def test_after_a_kill_no_point_is_missing_or_double(tiny_config, tmp_path, said):
    """Killed at step 20, continued from step 18: steps 19 and 20 are told twice, in two processes.

    Before that, a run that does not ask for trackers imports and writes nothing of them.
    """
    config = tiny_config(track=["tensorboard", "wandb"], checkpoint={"every_steps": 6})
    found = subprocess.run([sys.executable, "-c", DIES, json.dumps(config.to_dict())], cwd=ROOT)
    assert found.returncode == 9
    run = tmp_path / "run"
    (before,) = (run / "wandb").glob("offline-run-*")
    assert any(step == 20 for _, step, *_ in raw_tensorboard(run))
    resume(run)
    assert any(line.startswith("resumed after step 18") for line in said)
    assert_tensorboard_is_complete(run)
    points, records = read_wandb(run)
    assert points == points_of(run)
    (told,) = [record.run for record in records if kind_of(record) == "run"]
    assert before.name.endswith(told.run_id)


def test_points_that_are_told_anew_stand_at_the_time_of_their_training(tiny_config, tmp_path):
    (tmp_path / "run").mkdir()
    log = MetricsLog(tmp_path / "run" / "metrics.jsonl")
    values = {"epoch": 1, "loss": {"sst": 1.0}, "rate": 0.1}
    for step, seconds in ((1, 1000.0), (2, 5000.0)):
        log.on_record("train", step, values | {"seconds": seconds})
    now = time.time()
    trackers = Trackers(["tensorboard"], tiny_config())
    trackers.on_start(2, 3)
    trackers.on_record("train", 3, values | {"seconds": 5010.0})
    trackers.on_end({})
    times = [when for name, *_, when in raw_tensorboard(tmp_path / "run") if name == "rate"]
    assert times == pytest.approx([now - 4000, now, now + 10], abs=60)


def test_a_run_of_the_users_own_is_left_alone(tiny_config, tmp_path):
    import wandb

    own = wandb.init(dir=str(tmp_path), settings=wandb.Settings(silent=True))
    train(tiny_config(track=["wandb"], train={"epochs": 1}))
    assert read_wandb(tmp_path / "run")[0] == points_of(tmp_path / "run")
    own.log({"mine": 1})
    own.finish()
    assert read_wandb(tmp_path)[0] == {("mine", 0): 1}


def test_numbers_that_are_none_are_left_out():
    record = {"scores": {"sts": {"pearson": math.nan, "spearman": None}, "sst": {"accuracy": 0.5}}}
    assert flatten("evaluation", record) == {"scores/sst/accuracy": 0.5}
    conflict = {"cosines": {"overall": {"a b": None, "a c": -0.5}}}
    assert flatten("conflict", conflict) == {"conflict/overall/a c": -0.5}


# What does not happen.


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_said_before_anything_is_written(tiny_config, tmp_path, monkeypatch, name):
    config = tiny_config(track=[name])
    for module in [m for m in sys.modules if f"{m}.".startswith((f"{name}.", "torch.utils.t"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"--track {name} needs .*pip install \"minbert\[tracking\]\""):
        train(config)
    assert not (tmp_path / "run").exists()


def test_wandb_asks_for_a_key_before_anything_is_written_unless_it_is_disabled(
    tiny_config, tmp_path, monkeypatch, said
):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(tiny_config(track=["wandb"], train={"max_steps": 1}))
    assert not list((tmp_path / "run").glob("wandb/*run-*"))
    assert not [line for line in said if "wandb" in line]
    monkeypatch.delenv("WANDB_MODE")
    with pytest.raises(InputError, match="--track wandb needs a key; set WANDB_API_KEY"):
        train(tiny_config(track=["wandb"], out=str(tmp_path / "other")))
    assert not (tmp_path / "other").exists()


def test_a_tracker_that_fails_is_dropped_and_the_run_goes_on(
    tiny_config, tiny_run, tmp_path, monkeypatch, said
):
    from torch.utils.tensorboard import SummaryWriter

    flush, calls = SummaryWriter.flush, []

    def fails(self):
        calls.append(self)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        flush(self)

    monkeypatch.setattr(SummaryWriter, "flush", fails)
    train(tiny_config(track=["tensorboard"]))
    assert len(calls) == 2
    assert [line for line in said if "tensorboard" in line] == [
        "tensorboard stopped tracking: [Errno 28] No space left on device"
    ]
    log, other = (read_metrics(run / "metrics.jsonl") for run in (tmp_path / "run", tiny_run))
    assert [r | {"seconds": 0} for r in log] == [r | {"seconds": 0} for r in other]
