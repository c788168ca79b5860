"""Downloads from a hub on the loopback: whole, pinned, checked; and what is refused, in one line."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from minbert import BertModel, InputError, SentenceEncoder, Tokenizer, find_folder
from minbert.weights.hub import HubModel, download
from tests.minbert.weights.hub_server import HubServer, checksum

NAME = "owner/tiny"
TINY = HubModel(NAME)
CONFIG = b'{"model_type": "bert", "vocab_size": 30, "hidden_size": 8, "num_attention_heads": 2}'
WEIGHTS = random.Random(0).randbytes(300_000)
PLAIN = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "vocab.txt": b"[PAD]\n"}
POOLING = {
    "modules.json": json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]).encode(),
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "tokenizer_config.json": b"{}",
}
NEEDED = PLAIN | POOLING
UNNEEDED = {"README.md": b"# a", "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"graph", "a.py": b"1"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server that huggingface_hub takes for the hub; it holds owner/tiny, and the cache is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's attempts
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        for name, value in {
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": server.url(),
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url() + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_ETAG_TIMEOUT": 1,
            "HF_HUB_DOWNLOAD_TIMEOUT": 1,
            "DOWNLOAD_CHUNK_SIZE": 50_000,
        }.items():
            monkeypatch.setattr(constants, name, value)
        server.add(NAME, NEEDED | UNNEEDED)
        yield server
        close_session()


@pytest.fixture(params=["folder", "cache"])
def to(request, tmp_path):
    """Where a model is downloaded to."""
    return tmp_path / "w" if request.param == "folder" else None


def contents(folder: Path) -> dict[str, bytes]:
    """Path below a folder -> bytes, without the record."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files.pop("hub.json", None)
    return files


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as error:
        download(*arguments)
    assert "\n" not in str(error.value)


# --- whole --------------------------------------------------------------------------------------------------


def test_the_needed_files_arrive_with_their_record(hub, to):
    done = download(TINY, to)
    commit = hub.revisions[NAME]["main"]
    assert contents(done.folder) == NEEDED and set(done.fetched) == set(NEEDED)
    assert not any(hub.asked(name) for name in UNNEEDED)
    assert done.record == json.loads((done.folder / "hub.json").read_text())
    assert done.record == {
        "name": NAME,
        "revision": "main",
        "commit": commit,
        "files": {
            name: {
                "size": len(data),
                "sha256" if name == "model.safetensors" else "blob_id": checksum(name, data),
            }
            for name, data in NEEDED.items()
        },
    }
    assert all(commit in request.path for request in hub.asked()[1:])  # pinned
    if to is not None:
        assert done.folder == to and not any(path.is_symlink() for path in to.rglob("*"))
        assert list(to.parent.iterdir()) == [to]


