"""The command `minbert nearest`: the lines of a text that are nearest to queries."""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from minbert.cli.command_line import CommandParser
from minbert.cli.encoder_options import add_encoder_options, load_encoder
from minbert.errors import InputError
from minbert.files import atomic_write, read_json_object, read_lines


def add_nearest_options(parser: CommandParser) -> None:
    add_encoder_options(parser)
    parser.add_argument("corpus", metavar="CORPUS.txt", help="UTF-8 text, one sentence a line")
    parser.add_argument("--query", action="append", default=[], metavar="TEXT", help="may be given again")
    parser.add_argument("--queries", metavar="FILE", help="UTF-8 text, one query a line")
    top = {"type": int, "action": "at_least_one", "default": 10, "metavar": "K"}
    parser.add_argument("--top", **top, help="lines for each query; default 10")
    parser.add_argument(
        "--vectors", metavar="V.npy", help="keeps the corpus' vectors, and takes them the next time"
    )
    parser.add_json()


def nearest_command(options: argparse.Namespace) -> None:
    """Prints the nearest lines for each query with their cosines, best first, equal ones in file order."""
    from minbert.search import nearest

    queries = [*options.query, *(read_lines(options.queries) if options.queries else ())]
    if not queries:
        raise InputError("there is no query; give --query TEXT, or --queries FILE with one a line")
    count = sum(1 for _ in read_lines(options.corpus))
    if not count:
        raise InputError(f"{options.corpus} is empty; give a file with one sentence a line")
    encoder = load_encoder(options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.vectors or Path(folder) / "vectors.npy")
        vectors = corpus_vectors(encoder, options.corpus, count, path, options.precision)
        scores, rows = nearest(vectors, encoder.encode(queries, options.precision), options.top)
    texts = _lines_of(options.corpus, set(rows.flatten().tolist()))
    found = [
        {
            "query": query,
            "nearest": [
                {"line": row + 1, "cosine": score, "text": texts[row]}
                for score, row in zip(scores[i].tolist(), rows[i].tolist(), strict=True)
            ],
        }
        for i, query in enumerate(queries)
    ]
    if options.json:
        print(json.dumps({"corpus": options.corpus, "lines": count, "queries": found}))
        return
    for entry in found:
        print(entry["query"])
        for line in entry["nearest"]:
            print(f"  {line['cosine']:7.4f}  {options.corpus}:{line['line']}  {line['text']}")


def corpus_vectors(encoder, corpus: str, count: int, path: Path, precision: str):
    """The memory-mapped vectors (count, D) of a text, from `path` if it holds just these, else made anew.

    Beside `path` stands a JSON file with the hashes of what it was made of. Raises InputError for a `path`
    without one, which this did not write.
    """
    import numpy as np

    from minbert.search import write_vectors

    made_of = _made_of(encoder, corpus, precision)
    described = path.with_name(f"{path.name}.json")
    if path.is_file():
        if not described.is_file():
            raise InputError(
                f"{path} is there without {described.name}, which would say what it was made of; give "
                f"--vectors another name"
            )
        record = read_json_object(described)
        if record == made_of | {"vectors": _hash(path)}:
            return np.load(path, mmap_mode="r")
        print(f"{path} belongs to another text or encoder; it is made anew", file=sys.stderr)
    with atomic_write(path, "wb") as file:
        write_vectors(encoder, read_lines(corpus), count, file, precision)
        file.flush()
        with atomic_write(described) as description:  # a kill between the two leaves a hash that does not fit
            description.write(json.dumps(made_of | {"vectors": _hash(Path(file.name))}, indent=2) + "\n")
    return np.load(path, mmap_mode="r")


def _made_of(encoder, corpus: str, precision: str) -> dict[str, Any]:
    """All that decides on the vectors of a text, hashes for what is large."""
    from minbert.adapters.lora import base_hash

    tokenizer = hashlib.sha256(encoder.tokenizer.backend.to_str().encode("utf-8"))
    return {
        "text": _hash(Path(corpus)),
        "weights": base_hash(encoder.model),
        "projection": base_hash(encoder.projection) if encoder.projection else None,
        "tokenizer": tokenizer.hexdigest(),
        "pooling": encoder.pooling,
        "normalize": encoder.normalize,
        "max_length": encoder.max_length,
        "precision": encoder.resolve(precision),
    }


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines_of(corpus: str, wanted: set[int]) -> dict[int, str]:
    return {row: line for row, line in enumerate(read_lines(corpus)) if row in wanted}
