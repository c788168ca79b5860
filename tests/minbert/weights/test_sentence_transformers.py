"""modules.json as it is written: read back by us and by sentence-transformers, with the same vectors."""

import shutil

import numpy as np
import pytest

from minbert import InputError, SentenceEncoder, read_modules, write_modules


@pytest.fixture
def folder(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("normalize", [None, "l2"])
def test_what_is_written_is_read(folder, pooling, normalize):
    write_modules(folder, 24, pooling, normalize, max_length=16)
    found = read_modules(folder)
    assert found == {"pooling": pooling, "normalize": normalize, "projection": None, "max_length": 16}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("pooling", "normalize"), [("cls", None), ("mean", "l2"), ("max", None)])
def test_sentence_transformers_reads_the_same(folder, texts, pooling, normalize):
    from sentence_transformers import SentenceTransformer

    write_modules(folder, 24, pooling, normalize, max_length=32)
    texts = [text for text in texts if text]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(SentenceEncoder.from_pretrained(folder).encode(texts), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "normalize", "message"),
    [
        ("pooler", None, "pooling 'pooler' has no module; choose from cls, mean, max"),
        ("mean", "l1", "normalization 'l1' has no module; choose l2 or none"),
    ],
)
def test_what_has_no_module_is_refused_and_nothing_written(folder, pooling, normalize, message):
    with pytest.raises(InputError, match=message):
        write_modules(folder, 24, pooling, normalize)
    assert not (folder / "modules.json").exists()
