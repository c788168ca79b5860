"""The command `minbert`: encode and search texts, fetch, export and inspect weights, check your own BERT."""

import argparse
import json
from collections.abc import Sequence
from typing import NoReturn

from minbert.cli.check import add_check_options, check_command
from minbert.cli.command_line import CommandParser, run_command
from minbert.cli.download import add_download_options, download_command
from minbert.cli.encode import add_encode_options, encode_command
from minbert.cli.encoder_options import add_encoder_options, add_weights_prefix, load_encoder
from minbert.cli.export import add_export_options, export_command
from minbert.cli.nearest import add_nearest_options, nearest_command
from minbert.errors import InputError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    run_command(run, arguments)


def run(arguments: Sequence[str]) -> int | None:
    options = build_parser().parse_args(arguments)
    return options.command(options)


def build_parser() -> CommandParser:
    parser = CommandParser(prog="minbert", description="A BERT written by hand, with pretrained weights.")
    parser.add_version()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    encode = commands.add_parser("encode", help="write a vector for each text of files")
    add_encode_options(encode)
    encode.set_defaults(command=encode_command, parser=encode)

    similarity = commands.add_parser("similarity", help="print the similarity of two texts")
    add_encoder_options(similarity)
    similarity.add_argument("texts", metavar="TEXT", nargs=2, help="two texts, each in quotes")
    similarity.add_json()
    similarity.set_defaults(command=print_similarity, parser=similarity)

    nearest = commands.add_parser(
        "nearest", help="print the texts of a file or an encoded folder that are nearest to a query"
    )
    add_nearest_options(nearest)
    nearest.set_defaults(command=nearest_command, parser=nearest)

    download = commands.add_parser("download", help="fetch a BERT from the Hugging Face hub, and check it")
    add_download_options(download)
    download.set_defaults(command=download_command, parser=download)

    export = commands.add_parser("export", help="write an encoder for other software")
    add_export_options(export)
    export.set_defaults(command=export_command, parser=export)

    check = commands.add_parser("check", help="compare a BERT, an optimizer, ... with reference outputs")
    add_check_options(check)
    check.set_defaults(command=check_command, parser=check)

    inspect = commands.add_parser("inspect", help="print the sizes and tensors of a folder of weights")
    inspect.add_argument("weights", metavar="WEIGHTS", help="a folder of weights, or a name on the hub")
    add_weights_prefix(inspect)
    inspect.add_json()
    inspect.set_defaults(command=print_inspection, parser=inspect)
    return parser


def print_similarity(options: argparse.Namespace) -> None:
    encoder = load_encoder(options)
    asked = {name: getattr(options, name) for name in ("prompt", "prompt_name", "compute")}
    vectors = encoder.encode(options.texts, **asked).astype("float64")
    value = float(encoder.similarity_pairwise(vectors[:1], vectors[1:]))
    print(json.dumps({encoder.similarity_fn_name: value}) if options.json else f"{value:.4f}")


def print_inspection(options: argparse.Namespace) -> None:
    from minbert.model import BertModel
    from minbert.pooling import SentenceModules
    from minbert.weights.hub import find_folder
    from minbert.weights.sentence_transformers import read_sentence_folder

    folder = find_folder(options.weights)
    try:
        found = read_sentence_folder(folder)
        sentence = {"max_length": found.max_length, "do_lower_case": found.lower_case, **found.settings}
        folder = found.transformer
    except InputError as error:
        found, sentence = None, {"refused": str(error)}
    model = BertModel.from_pretrained(folder, weights_prefix=options.weights_prefix)
    if found:
        modules = found.modules or SentenceModules.of(model.config.hidden_size)
        sentence = {"modules": modules.describe()} | sentence
    report = model.load_report
    sizes = {name: value for name, value in model.config.to_dict().items() if name not in model.config.extra}
    tensors = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    facts = {
        "config": sizes,
        "sentence": sentence,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tensors": tensors,
        "renamed": report.renamed,
        "ignored": report.ignored,
        "missing": report.missing,
        "notes": report.notes,
    }
    if options.json:
        print(json.dumps(facts))
        return
    for name, value in sizes.items():
        print(f"{name:32} {value}")
    for name in ("sentence", "parameters", "renamed", "ignored", "missing", "notes"):
        value = facts[name]
        print(f"{name:32} {f'{value:,}' if name == 'parameters' else value or 'none'}")
    for name, shape in tensors.items():
        print(f"  {name:52} {' x '.join(map(str, shape))}")
