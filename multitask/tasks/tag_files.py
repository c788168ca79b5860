"""Prediction files of tasks that tag words: a word, a space, its tag; a blank line between sentences.

That is what CoNLL's scorer and most tools for tagging read. Sentences have no ids: their order is the file's.
"""

from collections.abc import Sequence
from pathlib import Path

from minbert import InputError, atomic_write
from multitask.data.readers import read_text


def write_tags(path: str | Path, words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> None:
    """Writes the file whole or not at all; a sentence without words is left out.

    Raises InputError where words and tags of a sentence, or the numbers of sentences, differ.
    """
    if len(words) != len(tags):
        raise InputError(f"{len(words)} sentences and {len(tags)} lists of tags; give one list a sentence")
    blocks = []
    for number, (sentence, predicted) in enumerate(zip(words, tags, strict=True)):
        if len(sentence) != len(predicted):
            raise InputError(
                f"sentence {number} has {len(sentence)} words and {len(predicted)} tags; give a tag a word"
            )
        if sentence:
            blocks.append("".join(f"{word} {tag}\n" for word, tag in zip(sentence, predicted, strict=True)))
    with atomic_write(path) as file:
        file.write("\n".join(blocks))


def read_tags(path: str | Path) -> tuple[list[list[tuple[str, str]]], list[tuple[int, str]]]:
    """The sentences as (word, tag) pairs; (line, message) for each line that is neither a pair nor blank."""
    sentences: list[list[tuple[str, str]]] = [[]]
    problems = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        parts = line.strip(" \t\r").split(" ")
        if parts == [""]:
            sentences.append([])
        elif len(parts) == 2:
            sentences[-1].append((parts[0], parts[1]))
        else:
            problems.append((number, f"{line.strip()!r} is not a word, a space and a tag"))
    return [sentence for sentence in sentences if sentence], problems
