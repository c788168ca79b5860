"""What is refused: by the hub, of the hub, and names that are paths; in one line, nothing left behind.

Run: pytest tests/minbert/test_hub_refusals.py
"""

import json
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from minbert import InputError, find_folder
from minbert.cli.main import main
from minbert.hub_download import download
from minbert.hub_requests import HubModel

SPEC = spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
hub_server = module_from_spec(SPEC)
SPEC.loader.exec_module(hub_server)

NAME, SMALL, POOLING = hub_server.NAME, hub_server.SMALL, hub_server.POOLING
TINY = HubModel(NAME)
contents = hub_server.contents
UNNEEDED = hub_server.UNNEEDED


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_server.asked_by_huggingface_hub(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture
def run(capsys):
    """Runs `minbert` in this process: (status, standard output, standard error)."""

    def run_main(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return stop.value.code, *capsys.readouterr()

    return run_main


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as error:
        download(*arguments)
    assert "\n" not in str(error.value)


# --- by the hub and of the hub ------------------------------------------------------------------------------

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
        ("/model.safetensors", (200, {}), "gives no checksum for model.safetensors"),
    ],
)
def test_what_the_hub_refuses(hub, tmp_path, ending, answer, message):
    hub.answers[ending] = answer
    refused(message, TINY, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="there is no folder owner/tiny or .*" + message):
        find_folder(NAME)


def test_a_page_in_place_of_the_hub(hub, tmp_path):
    for page in ("<html>Please log in", "[]", "{}", '{"id": "x", "sha": "../..", "siblings": []}'):
        hub.pages[LIST] = page
        refused("does not answer as a hub does; check HF_ENDPOINT", TINY, tmp_path / "w")


def test_gated(hub, tmp_path, monkeypatch):
    hub.gated.add(NAME)
    refused("owner/tiny is gated, and no token is set; accept its terms at", TINY, tmp_path / "w")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    refused("owner/tiny is gated, and the token that is set may not read it", TINY, tmp_path / "w")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert contents(download(TINY, tmp_path / "w").folder) == SMALL | POOLING
    assert all("authorization" not in request.headers for request in hub.asked(server="cdn"))
    assert all(r.headers["authorization"] == f"Bearer {hub.token}" for r in hub.asked(server="hub")[-5:])


def test_a_slow_hub(hub, tmp_path):
    hub.stalls["config.json"] = 0
    refused(
        "did not answer in time for owner/tiny; try again, what has arrived is kept", TINY, tmp_path / "w"
    )
    del hub.stalls["config.json"]
    hub.stalls["model.safetensors"] = 100_000
    refused("did not answer in time for owner/tiny", TINY, tmp_path / "w")
    assert next(tmp_path.rglob("*.incomplete")).stat().st_size == 100_000
    assert not (tmp_path / "w").exists() and [
        r.headers.get("range") for r in hub.asked(method="GET", server="cdn")
    ] == [None, "bytes=100000-"]


def test_no_hub_at_all(hub, tmp_path, monkeypatch):
    with hub_server.HubServer() as closed:
        url = closed.url()
    monkeypatch.setattr(constants, "ENDPOINT", url)
    refused(f"{url} could not be reached for owner/tiny", TINY, tmp_path / "w")


def test_without_huggingface_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(
        "downloading needs huggingface_hub 2.4 or later; pip install 'minbert\\[hub]'", TINY, tmp_path / "w"
    )
    with pytest.raises(
        InputError, match="there is no folder nowhere or checkpoints/nowhere, nor did the hub"
    ):
        find_folder("nowhere")


def test_offline(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE is set, so the hub was not asked for owner/tiny; unset it", TINY, tmp_path / "w")
    with pytest.raises(InputError, match="nor did the hub give a model of that name: HF_HUB_OFFLINE is set"):
        find_folder(NAME)
    assert not hub.asked() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "a//b", "./evil", "a\\..\\evil", "C:evil", "", "x/", "a\nb"]
)
def test_names_that_lead_out_of_the_folder(hub, tmp_path, name):
    hub.listed_too.append(name)
    for to in (tmp_path / "deep" / "w", None):
        refused("which leads out of its folder; nothing was fetched", TINY, to)
    assert not hub.asked(method="HEAD") and not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.json": None}, "holds no config.json"),
        (
            {"config.json": b'{"model_type": "roberta"}'},
            "is no BERT that can be used: model_type is 'roberta'",
        ),
        ({"config.json": b"[1]"}, "must hold one JSON object"),
        ({"config.json": b"{"}, "is not JSON"),
        ({"vocab.txt": None}, "holds no tokenizer.json and no vocab.txt"),
        (
            {"model.safetensors": None},
            "has pytorch_model.bin and no safetensors in its place; a pickle can run",
        ),
        ({"model.safetensors": None, "pytorch_model.bin": None}, "holds no model.safetensors"),
        ({"modules.json": b"{}x"}, "modules.json of owner/tiny is no list of modules"),
        ({"modules.json": b"[1]"}, "modules.json of owner/tiny is no list of modules"),
        ({"1_Pooling/pytorch_model.bin": b"pickle"}, "has 1_Pooling/pytorch_model.bin and no safetensors"),
        (
            {
                "model.safetensors": None,
                "model.safetensors.index.json": b'{"weight_map": {"a": "../../evil"}}',
            },
            "holds no ../../evil, which model.safetensors.index.json must name",
        ),
        (
            {"model.safetensors": None, "model.safetensors.index.json": b'{"weight_map": 3}'},
            "holds no weight_map",
        ),
    ],
)
def test_what_is_no_bert_is_refused_before_its_weights(hub, tmp_path, changes, message):
    files = SMALL | POOLING | UNNEEDED | changes
    hub.add(NAME, {name: data for name, data in files.items() if data is not None})
    refused(message, TINY, tmp_path / "w")
    assert list(tmp_path.iterdir()) == [] and not hub.asked("model.safetensors") and not hub.asked(".bin")


