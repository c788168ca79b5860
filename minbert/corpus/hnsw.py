"""Approximate nearest neighbours among the vectors of a folder of parts, by usearch's HNSW graph.

The graph holds the vectors in half precision: cosines are right to about 1e-3. Exact search reads all vectors
for each query; beyond some 10^7 of them that takes minutes.
"""

from pathlib import Path

import numpy as np

from minbert.corpus.parts import PartFolder
from minbert.errors import InputError
from minbert.files import atomic_write, read_json_object, write_json

INDEX_FILE = "index.usearch"
ROWS = 4096  # added at a time
# The library's defaults are 16, 128 and 64; these find 99 of 100 where those find 95.
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 128, 256


def open_index(folder: PartFolder, path: str | Path | None = None, threads: int | None = None):
    """Returns the usearch index of the folder's vectors, memory-mapped from its file; makes a missing file.

    `path` is by default INDEX_FILE within the folder. Beside it stands a JSON file with the folder's id.
    Raises InputError without usearch, and for a file that belongs to other vectors or is not an index.
    """
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise InputError('usearch is needed for --index; pip install "minbert[search]" installs it') from None
    path = Path(path or folder.path / INDEX_FILE)
    described = path.with_name(f"{path.name}.json")
    record = {"folder": folder.id, "rows": folder.rows, "features": folder.features}
    if not path.exists():
        index = Index(
            ndim=folder.features,
            metric="cos",
            dtype="f16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            enable_key_lookups=False,
        )
        for start, piece in folder.pieces():
            for first in range(0, len(piece), ROWS):
                vectors = np.ascontiguousarray(piece[first : first + ROWS])
                keys = np.arange(start + first, start + first + len(vectors), dtype=np.uint64)
                index.add(keys, vectors, threads=threads or 0)
        write_json(described, record)
        with atomic_write(path, "wb") as file:
            index.save(file.name)
    elif not described.is_file() or read_json_object(described) != record:
        raise InputError(
            f"{path} belongs to other vectors than those in {folder.path}; give another --index-file, "
            f"or delete it"
        )
    index = Index(ndim=folder.features, metric="cos", dtype="f16", expansion_search=EXPANSION_SEARCH)
    try:
        index.view(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} is damaged ({error}); delete it to have it made anew") from None
    return index


def approximate_nearest(index, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of large cosine -> scores (Q, K) float64, rows (Q, K) int64, best first, K = min(top, N).

    A row is -1 where the graph led to fewer.
    """
    scores = np.full((len(queries), min(top, len(index))), -np.inf)
    rows = np.full(scores.shape, -1, dtype=np.int64)
    for number, query in enumerate(queries):
        found = index.search(query, scores.shape[1])
        order = np.lexsort((found.keys, found.distances))
        scores[number, : len(found)] = 1 - found.distances[order].astype(np.float64)
        rows[number, : len(found)] = found.keys[order]
    return scores, rows
