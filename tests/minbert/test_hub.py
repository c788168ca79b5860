"""Downloads from a hub on the loopback: whole, continued where they broke off, and checked.

Run: pytest tests/minbert/test_hub.py
"""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from minbert import BertConfig, BertModel, InputError, SentenceEncoder, find_folder
from minbert.cli.main import main
from minbert.hub_download import download
from minbert.hub_requests import HubModel

SPEC = spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
hub_server = module_from_spec(SPEC)
SPEC.loader.exec_module(hub_server)

NAME, SMALL, POOLING = hub_server.NAME, hub_server.SMALL, hub_server.POOLING
TINY = HubModel(NAME)
contents = hub_server.contents
WEIGHTS, CONFIG, UNNEEDED = hub_server.WEIGHTS, hub_server.CONFIG, hub_server.UNNEEDED


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


# --- whole --------------------------------------------------------------------------------------------------


def test_a_folder_equals_the_source(hub, tmp_path):
    done = download(TINY, tmp_path / "w")
    assert contents(tmp_path / "w") == SMALL | POOLING
    assert (
        sorted(path.name for path in tmp_path.iterdir()) == ["cache", "w"]
        or not (tmp_path / "cache").exists()
    )
    assert not any(hub.asked(name) for name in UNNEEDED)
    record = json.loads((tmp_path / "w" / "hub.json").read_text())
    commit = hub.revisions[NAME]["main"]
    assert (record["name"], record["revision"], record["commit"]) == (NAME, "main", commit)
    assert record["files"].keys() == (SMALL | POOLING).keys() == set(done.fetched)
    for name, entry in record["files"].items():
        data = (SMALL | POOLING)[name]
        hashed = {"sha256": hub_server.sha256(data)} if name in ("model.safetensors",) else None
        assert entry == {"size": len(data), **(hashed or {"blob_id": hub_server.git_blob(data)})}
    assert done.record == record and done.folder == tmp_path / "w"
    assert all(f"/resolve/{commit}/" in request.path for request in hub.asked(server="hub")[1:])  # pinned


