"""The command `minbert encode`: the vectors of a corpus, as one array or as a folder of parts."""

import argparse
import math
import os
from functools import partial
from pathlib import Path

from minbert.cli.command_line import CommandParser, say, says_how_to_go_on
from minbert.cli.encoder_options import add_encoder_options, load_encoder
from minbert.errors import InputError

ENCODER = ("weights", "weights_prefix", "pooling", "normalize", "compute", "device", "threads")
OUTPUTS = ("float32", "int8", "uint8", "binary", "ubinary")
FORMAT, PART_SIZE = "parquet", 50_000


def add_encode_options(parser: CommandParser) -> None:
    add_encoder_options(parser, precisions=OUTPUTS)
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="a .txt (one text a line), .jsonl, .csv or .parquet file, or a folder of them",
    )
    parser.add_argument(
        "output", metavar="OUTPUT", help="NAME.npy: array (texts, features); else a folder of parts"
    )
    parser.add_argument("--column", metavar="NAME", help='column or JSON key of the text; default "text"')
    parser.add_argument(
        "--format", choices=("parquet", "npy"), help=f"of the parts of a folder; default {FORMAT}"
    )
    count = {"type": int, "action": "at_least_one", "metavar": "N"}
    parser.add_argument("--part-size", **count, help=f"texts in a part; default {PART_SIZE:,}")
    parser.add_argument(
        "--workers", **count, help="processes, or CUDA devices, that share the parts; --threads is for each"
    )
    parser.add_argument(
        "--engine", choices=("processes", "ray"), default="processes", help="default processes"
    )
    parser.add_argument(
        "--ray-address", metavar="A", help="of a running Ray cluster; default: start one here"
    )


def encode_command(options: argparse.Namespace) -> None:
    """Writes the vectors; memory does not grow with the number of texts."""
    from minbert.corpus.texts import TextFiles

    if options.ray_address and options.engine != "ray":
        raise InputError("--ray-address is given without --engine ray; give both, or none of them")
    files, output = TextFiles(options.input, options.column), Path(options.output)
    if output.suffix == ".npy":
        for name, value in (
            ("--format", options.format),
            ("--part-size", options.part_size),
            ("--workers", options.workers),
            ("--engine ray", options.engine == "ray"),
        ):
            if value:
                raise InputError(f"{name} is for a folder of parts, and {output} is one array; give a folder")
        encode_array(options, files, output)
    elif options.precision not in (None, "float32"):
        raise InputError(
            f"--precision {options.precision} is for one array, and {output} is a folder of parts, which are "
            f"float32; give a name ending in .npy"
        )
    else:
        with says_how_to_go_on(lambda: f"the same command encodes what {output} lacks"):
            encode_parts(options, files, output)


def encode_array(options: argparse.Namespace, files, output: Path) -> None:
    """Writes one .npy file."""
    import numpy as np
    from tqdm import tqdm

    from minbert.corpus.parts import write_vectors
    from minbert.files import atomic_write, check_room
    from minbert.sentence import PRECISIONS

    count = sum(1 for _ in files.rows())
    if not count:
        raise InputError(f"{files.source} is empty; give a file with at least one text")
    if output.exists() and not output.is_file():
        raise InputError(f"{output} is a folder or a device; give the name of a .npy file")
    encoder, precision = load_encoder(options), options.precision or "float32"
    asked = {name: getattr(options, name) for name in ("prompt", "prompt_name", "compute")}
    texts = (text for _, text in files.rows())
    shape = count, encoder.columns(precision=precision)
    check_room(output, math.prod(shape) * np.dtype(PRECISIONS[precision]).itemsize)
    # disable=None shows the bar only on a terminal
    with atomic_write(output, "wb") as file, tqdm(total=count, unit=" texts", disable=None) as bar:
        if precision in ("int8", "uint8"):
            pieces = quantized_pieces(encoder.stream(texts, **asked), encoder.size, precision, output.parent)
        else:
            pieces = encoder.stream(texts, precision=precision, **asked)
        written = write_vectors(file, shape, pieces, bar.update, PRECISIONS[precision])
        if written != count:
            raise InputError(f"{files.source} had {count} texts, then {written}; give files that stay")


