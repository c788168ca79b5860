"""The command `minbert nearest`: the texts of a file or a folder of parts that are nearest to queries."""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from minbert.cli.command_line import CommandParser, say
from minbert.cli.encoder_options import add_encoder_options, load_encoder
from minbert.errors import InputError
from minbert.files import atomic_write, read_json_object, read_lines


def add_nearest_options(parser: CommandParser) -> None:
    add_encoder_options(parser, prompts="the queries")
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="UTF-8 text, one sentence a line, or a folder that minbert encode has written",
    )
    parser.add_argument("--query", action="append", default=[], metavar="TEXT", help="may be given again")
    parser.add_argument("--queries", metavar="FILE", help="UTF-8 text, one query a line")
    top = {"type": int, "action": "at_least_one", "default": 10, "metavar": "K"}
    parser.add_argument("--top", **top, help="lines for each query; default 10")
    parser.add_argument(
        "--vectors", metavar="V.npy", help="keeps the corpus' vectors, and takes them the next time"
    )
    parser.add_argument(
        "--index", choices=("hnsw",), help="approximate search, of a folder; default: exact search"
    )
    parser.add_argument(
        "--index-file", metavar="FILE", help="where the index is kept; default index.usearch in the folder"
    )
    parser.add_json()


def nearest_command(options: argparse.Namespace) -> None:
    """Prints the nearest texts for each query with their cosines, best first, equal ones in file order."""
    queries = [*options.query, *(read_lines(options.queries) if options.queries else ())]
    if not queries:
        raise InputError("there is no query; give --query TEXT, or --queries FILE with one a line")
    if options.index_file and not options.index:
        raise InputError("--index-file is given without --index hnsw; give both, or none of them")
    search = search_parts if Path(options.corpus).is_dir() else search_text
    count, found = search(options, queries)
    if options.json:
        lines = [{"query": query, "nearest": near} for query, near in zip(queries, found, strict=True)]
        print(json.dumps({"corpus": options.corpus, "lines": count, "queries": lines}))
        return
    for query, near in zip(queries, found, strict=True):
        print(query)
        for line in near:
            if "text" in line:
                place = f"{line.get('file', options.corpus)}:{line['line']}"
                print(f"  {line['cosine']:7.4f}  {place}  {line['text']}")
            else:
                print(f"  {line['cosine']:7.4f}  id {line['id']}")


def search_text(options: argparse.Namespace, queries: list[str]) -> tuple[int, list[list[dict[str, Any]]]]:
    """Returns the number of lines of a text file, and what is nearest to each query."""
    from minbert.corpus.search import nearest

    if options.index:
        raise InputError(
            f"--index is for a folder of parts, and {options.corpus} is a file; write one with minbert encode"
        )
    count = sum(1 for _ in read_lines(options.corpus))
    if not count:
        raise InputError(f"{options.corpus} is empty; give a file with one sentence a line")
    encoder = load_cosine_encoder(options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.vectors or Path(folder) / "vectors.npy")
        vectors = corpus_vectors(encoder, options.corpus, count, path, options.compute)
        scores, rows = nearest(vectors, encode_queries(encoder, queries, options), options.top)
    texts = _lines_of(options.corpus, set(rows.flatten().tolist()))
    return count, [
        [
            {"line": row + 1, "cosine": score, "text": texts[row]}
            for score, row in zip(scores[i].tolist(), rows[i].tolist(), strict=True)
        ]
        for i in range(len(queries))
    ]


def search_parts(options: argparse.Namespace, queries: list[str]) -> tuple[int, list[list[dict[str, Any]]]]:
    """Returns the number of rows of a folder of parts, and what is nearest to each query."""
    from minbert.corpus.hnsw import approximate_nearest, open_index
    from minbert.corpus.parts import PartFolder, describe_encoder
    from minbert.corpus.search import nearest_in_parts

    if options.vectors:
        raise InputError(
            f"--vectors is for a text file, and the folder {options.corpus} has its vectors; leave it out"
        )
    folder, encoder = PartFolder.open(options.corpus), load_cosine_encoder(options)
    folder.check(describe_encoder(encoder, options.compute), "give the weights and options of minbert encode")
    vectors = encode_queries(encoder, queries, options)
    if options.index:
        index = open_index(folder, options.index_file, options.threads)
        scores, rows = approximate_nearest(index, vectors, options.top)
    else:
        scores, rows = nearest_in_parts(folder, vectors, options.top)
    wanted = {row for row in rows.flatten().tolist() if row >= 0}
    texts = folder.texts(wanted) if Path(folder.source).exists() else dict.fromkeys(wanted, {})
    return folder.rows, [
        [
            {"id": row, "cosine": score} | texts[row]
            for score, row in zip(scores[i].tolist(), rows[i].tolist(), strict=True)
            if row >= 0
        ]
        for i in range(len(queries))
    ]


def load_cosine_encoder(options: argparse.Namespace):
    """The encoder. Raises InputError for one whose vectors are not compared by cosine."""
    encoder = load_encoder(options)
    name, unit = encoder.similarity_fn_name, encoder.modules.normalization == "l2"
    if name != "cosine" and not (unit and name in ("dot", "euclidean")):
        raise InputError(
            f"similarity_fn_name of {options.weights} is {name!r}, and nearest searches by cosine, which has "
            f"the order of dot and euclidean for vectors of length 1; give --normalize l2, or another folder"
        )
    return encoder


def encode_queries(encoder, queries: list[str], options: argparse.Namespace):
    """The vectors of the queries, with their prompt."""
    asked = {name: getattr(options, name) for name in ("prompt", "prompt_name", "compute")}
    return encoder.encode_query(queries, **asked)


def corpus_vectors(encoder, corpus: str, count: int, path: Path, compute: str):
    """The memory-mapped vectors (count, D) of a text, from `path` if it holds just these, else made anew.

    They are made with the prompt for documents. Beside `path` stands a JSON file with the hashes of what it
    was made of. Raises InputError for a `path` without one, which this did not write.
    """
    import numpy as np
    from tqdm import tqdm

    from minbert.corpus.parts import describe_encoder, write_vectors
    from minbert.sentence import DOCUMENT

    prompt = encoder.resolve_prompt(names=DOCUMENT)
    made_of = {"text": _hash(Path(corpus)), "prompt": prompt} | describe_encoder(encoder, compute)
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
        say(f"{path} belongs to another text or encoder; it is made anew")
    with atomic_write(path, "wb") as file:
        with tqdm(total=count, unit=" texts", disable=None) as bar:
            pieces = encoder.stream(read_lines(corpus), prompt=prompt, compute=compute)
            if write_vectors(file, (count, encoder.size), pieces, bar.update) != count:
                raise InputError(f"{corpus} no longer has {count} lines; give a file that stays")
        file.flush()
        with atomic_write(described) as description:  # a kill between the two leaves a hash that does not fit
            description.write(json.dumps(made_of | {"vectors": _hash(Path(file.name))}, indent=2) + "\n")
    return np.load(path, mmap_mode="r")


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines_of(corpus: str, wanted: set[int]) -> dict[int, str]:
    return {row: line for row, line in enumerate(read_lines(corpus)) if row in wanted}
