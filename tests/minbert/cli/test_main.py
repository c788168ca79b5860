"""The command `minbert`: right output, and for wrong input one line, status 2, nothing half-written.

Run: pytest tests/minbert/cli/test_main.py
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minbert import SentenceEncoder, SentenceModules, write_modules


@pytest.fixture
def weights(tiny_folder, tmp_path):
    """A copy of the tiny weights that a test may damage."""
    return shutil.copytree(tiny_folder, tmp_path / "weights")


@pytest.fixture
def refused(run, tmp_path):
    """Runs a command that must fail as the user's mistake, and returns its message."""

    def run_refused(*arguments):
        before = sorted(tmp_path.rglob("*"))
        status, out, err = run(*arguments)
        assert (status, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run_refused


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("the cat reads\n\ncaf\u00e9 and a good book\r\nno end of line", encoding="utf-8")
    return path


# --- what it prints and writes ------------------------------------------------------------------------------


def test_encode_equals_the_api(run, tiny_folder, lines, tmp_path):
    texts = ["the cat reads", "", "caf\u00e9 and a good book", "no end of line"]
    for options, chosen in (
        ([], {}),
        (["--pooling", "cls", "--normalize", "l2"], dict(pooling="cls", normalize="l2")),
        (["--normalize=none"], dict(normalize=None)),
    ):
        output = tmp_path / "vectors.npy"
        assert run("encode", "--weights", tiny_folder, *options, lines, output)[0] == 0
        vectors = np.load(output, allow_pickle=False)
        expected = SentenceEncoder.from_pretrained(tiny_folder, **chosen).encode(texts)
        assert vectors.dtype == np.float32 and np.array_equal(vectors, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input.txt", "vectors.npy"]


def test_auto_says_which_precision_it_chose(run, tiny_folder):
    chosen = SentenceEncoder.from_pretrained(tiny_folder).resolve("auto")
    for words, said in (
        (["--compute", "auto"], f"compute auto: {chosen}\n"),
        (["--compute", "fp32"], ""),
        (["--precision", "fp32"], "note: --precision fp32 is --compute fp32 now\n"),
    ):
        code, out, err = run("similarity", "--weights", tiny_folder, *words, "cat", "dog")
        assert (code, err) == (0, said)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_vectors_in_smaller_numbers(run, tiny_folder, lines, tmp_path, precision):
    output = tmp_path / "vectors.npy"
    status = run("encode", "--weights", tiny_folder, "--precision", precision, lines, output)
    assert status == (0, "", "") and sorted(p.name for p in tmp_path.iterdir()) == [
        "input.txt",
        "vectors.npy",
    ]
    texts = ["the cat reads", "", "caf\u00e9 and a good book", "no end of line"]
    expected = SentenceEncoder.from_pretrained(tiny_folder).encode(texts, precision=precision)
    found = np.load(output, allow_pickle=False)
    assert found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.fixture
def prompted(weights):
    """Weights with prompts, compared by scalar products."""
    modules = SentenceModules.of(24)
    write_modules(weights, modules)
    prompts = {"prompts": {"query": "a cat ", "document": "the dog "}, "similarity_fn_name": "dot"}
    (weights / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return weights


def test_prompts_and_the_folders_similarity(run, refused, prompted, lines, tmp_path):
    encoder = SentenceEncoder.from_pretrained(prompted)
    for words, options in (([], {}), (["--prompt-name", "query"], {"prompt_name": "query"})):
        out = run("similarity", "--weights", prompted, *words, "good", "bad", "--json")[1]
        expected = encoder.similarity_pairwise(*encoder.encode(["good", "bad"], **options).reshape(2, 1, 24))
        assert json.loads(out)["dot"] == pytest.approx(float(expected), rel=1e-5)
    run("encode", "--weights", prompted, "--prompt", "a dog ", lines, tmp_path / "out.npy")
    expected = encoder.encode(["the cat reads"], prompt="a dog ")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy")[:1], expected, rtol=0, atol=1e-5)
    nearest = ("nearest", "--weights", prompted, lines, "--query", "reads")
    assert "similarity_fn_name of" in refused(*nearest)
    status, out, _ = run(*nearest, "--normalize", "l2", "--json", "--top", 4)
    cosines = (
        encoder.encode_query("reads", normalize_embeddings=True)
        @ encoder.encode_document(
            ["the cat reads", "", "caf\u00e9 and a good book", "no end of line"], normalize_embeddings=True
        ).T
    )
    found = {line["line"]: line["cosine"] for line in json.loads(out)["queries"][0]["nearest"]}
    np.testing.assert_allclose([found[i] for i in (1, 2, 3, 4)], cosines, rtol=0, atol=1e-5)


def test_very_long_line_is_cut(run, tiny_folder, tmp_path):
    (tmp_path / "long.txt").write_text("cat dog " * 50_000 + "\ncat\n")
    status, out, err = run("encode", "--weights", tiny_folder, tmp_path / "long.txt", tmp_path / "out.npy")
    assert (status, out, err) == (0, "", "")
    expected = SentenceEncoder.from_pretrained(tiny_folder).encode(["cat dog " * 40, "cat"])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=0, atol=1e-6)


def test_similarity(run, tiny_folder):
    status, out, err = run("similarity", "--weights", tiny_folder, "a cat", "a cat", "--json")
    assert (status, err) == (0, "") and json.loads(out)["cosine"] == pytest.approx(1.0)
    status, out, _ = run("similarity", "--weights", tiny_folder, "a cat", "the green river")
    a, b = SentenceEncoder.from_pretrained(tiny_folder, normalize="l2").encode(["a cat", "the green river"])
    assert float(out) == pytest.approx(float(a @ b), abs=1e-4)


def test_one_of_two_encoders_by_its_prefix(run, refused, tiny_folder, tmp_path):
    two, tensors = tmp_path / "two", load_file(tiny_folder / "model.safetensors")
    shutil.copytree(tiny_folder, two)
    parts = {f"first.{name}": tensor for name, tensor in tensors.items()}
    save_file(parts | {f"second.{name}": t * 2 for name, t in tensors.items()}, two / "model.safetensors")
    lines = tmp_path / "texts.txt"
    lines.write_text("the cat\na book\n")
    assert "2 encoders" in refused("encode", "--weights", two, lines, tmp_path / "a.npy")
    for weights, options, out in ((tiny_folder, (), "a"), (two, ("--weights-prefix", "first"), "b")):
        assert run("encode", "--weights", weights, *options, lines, tmp_path / f"{out}.npy")[0] == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    notes = json.loads(run("inspect", two, "--weights-prefix", "second.", "--json")[1])["notes"]
    assert notes[0] == "the encoder is what the weights have under 'second.'"
    assert run("export", two, tmp_path / "one", "--format", "hf", "--weights-prefix", "first")[0] == 0
    exported = load_file(tmp_path / "one" / "model.safetensors")
    assert all(torch.equal(exported[name], tensors[name]) for name in tensors)


def test_inspect(run, tiny_folder):
    status, out, err = run("inspect", tiny_folder, "--json")
    facts = json.loads(out)
    assert (status, err) == (0, "")
    assert facts["config"]["hidden_size"] == 24
    assert facts["sentence"] == {"modules": ["Pooling(24, mean)"], "max_length": None, "do_lower_case": False}
    tensors = load_file(tiny_folder / "model.safetensors")
    assert facts["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert len(facts["tensors"]) == len(tensors)
    assert facts["tensors"]["embeddings.position.weight"] == [64, 24]
    assert facts["missing"] == facts["renamed"] == facts["ignored"] == []
    status, out, _ = run("inspect", tiny_folder)
    assert status == 0 and "num_hidden_layers" in out and "64 x 24" in out


def test_name_under_checkpoints(run, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copied = shutil.copytree(tiny_folder, tmp_path / "checkpoints" / "tiny")
    write_modules(copied, SentenceModules.of(24, "cls", "l2"))
    facts = json.loads(run("inspect", "tiny", "--json")[1])
    assert facts["sentence"]["modules"] == ["Pooling(24, cls)", "Normalize(l2)"]
    (copied / "modules.json").write_text("[]")
    facts = json.loads(run("inspect", "tiny", "--json")[1])
    assert "modules.json is not a list of modules" in facts["sentence"]["refused"]


# --- wrong words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["encod"], ["no command 'encod'", "did you mean 'encode'", "similarity"]),
        (["it's"], ['no command "it\'s"']),
        ([], ["COMMAND", "minbert --help"]),
        (["--wat"], ["no option --wat"]),
        (["encode", "--weihgts", "W", "a", "b"], ["no option --weihgts", "did you mean '--weights'"]),
        (["encode", "--weihgts=W", "a", "b"], ["no option --weihgts;", "did you mean '--weights'"]),
        (["encode", "--weights", "W", "--normalise", "l2", "a", "b"], ["did you mean '--normalize'"]),
        (["encode", "--weights", "W", "--pool", "cls", "a", "b"], ["no option --pool;", "'--pooling'"]),
        (["encode", "--weights", "W", "--pooling", "meen", "a", "b"], ["--pooling", "'mean'"]),
        (["encode", "--weights", "W", "a"], ["OUTPUT", "minbert encode --help"]),
        (["encode", "--weights", "W", "a", "b", "c"], ["nothing to do with 'c'"]),
        (["encode", "--weights"], ["--weights"]),
        (["similarity", "--weights", "W", "--threads", "two", "a", "b"], ["--threads", "'two'"]),
        (["inspect"], ["WEIGHTS"]),
    ],
)
def test_wrong_words(refused, arguments, parts):
    message = refused(*arguments)
    assert all(part in message for part in parts), message


def test_text_that_begins_with_a_dash(run, tiny_folder):
    assert run("similarity", "--weights", tiny_folder, "--", "-a", "--b")[0] == 0


def test_wrong_values(refused, tiny_folder, lines, tmp_path):
    common = ("encode", "--weights", tiny_folder, lines, tmp_path / "out.npy")
    assert "--threads is 0" in refused(*common, "--threads", 0)
    assert "device 'cuda:77' cannot be used" in refused(*common, "--device", "cuda:77")
    assert "'toaster' does not exist; choose from auto, cpu, cuda, cuda:N, mps" in refused(
        *common, "--device", "toaster"
    )


# --- wrong files --------------------------------------------------------------------------------------------


def header_of(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def write_header(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def lie_about_offsets(path):
    header, data = header_of(path)
    header["pooler.dense.bias"]["data_offsets"] = [len(data), len(data) + 96]
    write_header(path, header, data)


def lie_about_shape(path):
    header, data = header_of(path)
    header["pooler.dense.bias"]["shape"] = [2400]
    write_header(path, header, data)


def overlap(path):
    header, data = header_of(path)
    header["pooler.dense.bias"]["data_offsets"] = header["encoder.layer.0.output.dense.bias"]["data_offsets"]
    write_header(path, header, data)


def huge_header(path):
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda path: path.unlink(), ["holds no model.safetensors"]),
        (lambda path: path.write_bytes(b""), ["model.safetensors is damaged", "fetch it again"]),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), ["model.safetensors is damaged"]),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), ["model.safetensors is damaged"]),
        (lie_about_offsets, ["model.safetensors is damaged"]),
        (lie_about_shape, ["model.safetensors is damaged"]),
        (overlap, ["model.safetensors is damaged"]),
        (huge_header, ["model.safetensors is damaged"]),
        (lambda path: path.with_name("config.json").unlink(), ["holds no config.json"]),
        (lambda path: path.with_name("config.json").write_text("{"), ["config.json is not JSON"]),
        (lambda path: change_config(path, hidden_size=48), ["(24,); config.json says (48,)"]),
        (
            lambda path: change_config(path, num_hidden_layers=5),
            ["missing encoder.layer.2.attention.self.query.weight", "and 40 more"],
        ),
        (lambda path: change_config(path, model_type="mpnet"), ["model_type is 'mpnet'"]),
        (lambda path: (path.unlink(), path.mkdir()), ["holds no model.safetensors"]),
    ],
)
def test_damaged_weights(refused, weights, lines, tmp_path, damage, parts):
    damage(weights / "model.safetensors")
    for command in (("encode", "--weights", weights, lines, tmp_path / "out.npy"), ("inspect", weights)):
        message = refused(*command)
        assert all(part in message for part in parts), message


