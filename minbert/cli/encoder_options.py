"""The options that say which sentence encoder a command uses, and how it runs."""

import argparse
import sys

from minbert.cli.command_line import CommandParser
from minbert.errors import InputError


def add_encoder_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--weights", required=True, metavar="W", help="a folder of weights, or a name on the hub"
    )
    parser.add_argument(
        "--pooling", choices=("cls", "pooler", "mean", "max"), help="default: as the folder says"
    )
    parser.add_argument("--normalize", choices=("l1", "l2", "none"), help="default: as the folder says")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16", "auto"),
        default="fp32",
        help="fp16: on CUDA; auto: bf16 where the hardware has it, else fp16 on CUDA; default fp32",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps; default cpu")
    parser.add_threads()


def load_encoder(options: argparse.Namespace):
    """The SentenceEncoder that the options ask for, on their device; says which precision `auto` means."""
    import torch

    from minbert.sentence import FROM_FOLDER, SentenceEncoder

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    normalize = {None: FROM_FOLDER, "none": None}.get(options.normalize, options.normalize)
    encoder = SentenceEncoder.from_pretrained(options.weights, options.pooling, normalize)
    try:
        encoder.model.to(options.device)
        if encoder.projection is not None:
            encoder.projection.to(options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {options.device!r} cannot be used: {error}") from None
    if options.precision == "auto":
        print(f"precision auto: {encoder.resolve('auto')}", file=sys.stderr)
    return encoder