def test_the_cache_is_huggingface_hubs(hub, tmp_path, monkeypatch):
    folder = find_folder(NAME)
    assert folder == tmp_path / "cache/models--owner--tiny/snapshots" / hub.revisions[NAME]["main"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = huggingface_hub.hf_hub_download(NAME, "model.safetensors", local_files_only=True)
    assert Path(found) == folder / "model.safetensors"
    scanned = huggingface_hub.scan_cache_dir(tmp_path / "cache")
    [repository] = scanned.repos
    assert not scanned.warnings and repository.refs["main"].commit_hash == folder.name


def test_local_files_only_asks_no_hub(hub):
    for load in (find_folder, BertModel.from_pretrained, Tokenizer.from_pretrained):
        with pytest.raises(InputError, match=f"local_files_only is set; `minbert download {NAME}` fetches"):
            load(NAME, local_files_only=True)
    assert not hub.asked()
    folder = find_folder(NAME)
    hub.requests.clear()
    assert find_folder(NAME, local_files_only=True) == folder and not hub.asked()


def test_what_huggingface_hub_fetched_is_taken(hub, monkeypatch):
    """Whole with its list of files, not from single files: a modules.json may be missing then."""
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        huggingface_hub.hf_hub_download(NAME, name)
    with monkeypatch.context() as offline, pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        find_folder(NAME)
    hub.requests.clear()
    assert contents(find_folder(NAME)) == NEEDED
    assert not hub.asked("model.safetensors", "GET")  # its content was there

    hub.add("owner/other", NEEDED)
    folder = Path(huggingface_hub.snapshot_download("owner/other"))
    hub.requests.clear()
    assert find_folder("owner/other") == folder and not hub.asked()
    (folder / "model.safetensors").resolve().write_bytes(WEIGHTS[:-1])
    assert contents(find_folder("owner/other")) == NEEDED


def test_nothing_is_asked_twice(hub, tmp_path, run):
    for arguments in (["download", NAME], ["download", NAME, "--to", tmp_path / "w"]):
        status, out, err = run(*arguments, "--json")
        assert (status, err) == (0, "")
        first = json.loads(out)
        hub.requests.clear()
        again = json.loads(run(*arguments, "--json")[1])
        assert again == first | {"fetched": []} and not hub.asked()
        assert "all there" in run(*arguments)[1]
    assert first["commit"] == hub.revisions[NAME]["main"] and first["folder"] == str(tmp_path / "w")
    find_folder(f"{NAME}@{first['commit']}")
    assert not hub.asked()


def test_a_folder_comes_from_the_cache_without_network(hub, tmp_path, monkeypatch):
    commit = find_folder(NAME).name
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for revision in ("main", commit):
        for _ in range(2):
            done = download(HubModel(NAME, revision), tmp_path / revision)
            assert contents(done.folder) == NEEDED and not done.fetched
            assert (done.record["revision"], done.record["commit"]) == (revision, commit)


def test_a_revision_stays_where_it_was_pinned(hub, tmp_path):
    old = hub.revisions[NAME]["main"]
    download(TINY, tmp_path / "old")
    find_folder(NAME)
    new = hub.add(NAME, PLAIN | {"vocab.txt": b"[UNK]\n"})
    hub.add(NAME, PLAIN | {"vocab.txt": b"pull\n"}, "refs/pr/1")
    hub.requests.clear()
    download(TINY, tmp_path / "old")
    assert find_folder(NAME).name == old and not hub.asked()
    assert find_folder(f"{NAME}@{new}").name == new
    assert (find_folder(f"{NAME}@refs/pr/1") / "vocab.txt").read_bytes() == b"pull\n"
    assert find_folder(NAME).name == old
    refused(f"holds owner/tiny at main .{old}.; give another", HubModel(NAME, new), tmp_path / "old")


def test_weights_in_several_files_and_adapters(hub, tmp_path):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-[2].safetensors"}}
    files = {
        "config.json": CONFIG,
        "vocab.txt": b"",
        "model.safetensors.index.json": json.dumps(index).encode(),
    }
    files |= {"model-1.safetensors": b"one", "model-[2].safetensors": b"2"}
    hub.add("shards", files | {"model-3.safetensors": b"not named"})
    assert contents(download(HubModel("shards"), tmp_path / "shards").folder) == files

    config = json.dumps(json.loads(CONFIG) | {"minbert_adapters": ["attention_head_layers"]}).encode()
    files = {"config.json": config, "vocab.txt": b"", "model.safetensors": b"of the base"}
    files |= {"adapter/attention_adapters.json": b"{}", "adapter/attention_head_layers.safetensors": b"ours"}
    hub.add("adapters", files | {"adapter/notes.bin": b"not needed"})
    assert contents(download(HubModel("adapters"), tmp_path / "adapters").folder) == files


def test_models_are_used_by_name(hub, tiny_folder, texts):
    name = "name.with_dots-1"
    hub.add(name, contents(tiny_folder))
    expected = SentenceEncoder.from_pretrained(tiny_folder).encode(texts)
    assert np.array_equal(SentenceEncoder.from_pretrained(name).encode(texts), expected)
    hub.requests.clear()
    assert np.array_equal(SentenceEncoder.from_pretrained(f"{name}@main").encode(texts), expected)
    assert not hub.asked()


# --- content that broke off, is wrong or was damaged --------------------------------------------------------

FLIPPED = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]


def test_a_broken_connection_is_taken_up_where_it_broke(hub, to):
    hub.cuts["model.safetensors"] = [100_000]
    assert contents(download(TINY, to).folder) == NEEDED
    ranges = [request.headers.get("range") for request in hub.asked("model.safetensors", "GET")]
    assert ranges == [None, "bytes=100000-"]