def quantized_pieces(pieces, features: int, precision: str, folder: Path):
    """Yields vectors in int8 or uint8; a temporary file holds them until the ranges of all are known."""
    import tempfile

    import numpy as np

    from minbert.sentence import CHUNK, quantize, value_ranges

    ranges = None
    with tempfile.TemporaryFile(dir=folder) as file:
        for vectors in pieces:
            ranges = value_ranges(vectors, ranges)
            file.write(vectors.tobytes())
        file.flush()
        stored = np.memmap(file, np.float32, "r").reshape(-1, features)
        for start in range(0, len(stored), CHUNK):
            yield quantize(stored[start : start + CHUNK], precision, ranges if len(stored) > 1 else None)


def encode_parts(options: argparse.Namespace, files, output: Path) -> None:
    """Writes the parts that are missing, in this process, in others, or on a Ray cluster."""
    from tqdm import tqdm

    from minbert.corpus.parts import PartFolder, describe_encoder

    if files.source.is_dir() and output.resolve().is_relative_to(files.source.resolve()):
        raise InputError(
            f"{output} lies within {files.source}, whose files are read; give a folder elsewhere"
        )
    on_ray = options.engine == "ray"
    alone = not on_ray and (options.workers or 1) == 1
    cards = None if on_ray or alone else _cards(options)
    if on_ray and options.compute not in ("fp32", "bf16"):
        raise InputError(
            f"--compute {options.compute} depends on the node that computes; give fp32 or bf16 with "
            f"--engine ray"
        )
    settings = argparse.Namespace(**{name: getattr(options, name) for name in ENCODER})
    if on_ray:
        settings.device = "cpu"  # the node that starts the work need not have a GPU
    encoder = load_encoder(settings)
    prompt = encoder.resolve_prompt(options.prompt, options.prompt_name)
    description = describe_encoder(encoder, options.compute) | {"prompt": prompt}
    folder = PartFolder.begin(
        *(output, files, description, encoder.size),
        *(options.format or FORMAT, options.part_size or PART_SIZE),
    )
    with folder.locked():
        missing = folder.missing()
        there = len(folder.starts) - len(missing)
        if there:
            say(f"{output}: {there} of {len(folder.starts)} parts are there already")
        to_do = sum(folder.rows_of(number) for number in missing)
        with tqdm(total=to_do, unit=" texts", disable=None) as bar:
            if alone:
                for number in missing:
                    folder.encode(number, encoder, bar.update)
                return
            del encoder
            _share(options, folder, description["compute"], cards, bar.update)


def _share(options: argparse.Namespace, folder, compute: str, cards: list[str] | None, done) -> None:
    """Has the missing parts encoded by several processes."""
    from dataclasses import replace

    from minbert.cli.ray_cluster import ray_cluster
    from minbert.corpus.cluster import encode_on_ray
    from minbert.corpus.workers import encode_by_processes
    from minbert.weights.hub import find_folder

    on_ray = options.engine == "ray"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = options.threads or (1 if on_ray and not options.workers else max(1, cores // options.workers))
    # Workers may have other working folders.
    folder = replace(folder, path=folder.path.resolve())
    settings = {name: getattr(options, name) for name in ENCODER}
    settings |= {
        "weights": str(find_folder(options.weights).resolve()),
        "threads": threads,
        "compute": compute,
    }
    load = partial(load_encoder, argparse.Namespace(**settings))
    if on_ray:
        on_cuda = options.device.startswith("cuda")
        # Ray warns of actors whose arguments it keeps, as Ray Data's are.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with ray_cluster(options.ray_address) as ray:
            encode_on_ray(ray, folder, load, options.workers, threads, on_cuda, done)
    else:
        encode_by_processes(folder, load, options.workers, threads, cards, done)


def _cards(options: argparse.Namespace) -> list[str] | None:
    """Returns a CUDA device for each worker, as CUDA_VISIBLE_DEVICES names it; None on other devices."""
    import torch

    if not options.device.startswith("cuda"):
        return None
    count = torch.cuda.device_count()
    if options.device != "cuda" or options.workers > count:
        raise InputError(
            f"--workers is {options.workers} and --device {options.device}; give --device cuda, and at most "
            f"as many workers as there are CUDA devices ({count})"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(count)]