def test_modules_outside_are_not_fetched(hub, tmp_path):
    hub.add(NAME, SMALL | {"modules.json": b'[{"path": "../.."}, {"path": "/etc"}, {"path": ""}]'})
    assert set(contents(download(TINY, tmp_path / "deep" / "w").folder)) == {*SMALL, "modules.json"}


def test_a_record_of_others_is_not_believed(hub, tmp_path, monkeypatch):
    """A model may hold a hub.json of its own, which huggingface_hub would put to the same place."""
    (tmp_path / "cache" / "models--owner--tiny").mkdir(parents=True)
    secret = tmp_path / "cache" / "models--owner--tiny" / "secret"
    secret.write_bytes(b"secret")
    files = {"../../secret": {"size": 6, "sha256": hub_server.sha256(b"secret")}}
    theirs = {"name": NAME, "revision": "main", "commit": "0" * 40, "files": files}
    hub.add(NAME, SMALL | {"hub.json": json.dumps(theirs).encode()})
    commit = hub.revisions[NAME]["main"]
    less = theirs | {"files": {}}
    for i, claim in enumerate(
        (theirs, theirs | {"commit": commit}, less, less | {"name": "x", "commit": commit})
    ):
        folder = Path(huggingface_hub.snapshot_download(NAME))
        (folder / "hub.json").unlink()
        (folder / "hub.json").write_text(json.dumps(claim))
        (folder / "model.safetensors").unlink()
        assert contents(download(TINY, tmp_path / "deep" / f"{i}").folder) == SMALL
    assert not (tmp_path / "secret").exists() and not (tmp_path / "deep" / "secret").exists()


def test_folders_that_are_not_ours(hub, tmp_path, run):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for place, message in (
        ("file", "is a file; give the name of a new folder"),
        ("full", "holds other files than a download's"),
        ("full/..", "is no place for a download"),
    ):
        refused(message, TINY, tmp_path / place)
    assert not hub.asked() and (tmp_path / "full" / "notes.txt").read_text() == "mine"
    download(TINY, tmp_path / "empty")
    hub.add("other", SMALL)
    refused("holds owner/tiny at main", HubModel("other"), tmp_path / "empty")
    (tmp_path / "empty" / "hub.json").write_text('{"files": 3}')
    refused("holds other files than a download's", TINY, tmp_path / "empty")


def test_the_command_refuses_wrong_names(hub, run):
    for arguments, message in (
        (["./here"], "'./here' can be no model of the hub; give a name such as"),
        (["a/b/c"], "can be no model"),
        ([f"{NAME}@v1", "--revision", "v2"], "names a revision, and so does --revision v2"),
        ([NAME, "--revision", "../x"], "can be no model"),
        ([NAME, "--revision", "nowhere"], "owner/tiny has no revision 'nowhere'"),
        ([NAME, "--to", ""], "is no place for a download"),
    ):
        status, out, err = run("download", *arguments)
        assert (status, out) == (2, "") and err.startswith("error: ") and message in err, err
        assert err.count("\n") == 1
    assert len(hub.asked()) == 1


# --- names and paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "/nowhere/x",
        "./tiny",
        "../tiny",
        "a/b/c",
        "here/tiny",
        "tiny/",
        "~/tiny",
        "ti--ny",
        "x.git",
        "a b",
        "a@b@c",
        "",
    ],
)
def test_paths_are_not_looked_for_on_the_hub(hub, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    if source:
        with pytest.raises(InputError, match="there is no folder"):
            find_folder(source)
    with pytest.raises(InputError, match="there is no folder .*; give one with config.json"):
        find_folder(Path("tiny"))
    assert not hub.asked()


def test_a_folder_comes_before_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