def test_an_endless_break_ends_and_a_later_call_fetches_what_is_missing(hub, to):
    hub.cuts["model.safetensors"] = [0] * 50
    refused("could not be reached for owner/tiny, or broke off", TINY, to)
    assert to is None or list(to.parent.iterdir()) == []
    with pytest.raises(InputError, match="there is no folder owner/tiny or checkpoints/owner/tiny, nor did"):
        find_folder(NAME)
    hub.cuts.clear()
    done = download(TINY, to)
    assert contents(done.folder) == NEEDED and (to or done.fetched == ("model.safetensors",))


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("model.safetensors", FLIPPED),
        ("model.safetensors", WEIGHTS[:-1]),
        ("model.safetensors", WEIGHTS + b"!"),
        ("vocab.txt", b"[PAD]!"),
        ("config.json", CONFIG.replace(b"30", b"31")),
    ],
)
def test_content_that_does_not_fit_is_thrown_away(hub, to, name, lie):
    hub.lies[name] = lie
    refused("what arrived of .*owner/tiny does not fit the hub's", TINY, to)
    with pytest.raises(InputError, match="does not fit"):
        find_folder(NAME)
    hub.lies.clear()
    assert contents(download(TINY, to).folder) == NEEDED


@pytest.mark.parametrize("damage", ["missing", "shorter", "flipped"])
def test_only_what_is_damaged_is_fetched_again(hub, to, tmp_path, monkeypatch, damage):
    weights = download(TINY, to).folder / "model.safetensors"
    if damage == "missing":
        weights.resolve().unlink()
    else:
        weights.write_bytes(WEIGHTS[:-1] if damage == "shorter" else FLIPPED)
    if to is None and damage != "flipped":  # sizes are compared without network too
        with monkeypatch.context() as offline, pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
            offline.setattr(constants, "HF_HUB_OFFLINE", True)
            find_folder(NAME)
    done = download(TINY, to)
    assert contents(done.folder) == NEEDED and done.fetched == ("model.safetensors",)
    assert not list(tmp_path.glob(".w*"))


# --- processes ----------------------------------------------------------------------------------------------


@pytest.fixture
def start(hub, tmp_path):
    """Starts `minbert download owner/tiny --json` in an empty folder, with the server as its hub."""
    started = []

    def run(to, *arguments, **environment):
        known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        known |= {"HF_ENDPOINT": hub.url(), "HF_HOME": str(tmp_path / "home")} | environment
        known["PYTHONPATH"] = str(Path(__file__).parents[3])
        command = [sys.executable, "-m", "minbert", "download", NAME, *arguments]
        command += ["--to", str(to)] if to else []
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=known, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_killed_and_begun_again(hub, start, to, tmp_path):
    hub.stalls["model.safetensors"] = 200_000
    process = start(to, "--json")
    assert hub.stalled.wait(60)
    process.kill()
    process.wait()
    assert not (tmp_path / "w").exists() and not list(tmp_path.rglob("hub.json"))
    hub.stalls.clear()
    hub.released.set()
    process = start(to, "--json")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert contents(Path(json.loads(out)["folder"])) == NEEDED and not list(tmp_path.glob(".w*"))


@pytest.mark.slow
def test_two_at_once_fetch_once(hub, start, to):
    hub.stalls["model.safetensors"] = 200_000
    first = start(to, "--json")
    assert hub.stalled.wait(60)
    second = start(to, "--json")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(5)  # time to ask the server, if it did not wait for the first
    hub.released.set()
    done = [json.loads(process.communicate(timeout=60)[0]) for process in (first, second)]
    assert done[1] == done[0] | {"fetched": []} and set(done[0]["fetched"]) == set(NEEDED)
    assert len(hub.asked("model.safetensors", "GET")) == 1