def test_the_cache_is_huggingface_hubs(hub, tmp_path, monkeypatch):
    folder = find_folder(NAME)
    commit = hub.revisions[NAME]["main"]
    home = tmp_path / "cache" / "models--owner--tiny"
    assert folder == home / "snapshots" / commit and contents(folder) == SMALL | POOLING
    assert {path.name for path in (home / "blobs").iterdir()} == {
        hub_server.sha256(data) if hub_server.is_large(name) else hub_server.git_blob(data)
        for name, data in (SMALL | POOLING).items()
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert huggingface_hub.snapshot_download(NAME, local_files_only=True) == str(folder)
    found = huggingface_hub.hf_hub_download(NAME, "model.safetensors", local_files_only=True)
    assert Path(found).read_bytes() == WEIGHTS
    scanned = huggingface_hub.scan_cache_dir(tmp_path / "cache")
    [repository] = scanned.repos
    assert not scanned.warnings and repository.refs["main"].commit_hash == commit


def test_what_huggingface_hub_fetched_is_taken(hub, tmp_path, monkeypatch):
    """Whole with its list of files, not from single files: a modules.json may be missing then."""
    huggingface_hub.hf_hub_download(NAME, "config.json")
    huggingface_hub.hf_hub_download(NAME, "model.safetensors")
    huggingface_hub.hf_hub_download(NAME, "vocab.txt")
    with monkeypatch.context() as offline, pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        find_folder(NAME)
    hub.requests.clear()
    assert contents(find_folder(NAME)) == SMALL | POOLING
    assert not hub.asked("model.safetensors", "GET")  # its content was there

    hub.add("owner/other", SMALL | POOLING)
    folder = Path(huggingface_hub.snapshot_download("owner/other"))
    hub.requests.clear()
    assert find_folder("owner/other") == folder and not hub.asked()
    for damage in (lambda path: path.resolve().write_bytes(WEIGHTS[:-1]), lambda path: path.unlink()):
        damage(folder / "model.safetensors")
        (folder / "hub.json").unlink(missing_ok=True)
        assert contents(find_folder("owner/other"))["model.safetensors"] == WEIGHTS
        assert hub.asked()


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
    find_folder(NAME)
    find_folder(f"{NAME}@{first['commit']}")
    assert not hub.asked()


def test_a_folder_comes_from_the_cache_without_network(hub, tmp_path, monkeypatch):
    find_folder(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    download(TINY, tmp_path / "w")
    assert contents(tmp_path / "w") == SMALL | POOLING
    assert json.loads((tmp_path / "w" / "hub.json").read_text())["commit"] == hub.revisions[NAME]["main"]
    assert not any(path.is_symlink() for path in (tmp_path / "w").rglob("*"))
    commit = hub.revisions[NAME]["main"]
    download(HubModel(NAME, commit), tmp_path / "pinned")
    download(HubModel(NAME, commit), tmp_path / "pinned")
    assert json.loads((tmp_path / "pinned" / "hub.json").read_text())["revision"] == commit


def test_a_revision_stays_where_it_was_pinned(hub, tmp_path):
    old = hub.revisions[NAME]["main"]
    download(TINY, tmp_path / "old")
    find_folder(NAME)
    new = hub.add(NAME, SMALL | {"vocab.txt": b"[UNK]\n"})
    hub.add(NAME, SMALL | {"vocab.txt": b"pull\n"}, "refs/pr/1")
    hub.requests.clear()
    download(TINY, tmp_path / "old")
    assert find_folder(NAME).name == old and not hub.asked()
    assert find_folder(f"{NAME}@{new}").name == new
    assert (find_folder(f"{NAME}@refs/pr/1") / "vocab.txt").read_bytes() == b"pull\n"
    assert find_folder(NAME).name == old
    refused(f"holds owner/tiny at main .{old}.; give another", HubModel(NAME, new), tmp_path / "old")


def test_weights_in_several_files(hub, tmp_path):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {name: data for name, data in SMALL.items() if name != "model.safetensors"}
    files |= {
        "model.safetensors.index.json": index,
        "model-1.safetensors": b"one",
        "model-2.safetensors": b"2",
    }
    hub.add("shards", files | {"model-3.safetensors": b"not named"})
    download(HubModel("shards"), tmp_path / "w")
    assert contents(tmp_path / "w") == files


def test_variants_of_ours_are_fetched(hub, tmp_path):
    config = BertConfig(vocab_size=30, hidden_size=8, num_attention_heads=2, attention_head_layers=1)
    config.save(tmp_path)
    files = SMALL | {"config.json": (tmp_path / "config.json").read_bytes(), "minbert.safetensors": b"ours"}
    hub.add(NAME, files)
    del files["model.safetensors"]
    assert contents(download(TINY, tmp_path / "w").folder) == files


@pytest.mark.parametrize("name", ["tiny", "owner/name.with_dots-1"])
def test_models_are_used_by_name(hub, tiny_folder, texts, name):
    hub.add(name, contents(tiny_folder))
    expected = SentenceEncoder.from_pretrained(tiny_folder).encode(texts)
    assert np.array_equal(SentenceEncoder.from_pretrained(name).encode(texts), expected)
    hub.requests.clear()
    BertModel.from_pretrained(f"{name}@main")
    assert not hub.asked()


@pytest.mark.slow
def test_minilm(hub, minilm, tmp_path, texts):
    hub.add("sentence-transformers/all-MiniLM-L6-v2", contents(minilm))
    hub.cuts["model.safetensors"] = [10_000_000, 40_000_000]
    folder = download(HubModel("sentence-transformers/all-MiniLM-L6-v2"), tmp_path / "w").folder
    source = contents(minilm)
    assert {name: source[name] for name in contents(folder)} == contents(folder)
    expected = SentenceEncoder.from_pretrained(minilm).encode(texts)
    assert np.array_equal(SentenceEncoder.from_pretrained(folder).encode(texts), expected)


# --- interrupted --------------------------------------------------------------------------------------------


def ranges(hub):
    """What each request for the weights' content asked for."""
    return [request.headers.get("range") for request in hub.asked("model.safetensors", "GET", "cdn")]


def test_a_broken_connection_is_taken_up_where_it_broke(hub, tmp_path):
    hub.cuts["model.safetensors"] = [100_000, 50_000]
    download(TINY, tmp_path / "w")
    assert contents(tmp_path / "w") == SMALL | POOLING
    assert ranges(hub) == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize("place", ["folder", "cache"])
def test_a_later_call_goes_on(hub, tmp_path, place):
    to = tmp_path / "w" if place == "folder" else None
    hub.cuts["model.safetensors"] = [100_000, 0]
    refused("could not be reached for owner/tiny, or broke off", TINY, to)
    assert not (tmp_path / "w").exists()
    hub.cuts["model.safetensors"] = [0]
    if to is None:
        with pytest.raises(
            InputError, match="there is no folder owner/tiny or checkpoints/owner/tiny, nor did"
        ):
            find_folder(NAME)
    hub.requests.clear()
    hub.cuts.clear()
    done = download(TINY, to)
    assert contents(done.folder) == SMALL | POOLING
    assert ranges(hub) == ["bytes=100000-"] and done.fetched == ("model.safetensors",)
    assert not list(tmp_path.rglob("*.incomplete")) and not (tmp_path / ".w.download").exists()


def test_a_server_that_cannot_begin_in_the_middle(hub, tmp_path):
    hub.cuts["model.safetensors"] = [100_000]
    hub.ranges = False
    download(TINY, tmp_path / "w")
    assert contents(tmp_path / "w") == SMALL | POOLING and ranges(hub) == [None, "bytes=100000-"]


def test_an_endless_break_ends(hub, tmp_path):
    hub.ranges = False
    hub.cuts["model.safetensors"] = [100_000] * 50
    refused("broke off", TINY, tmp_path / "w")
    assert len(ranges(hub)) == 2


def test_a_part_of_other_content_is_not_continued(hub, tmp_path):
    hub.cuts["model.safetensors"] = [100_000, 0]
    refused("broke off", TINY, tmp_path / "w")
    other = np.random.default_rng(1).bytes(200_000)
    hub.add(NAME, SMALL | {"model.safetensors": other})
    hub.requests.clear()
    download(TINY, tmp_path / "w")
    assert (tmp_path / "w" / "model.safetensors").read_bytes() == other and ranges(hub) == [None]


# --- wrong content ------------------------------------------------------------------------------------------

FLIPPED = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("model.safetensors", FLIPPED),
        ("model.safetensors", WEIGHTS[:-1]),
        ("model.safetensors", WEIGHTS + b"!"),
        ("model.safetensors", b""),
        ("vocab.txt", b"[PAD]!"),
        ("config.json", CONFIG.replace(b"30", b"31")),
    ],
)
@pytest.mark.parametrize("place", ["folder", "cache"])
def test_content_that_does_not_fit_is_thrown_away(hub, tmp_path, name, lie, place):
    to = tmp_path / "w" if place == "folder" else None
    hub.lies[name] = lie
    refused(f"what arrived of {name} of owner/tiny does not fit the hub's checksum", TINY, to)
    assert not (tmp_path / "w").exists() and not list(tmp_path.rglob("*.incomplete"))
    with pytest.raises(InputError, match="does not fit"):
        find_folder(NAME)
    hub.lies.clear()
    assert contents(download(TINY, to).folder) == SMALL | POOLING