def change_config(path, **changes):
    config = path.with_name("config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def test_nan_in_weights(refused, weights):
    tensors = load_file(weights / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"][3] = float("nan")
    save_file(tensors, weights / "model.safetensors")
    message = refused("similarity", "--weights", weights, "a", "b")
    assert "the weights have NaN or infinite numbers in embeddings.norm.bias; take other weights" in message


def test_missing_tokenizer(refused, weights, lines, tmp_path):
    for name in ("tokenizer.json", "vocab.txt"):
        (weights / name).unlink()
    message = refused("encode", "--weights", weights, lines, tmp_path / "out.npy")
    assert "no tokenizer.json and no vocab.txt" in message


def test_missing_pooler(refused, run, weights, lines, tmp_path):
    tensors = load_file(weights / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    save_file(kept, weights / "model.safetensors")
    common = ("encode", "--weights", weights, lines, tmp_path / "out.npy", "--pooling")
    assert "has no pooler" in refused(*common, "pooler")
    assert json.loads(run("inspect", weights, "--json")[1])["missing"] == [
        "pooler.dense.weight",
        "pooler.dense.bias",
    ]
    assert run(*common, "mean")[0] == 0


def test_files_and_folders_mixed_up(refused, tiny_folder, lines, tmp_path):
    (tmp_path / "folder").mkdir()
    out = tmp_path / "out.npy"
    assert "is a file; give the folder" in refused("inspect", lines)
    assert "is a file; give the folder" in refused("encode", "--weights", lines, lines, out)
    assert "there is no folder" in refused("inspect", tmp_path / "nowhere")
    common = ("encode", "--weights", tiny_folder)
    assert "folder has no text files; give one with files" in refused(*common, tmp_path / "folder", out)
    assert "there is no file" in refused(*common, tmp_path / "nothing.txt", out)
    (tmp_path / "folder.npy").mkdir()
    assert "is a folder or a device" in refused(*common, lines, tmp_path / "folder.npy")
    assert "a file is in the way" in refused(*common, lines, lines / "out.npy")


def test_wrong_text_files(refused, tiny_folder, tmp_path):
    out = tmp_path / "out.npy"
    text = tmp_path / "in.txt"
    text.write_bytes(b"")
    assert "in.txt is empty" in refused("encode", "--weights", tiny_folder, text, out)
    text.write_bytes(b"good\n" * 6000 + b"caf\xe9\n" + b"good\n")
    message = refused("encode", "--weights", tiny_folder, text, out)
    assert "in.txt:6001 is not UTF-8" in message
    text.write_bytes("cat\n".encode("utf-16"))
    assert "in.txt:1 is not UTF-8" in refused("encode", "--weights", tiny_folder, text, out)


def test_old_output_stays_after_an_error(refused, weights, lines, tmp_path):
    (tmp_path / "out.npy").write_bytes(b"old")
    (weights / "model.safetensors").write_bytes(b"")
    refused("encode", "--weights", weights, lines, tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_bytes() == b"old"


def test_input_that_can_be_read_only_once(refused, tiny_folder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    message = refused("encode", "--weights", tiny_folder, tmp_path / "pipe", tmp_path / "out.npy")
    assert "pipe is a pipe or a device" in message


# --- in a process of its own --------------------------------------------------------------------------------


def start(before, arguments):
    code = f"{before}\nfrom minbert.cli.main import main\nmain({[str(a) for a in arguments]!r})"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_no_space_left(tiny_folder, tmp_path):
    """A limit on the size of files makes the write fail as a full disk does."""
    (tmp_path / "in.txt").write_text("a cat\n" * 2000)
    (tmp_path / "out.npy").write_bytes(b"old")
    limit = (
        "import resource, sys; sys.dont_write_bytecode = True\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
    )
    arguments = ["encode", "--weights", tiny_folder, tmp_path / "in.txt", tmp_path / "out.npy"]
    process = start(limit, arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"error: ") and err.count(b"\n") == 1
    assert b"it is larger than its file system" in err and b"out.npy" in err
    assert (tmp_path / "out.npy").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.npy"]


def test_control_c(tiny_folder, tmp_path):
    (tmp_path / "in.txt").write_text("the cat reads a book and writes\n" * 100_000)
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    arguments = ["encode", "--weights", tiny_folder, tmp_path / "in.txt", tmp_path / "out.npy"]
    process = start(listen, arguments)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 128 for path in tmp_path.glob(".out.npy.*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"interrupted; give the same command again\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_reader_that_goes_away():
    """A command whose output goes to `head -1` ends without a traceback."""
    code = "from minbert import run_command; run_command(lambda arguments: print('x' * 200_000), [])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "minbert", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "encode" in done.stdout and "inspect" in done.stdout