def test_the_environment_is_respected_and_torch_is_not_loaded(hub, start, tmp_path):
    hub.gated.add(NAME)
    environment = {"HF_TOKEN": hub.token, "HF_HUB_CACHE": str(tmp_path / "elsewhere")}
    process = start(None, **environment)
    out, err = process.communicate(timeout=60)
    commit = hub.revisions[NAME]["main"]
    folder = tmp_path / "elsewhere" / "models--owner--tiny" / "snapshots" / commit
    assert (process.returncode, err) == (0, "")
    assert out == f"{folder}: owner/tiny at main ({commit}), 6 files, 0.3 MB, 0.3 MB fetched\n"
    hub.requests.clear()
    process = start(None, HF_HUB_OFFLINE="1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, hub.requests) == (2, "", [])
    message = "HF_HUB_OFFLINE is set, so the hub was not asked for owner/tiny; unset it to download"
    assert err == f"error: {message}\n"
    process = start(None, PYTHONPROFILEIMPORTTIME="1", **environment)
    err = process.communicate(timeout=60)[1]
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert process.returncode == 0 and "huggingface_hub" in loaded and not {"torch", "numpy"} & loaded


# --- what is refused ----------------------------------------------------------------------------------------

LIST = f"{NAME}/revision/main"


@pytest.mark.parametrize(
    ("ending", "answer", "message"),
    [
        (LIST, (404, {"X-Error-Code": "RepoNotFound"}), "has no model owner/tiny, or a private one"),
        (LIST, (401, {"X-Error-Code": "RepoNotFound"}), "has no model owner/tiny, or a private one"),
        (LIST, (404, {"X-Error-Code": "RevisionNotFound"}), "has no revision 'main'"),
        (
            LIST,
            (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            "refused the token",
        ),
        (LIST, (500, {}), "answered 500 for /api/models/owner/tiny/revision/main; try again later"),
        (LIST, (429, {"Retry-After": "600"}), "answered 429 for"),
        ("/vocab.txt", (404, {"X-Error-Code": "EntryNotFound"}), "answered 404 for .*/vocab.txt"),
        ("/model.safetensors", (503, {}), "answered 503 for .*/model.safetensors"),
        ("/model.safetensors", (200, {}), "could not be reached .* is missing the 'X-Repo-Commit' header"),
    ],
)
def test_what_the_hub_refuses(hub, tmp_path, ending, answer, message):
    hub.answers[ending] = answer
    refused(message, TINY, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="there is no folder owner/tiny or .*" + message):
        find_folder(NAME)


def test_servers_that_are_not_a_hub(hub, tmp_path, monkeypatch):
    for found in ("abc", "../../../../evil", ""):
        hub.checksums["model.safetensors"] = found
        refused("gives no checksum for model.safetensors", TINY, tmp_path / "w")
    for page in ("<html>Please log in", "[]", "{}", '{"id": "x", "sha": "../..", "siblings": []}'):
        hub.answers[LIST] = 200, {"Content-Type": "text/html"}, page.encode()
        refused("does not answer as a hub does; check HF_ENDPOINT", TINY, tmp_path / "w")
    with HubServer() as closed:
        url = closed.url()
    monkeypatch.setattr(constants, "ENDPOINT", url)
    refused(f"{url} could not be reached for owner/tiny", TINY, tmp_path / "w")
    assert not hub.asked(method="HEAD") and list(tmp_path.iterdir()) == []


def test_gated(hub, tmp_path, monkeypatch):
    hub.gated.add(NAME)
    refused("owner/tiny is gated, and no token is set; accept its terms at", TINY, tmp_path / "w")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    refused("owner/tiny is gated, and the token that is set may not read it", TINY, tmp_path / "w")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert contents(download(TINY, tmp_path / "w").folder) == NEEDED


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_slow_hub(hub, tmp_path, monkeypatch, file):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.stalls[file] = 10
    refused("did not answer in time for owner/tiny; try again", TINY, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_without_huggingface_hub_or_offline(hub, tmp_path, monkeypatch):
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "huggingface_hub", None)
        refused("needs huggingface_hub 2.4 or later; pip install 'minbert\\[hub]'", TINY, tmp_path / "w")
        with pytest.raises(
            InputError, match="there is no folder nowhere or checkpoints/nowhere, nor did the"
        ):
            find_folder("nowhere")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set, so the hub was not asked for owner/tiny; unset it", TINY, tmp_path / "w")
    assert not hub.asked() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "a//b", "./evil", "a\\..\\evil", "C:evil", "", "x/", "a\nb"]
)
def test_names_that_lead_out_of_the_folder(hub, to, tmp_path, name):
    hub.listed_too.append(name)
    refused("which leads out of its folder; nothing was fetched", TINY, to)
    assert len(hub.asked()) == 1 and not list(tmp_path.rglob("*evil*"))


SHARDS = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.json": None}, "has no config.json"),
        (
            {"config.json": b'{"model_type": "mpnet"}'},
            "not a BERT that can be used: model_type is 'mpnet'",
        ),
        ({"config.json": b"[1]"}, "must hold one JSON object"),
        ({"config.json": b"{"}, "is not JSON"),
        ({"vocab.txt": None}, "has no tokenizer.json and no vocab.txt"),
        (
            {"model.safetensors": None},
            "has pytorch_model.bin and no safetensors in its place; a pickle can run",
        ),
        ({"model.safetensors": None, "pytorch_model.bin": None}, "has no model.safetensors"),
        ({"modules.json": b"{}x"}, "modules.json of owner/tiny is not a list of modules"),
        ({"modules.json": b"[1]"}, "modules.json of owner/tiny is not a list of modules"),
        ({"1_Pooling/pytorch_model.bin": b"pickle"}, "has 1_Pooling/pytorch_model.bin and no safetensors"),
        (
            {"model.safetensors": None, SHARDS: b'{"weight_map": {"a": "../../evil"}}'},
            "has no ../../evil, which model.safetensors.index.json must name",
        ),
        (
            {"model.safetensors": None, SHARDS: b'{"weight_map": 3}'},
            "weight_map is 3; it must be a dictionary",
        ),
    ],
)
def test_what_is_not_a_bert_is_refused_before_its_weights(hub, tmp_path, changes, message):
    files = NEEDED | UNNEEDED | changes
    hub.add(NAME, {name: data for name, data in files.items() if data is not None})
    refused(message, TINY, tmp_path / "w")
    assert list(tmp_path.iterdir()) == [] and not hub.asked("model.safetensors") and not hub.asked(".bin")


