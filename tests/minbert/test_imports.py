"""Importing minbert and asking for help load nothing heavy; no part of it touches the network.

Run: pytest tests/minbert/test_imports.py
"""

import socket
import subprocess
import sys

import pytest

import minbert

HEAVY = ("torch", "numpy", "tokenizers", "safetensors", "transformers", "tqdm", "huggingface_hub", "faiss")


@pytest.mark.parametrize(
    "code",
    [
        "import minbert; minbert.BertConfig(); minbert.InputError",
        "import sys; sys.argv = ['minbert', '--help']; from minbert.cli.main import main; main()",
        "import sys; sys.argv = ['minbert', 'encode', '--help']; from minbert.cli.main import main; main()",
        "from minbert.cli.main import main; main(['download', '--help'])",
        "from minbert.cli.main import main; main(['nearest', '--help'])",
        "import sys; sys.argv = ['minbert', 'encod']; from minbert.cli.main import main; main()",
    ],
)
def test_nothing_heavy_is_loaded(code):
    report = f"import sys, atexit; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{report}; {code}"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "Traceback" not in done.stderr


TRAINS = """
import sys, minbert
model = minbert.BertModel.from_pretrained(sys.argv[1])
optimizer = minbert.AdamW(model.parameters())
model(minbert.Tokenizer.from_pretrained(sys.argv[1])(["a cat"])).packed.sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


def test_loading_and_training_load_no_compiler(tiny_folder):
    """torch imports it to fill a table on the meta device and in optimizers; nothing else takes as long."""
    done = subprocess.run([sys.executable, "-c", TRAINS, tiny_folder], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_every_public_name_is_there():
    for name in minbert.__all__:
        assert getattr(minbert, name) is not None
        assert name in dir(minbert)
    with pytest.raises(AttributeError, match="no attribute 'Bert'"):
        _ = minbert.Bert


def test_no_network(tiny_folder, texts, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    minbert.SentenceEncoder.from_pretrained(tiny_folder).encode(texts)
    with pytest.raises(minbert.InputError):
        minbert.BertModel.from_pretrained("no-such/model")