def test_a_damaged_part_is_thrown_away(hub, tmp_path):
    hub.cuts["model.safetensors"] = [100_000, 0]
    refused("broke off", TINY, tmp_path / "w")
    [part] = tmp_path.rglob("*.incomplete")
    part.write_bytes(b"?" + part.read_bytes()[1:])
    hub.cuts.clear()
    refused("does not fit", TINY, tmp_path / "w")
    assert contents(download(TINY, tmp_path / "w").folder) == SMALL | POOLING


@pytest.mark.parametrize("place", ["folder", "cache"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "flipped"])
def test_only_what_is_damaged_is_fetched_again(hub, tmp_path, place, damage):
    to = tmp_path / "w" if place == "folder" else None
    weights = download(TINY, to).folder / "model.safetensors"
    if damage == "missing":
        weights.resolve().unlink()
    else:
        weights.write_bytes(WEIGHTS[:-1] if damage == "shorter" else FLIPPED)
    hub.requests.clear()
    done = download(TINY, to)
    assert contents(done.folder) == SMALL | POOLING and done.fetched == ("model.safetensors",)
    assert not list(tmp_path.glob(".w*"))


def test_a_cache_that_lost_a_file_is_not_taken(hub, monkeypatch):
    folder = find_folder(NAME)
    (folder / "1_Pooling" / "config.json").resolve().write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        find_folder(NAME)


def test_a_server_without_checksums_is_refused(hub, tmp_path):
    for etag in ("abc", "../../../../evil", ""):
        hub.etags["model.safetensors"] = etag
        refused("gives no checksum for model.safetensors", TINY, tmp_path / "w")
    assert not hub.asked("model.safetensors", "GET", "cdn") and list(tmp_path.iterdir()) == []