def test_modules_outside_are_not_fetched(hub, tmp_path):
    files = PLAIN | {"modules.json": b'[{"path": "../.."}, {"path": "/etc"}, {"path": ""}]'}
    hub.add(NAME, files)
    assert contents(download(TINY, tmp_path / "deep" / "w").folder) == files


def test_a_record_of_others_is_not_believed(hub, tmp_path):
    """A model may hold a hub.json of its own, which huggingface_hub would put to the same place."""
    secret = tmp_path / "cache" / "models--owner--tiny" / "secret"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(b"secret")
    files = {"../../secret": {"size": 6, "blob_id": checksum("secret", b"secret")}}
    theirs = {"name": NAME, "revision": "main", "commit": "0" * 40, "files": files}
    commit = hub.add(NAME, PLAIN | {"hub.json": json.dumps(theirs).encode()})
    for i, claim in enumerate(({}, {"commit": commit}, {"files": {}}, {"name": "x", "commit": commit})):
        folder = Path(huggingface_hub.snapshot_download(NAME))
        (folder / "hub.json").unlink()
        (folder / "hub.json").write_text(json.dumps(theirs | claim))
        (folder / "model.safetensors").unlink()
        assert contents(download(TINY, tmp_path / "deep" / f"{i}").folder) == PLAIN
    assert not (tmp_path / "secret").exists() and not (tmp_path / "deep" / "secret").exists()


def test_folders_that_are_not_ours(hub, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for place, message in (
        ("file", "is a file; give the name of a new folder"),
        ("full", "holds other files than a download's"),
        ("full/..", "cannot be the folder of a download"),
    ):
        refused(message, TINY, tmp_path / place)
    assert not hub.asked() and (tmp_path / "full" / "notes.txt").read_text() == "mine"
    download(TINY, tmp_path / "empty")
    refused("holds owner/tiny at main", HubModel("other"), tmp_path / "empty")
    (tmp_path / "empty" / "hub.json").write_text('{"files": 3}')
    refused("holds other files than a download's", TINY, tmp_path / "empty")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./here"], "'./here' cannot be a model of the hub; give a name such as"),
        (["a/b/c"], "cannot be a model"),
        ([f"{NAME}@v1", "--revision", "v2"], "names a revision, and so does --revision v2"),
        ([NAME, "--revision", "../x"], "cannot be a model"),
        ([NAME, "--revision", "nowhere"], "owner/tiny has no revision 'nowhere'"),
        ([NAME, "--to", ""], "cannot be the folder of a download"),
    ],
)
def test_the_command_refuses_wrong_names(hub, run, arguments, message):
    status, out, err = run("download", *arguments)
    assert (status, out) == (2, "") and err.startswith("error: ") and message in err
    assert err.count("\n") == 1


# --- names and paths ----------------------------------------------------------------------------------------

PATHS = ["/nowhere/x", "./tiny", "../tiny", "a/b/c", "here/tiny", "tiny/", "~/tiny"]
PATHS += ["ti--ny", "x.git", "a b", "a@b@c", Path("tiny")]


@pytest.mark.parametrize("source", PATHS)
def test_paths_are_not_looked_for_on_the_hub(hub, tmp_path, source):
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match="there is no folder .*; give one with config.json"):
        find_folder(source)
    assert not hub.asked()


def test_a_folder_comes_before_the_hub(hub, tmp_path):
    (tmp_path / "checkpoints" / "owner" / "tiny").mkdir(parents=True)
    assert find_folder(NAME) == Path("checkpoints/owner/tiny")
    (tmp_path / "owner" / "tiny").mkdir(parents=True)
    assert find_folder(NAME) == Path("owner/tiny")
    shutil.rmtree(tmp_path / "owner" / "tiny")
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(
        InputError, match="owner is there, so no model of the hub was looked for; `minbert down"
    ):
        find_folder(NAME)
    assert not hub.asked()
