"""The command `minbert`: encode texts, compare two, look into a folder of weights."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from minbert.command_line import CommandParser, run_command
from minbert.errors import InputError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    run_command(run, arguments)


def run(arguments: Sequence[str]) -> None:
    options = build_parser().parse_args(arguments)
    options.command(options)


def build_parser() -> CommandParser:
    parser = CommandParser(prog="minbert", description="A BERT written by hand, with pretrained weights.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    encode = commands.add_parser(
        "encode", help="write one vector for each line of a text file to a .npy file"
    )
    _add_encoder_options(encode)
    encode.add_argument("input", metavar="INPUT.txt", help="UTF-8 text, one sentence a line")
    encode.add_argument("output", metavar="OUTPUT.npy", help="float32 array (lines, features)")
    encode.set_defaults(command=encode_file, parser=encode)

    similarity = commands.add_parser("similarity", help="print the cosine similarity of two texts")
    _add_encoder_options(similarity)
    similarity.add_argument("texts", metavar="TEXT", nargs=2)
    similarity.add_argument("--json", action="store_true", help="print one JSON object")
    similarity.set_defaults(command=print_similarity, parser=similarity)

    inspect = commands.add_parser("inspect", help="print the sizes and tensors of a folder of weights")
    inspect.add_argument("weights", metavar="WEIGHTS", help="a folder with config.json and model.safetensors")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    inspect.set_defaults(command=print_inspection, parser=inspect)
    return parser


def _add_encoder_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", required=True, metavar="W", help="a folder with config.json and model.safetensors"
    )
    parser.add_argument(
        "--pooling", choices=("cls", "pooler", "mean", "max"), help="default: as the folder says"
    )
    parser.add_argument("--normalize", choices=("l1", "l2", "none"), help="default: as the folder says")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "auto"),
        default="fp32",
        help="auto: bf16 where the hardware has it; default fp32",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps; default cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")


def load_encoder(options: argparse.Namespace):
    """The SentenceEncoder that the options ask for, on their device."""
    import torch

    from minbert.sentence import FROM_FOLDER, SentenceEncoder

    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; give at least 1")
        torch.set_num_threads(options.threads)
    normalize = {None: FROM_FOLDER, "none": None}.get(options.normalize, options.normalize)
    encoder = SentenceEncoder.from_pretrained(options.weights, options.pooling, normalize)
    try:
        encoder.model.to(options.device)
        if encoder.projection is not None:
            encoder.projection.to(options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {options.device!r} cannot be used: {error}") from None
    return encoder


def _say_precision(encoder, options: argparse.Namespace) -> None:
    if options.precision == "auto":
        print(f"precision auto: {encoder.resolve('auto')}", file=sys.stderr)


def encode_file(options: argparse.Namespace) -> None:
    """Streams INPUT.txt into OUTPUT.npy: memory does not grow with the number of lines."""
    import numpy as np
    from tqdm import tqdm

    from minbert.files import atomic_write

    count = sum(1 for _ in read_lines(options.input))
    if not count:
        raise InputError(f"{options.input} is empty; give a file with one sentence a line")
    output = Path(options.output)
    if output.exists() and not output.is_file():
        raise InputError(f"{output} is a folder or a device; give the name of a .npy file")
    encoder = load_encoder(options)
    _say_precision(encoder, options)
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, encoder.size)}
    # disable=None shows the bar only on a terminal
    with atomic_write(output, "wb") as file, tqdm(total=count, unit=" texts", disable=None) as bar:
        np.lib.format.write_array_header_1_0(file, header)
        written = 0
        for vectors in encoder.stream(read_lines(options.input), options.precision):
            file.write(vectors.astype("<f4", copy=False).tobytes())
            written += len(vectors)
            bar.update(len(vectors))
        if written != count:
            raise InputError(f"{options.input} had {count} lines, then {written}; give a file that stays")


def read_lines(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends. Raises InputError that names a line in another code."""
    if not Path(path).exists():
        raise InputError(f"there is no file {path}; give a text file with one sentence a line")
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give a text file with one sentence a line")
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number} is not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from None


def print_similarity(options: argparse.Namespace) -> None:
    import numpy as np

    encoder = load_encoder(options)
    _say_precision(encoder, options)
    vectors = encoder.encode(options.texts, options.precision).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = float(vectors[0] @ vectors[1] / max(lengths.prod(), 1e-12))
    print(json.dumps({"cosine": cosine}) if options.json else f"{cosine:.4f}")


def print_inspection(options: argparse.Namespace) -> None:
    from minbert.hub import find_folder
    from minbert.model import BertModel
    from minbert.sentence_folder import read_modules

    folder = find_folder(options.weights)
    model = BertModel.from_pretrained(folder)
    report = model.load_report
    sizes = {name: value for name, value in model.config.to_dict().items() if name not in model.config.extra}
    tensors = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    modules = read_modules(folder)
    modules["projection"] = modules["projection"] and modules["projection"].linear.out_features
    facts = {
        "config": sizes,
        "sentence": modules,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tensors": tensors,
        "renamed": report.renamed,
        "ignored": report.ignored,
        "missing": report.missing,
    }
    if options.json:
        print(json.dumps(facts))
        return
    for name, value in sizes.items():
        print(f"{name:32} {value}")
    for name in ("sentence", "parameters", "renamed", "ignored", "missing"):
        value = facts[name]
        print(f"{name:32} {f'{value:,}' if name == 'parameters' else value or 'none'}")
    for name, shape in tensors.items():
        print(f"  {name:52} {' x '.join(map(str, shape))}")
