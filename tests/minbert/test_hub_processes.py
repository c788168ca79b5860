"""`minbert download` as a process: killed, twice at once, told by the environment where to ask.

Run: pytest tests/minbert/test_hub_processes.py
"""

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

SPEC = spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
hub_server = module_from_spec(SPEC)
SPEC.loader.exec_module(hub_server)

WEIGHTS = np.random.default_rng(0).bytes(5_000_000)
FILES = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n", "model.safetensors": WEIGHTS}


@pytest.fixture
def hub():
    with hub_server.HubServer() as server:
        server.add("owner/tiny", FILES)
        yield server


@pytest.fixture
def start(hub, tmp_path):
    """Starts `minbert ARGUMENTS` in an empty folder, with the server as its hub."""
    started = []

    def run(*arguments, **environment):
        known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        known |= {"HF_ENDPOINT": hub.url(), "HF_HOME": str(tmp_path / "home")} | environment
        command = [sys.executable, "-m", "minbert", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        known["PYTHONPATH"] = str(Path(__file__).parents[2])
        started.append(subprocess.Popen(command, cwd=tmp_path, env=known, **pipes))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "hub.json"}


@pytest.mark.parametrize("place", ["folder", "cache"])
def test_killed_and_continued(hub, start, tmp_path, place):
    arguments = ["download", "owner/tiny", "--json", *(["--to", "w"] if place == "folder" else [])]
    hub.stalls["model.safetensors"] = 3_000_000
    process = start(*arguments)
    assert hub.stalled.wait(60)
    part = tmp_path / (".w.download" if place == "folder" else "home/hub/models--owner--tiny/blobs")
    while not sum(path.stat().st_size for path in part.glob("*.incomplete")) > 2_000_000:
        assert process.poll() is None, process.communicate()
    process.kill()
    process.wait()
    assert not (tmp_path / "w").exists() and not list(tmp_path.rglob("hub.json"))
    hub.stalls.clear()
    hub.released.set()
    hub.requests.clear()
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    done = json.loads(out)
    assert contents(tmp_path / done["folder"]) == FILES and done["fetched"] == ["model.safetensors"]
    [request] = hub.asked("model.safetensors", "GET", "cdn")
    assert 2_000_000 < int(request.headers["range"].removeprefix("bytes=").removesuffix("-")) <= 3_000_000
    assert not list(tmp_path.rglob("*.incomplete")) and not list(tmp_path.glob(".w*"))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "cache"])
def test_two_at_once_fetch_once(hub, start, tmp_path, place):
    arguments = ["download", "owner/tiny", "--json", *(["--to", "w"] if place == "folder" else [])]
    hub.stalls["model.safetensors"] = 3_000_000
    first = start(*arguments)
    assert hub.stalled.wait(60)
    second = start(*arguments)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(5)  # time to ask the server, if it did not wait for the first
    hub.released.set()
    done = [json.loads(process.communicate(timeout=60)[0]) for process in (first, second)]
    assert done[1] == done[0] | {"fetched": []} and len(done[0]["fetched"]) == 3
    assert len(hub.asked("model.safetensors", "GET", "cdn")) == 1
    assert contents(tmp_path / done[0]["folder"]) == FILES


def test_the_environment_is_respected(hub, start, tmp_path):
    hub.gated.add("owner/tiny")
    process = start("download", "owner/tiny", HF_TOKEN=hub.token, HF_HUB_CACHE=str(tmp_path / "elsewhere"))
    out, err = process.communicate(timeout=60)
    commit = hub.revisions["owner/tiny"]["main"]
    folder = tmp_path / "elsewhere" / "models--owner--tiny" / "snapshots" / commit
    assert (process.returncode, err) == (0, "")
    assert out == f"{folder}: owner/tiny at main ({commit}), 3 files, 5.0 MB, 5.0 MB fetched\n"
    hub.requests.clear()
    process = start("download", "owner/tiny", HF_HUB_OFFLINE="1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, hub.requests) == (2, "", [])
    assert (
        err == "error: HF_HUB_OFFLINE is set, so the hub was not asked for owner/tiny; unset it to download\n"
    )


@pytest.mark.parametrize("command", ["download", "nearest"])
def test_help_loads_nothing_heavy(command):
    heavy = ("torch", "numpy", "tokenizers", "huggingface_hub", "tqdm", "faiss")
    code = (
        f"import sys, atexit; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules])); "
        f"from minbert.cli.main import main; main([{command!r}, '--help'])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_a_download_loads_no_torch(hub, start, tmp_path):
    process = start("download", "owner/tiny", PYTHONPROFILEIMPORTTIME="1")
    err = process.communicate(timeout=60)[1]
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert process.returncode == 0 and "huggingface_hub" in loaded and not {"torch", "numpy"} & loaded
