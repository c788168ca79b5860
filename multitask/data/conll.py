"""Sentences as words with a tag each: CoNLL files, and JSON, Parquet or Arrow with two lists a row.

A CoNLL file has a word a line, its tag in the last column, and a blank line behind each sentence. Entity
tags in IOB1 (as CoNLL-2003 has them), IOB2 or another scheme come back as IOB2; one rule reads all, see
entities.py, so that nothing has to be said or guessed about a file. Where entities are demanded and no tag of
a file has a mark, each run of words with the same type is one. Tags of another sort, such as parts of speech,
stay as they are. A sentence with a line that cannot be used is a reject as a whole.
"""

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minbert import InputError, did_you_mean
from multitask.data.readers import Example, Examples, Reject
from multitask.data.records import Record, class_names, files_of, has_objects, open_objects, read_text
from multitask.metrics.entities import SCHEMES, is_entity_tag, to_iob2

_BETWEEN = re.compile("[ \t]+")
_MARKED = re.compile("[BIESLU]-.*|.*-[BIESLU]|O", re.IGNORECASE)
_NO_WORD = re.compile("[ \t\r\n\0\ud800-\udfff]")


@dataclass
class _Sentence:
    """Words and tags as the file gives them; `problem` is (line, reason) where it cannot be used."""

    line: int
    id: str | None
    file: str | None = None
    words: list[str] = field(default_factory=list)
    tags: list[str] | None = None
    problem: tuple[int, str] | None = None


def read_tagged(
    path: str | Path,
    *,
    words: str = "words",
    tags: str = "tags",
    entities: bool | None = None,
    names: Sequence[str] = (),
) -> Examples:
    """Reads the sentences of a file, each with its words, their tags as its label, and its text.

    JSON, Parquet and Arrow have lists of equal length in the columns `words` and `tags`, in one file or many;
    all else is CoNLL, with the word in the first column and the tag in the last one. Tags that are numbers
    are places in `names`, or in the names that the file itself has. The text is the words joined by spaces.
    Where no line has a tag, labels are None. ids are those of a column `id`, else sentence numbers from 0.
    `entities=True` demands entities, None finds out whether all of the file's tags mark some, False leaves
    tags as they are. Raises InputError for a file or a column that cannot be read.
    """
    if has_objects(files_of(path)[0]):
        columns, sentences = _object_sentences(path, words, tags, names)
    else:
        columns, sentences = _conll_sentences(path, read_text(path))
    for sentence in sentences:
        sentence.problem = sentence.problem or _problem(sentence)
    usable = {tag for s in sentences if not s.problem for tag in s.tags or ()}
    if entities is None:
        entities = all(map(is_entity_tag, usable))
    if entities and has_bare_types(usable):
        for sentence in sentences:
            sentence.tags = sentence.tags and [_marked(tag) for tag in sentence.tags]
    rows, rejects = [], []
    for number, sentence in enumerate(sentences):
        problem = sentence.problem or (_wrong_tag(sentence) if entities else None)
        texts = (" ".join(sentence.words),) if sentence.words else ()
        row_id = str(number) if sentence.id is None else sentence.id
        if problem:
            rejects.append(Reject(row_id or None, texts, *problem, number, sentence.file))
            continue
        label = None if sentence.tags is None else tuple(sentence.tags)
        if label is not None and entities:
            label = to_iob2(label)
        rows.append(Example(row_id, texts, label, sentence.line, tuple(sentence.words), sentence.file))
    labelled = any(sentence.tags is not None for sentence in sentences)
    return Examples(str(path), tuple(rows), tuple(rejects), columns, labelled)


def has_bare_types(tags: Iterable[str]) -> bool:
    """Returns True for O and types without a mark, of which none looks like one with a mark."""
    return "O" in tags and all(tag == "O" or not _MARKED.fullmatch(tag) for tag in tags)


def _marked(tag: str) -> str:
    return tag if tag == "O" else f"I-{tag}"


def _conll_sentences(path: str | Path, content: str) -> tuple[tuple[str, ...], list[_Sentence]]:
    lines = [
        (number, _BETWEEN.split(line.strip(" \t\r\n")))
        for number, line in enumerate(io.StringIO(content), start=1)
    ]
    counts = Counter(len(columns) for _, columns in lines if _is_word(columns))
    if not counts:
        raise InputError(f"{path}: has no sentence; give a file with a word and its tag a line")
    width = counts.most_common(1)[0][0]
    sentences: list[_Sentence] = []
    inside = False
    for number, columns in lines:
        if not _is_word(columns):
            inside = False
            continue
        if not inside:
            sentences.append(_Sentence(number, None, tags=None if width == 1 else []))
            inside = True
        sentence = sentences[-1]
        sentence.words.append(columns[0])
        if width > 1:
            sentence.tags.append(columns[-1])
        if len(columns) != width and not sentence.problem:
            reason = f"{_plural(len(columns), 'column')} where most lines of the file have {width}"
            sentence.problem = number, reason
        elif "\0" in "".join(columns) and not sentence.problem:
            sentence.problem = number, "the line holds a NUL character"
    return ("word",) if width == 1 else ("word", "tag"), sentences


def _is_word(columns: list[str]) -> bool:
    """Returns True for a line that is neither blank nor a mark between documents."""
    return columns[0] not in ("", "-DOCSTART-")


def _object_sentences(
    path: str | Path, words: str, tags: str, names: Sequence[str]
) -> tuple[tuple[str, ...], list[_Sentence]]:
    files, sentences = files_of(path), []
    names = class_names(files[0], tags) or names
    for file in files:
        table = open_objects(file, ("id", words, tags))
        columns = table.columns
        if words not in columns:
            raise InputError(
                f"{file}: no column {words!r}{did_you_mean(words, columns)}; the file has "
                f"{', '.join(columns)}; name the column that holds the lists of words"
            )
        for record in table.objects():
            sentence = _object_sentence(record, columns, words, tags)
            sentence.file = str(file) if len(files) > 1 else None
            _name_tags(sentence, tags, names)
            sentences.append(sentence)
    return columns, sentences


def _name_tags(sentence: _Sentence, column: str, names: Sequence[str]) -> None:
    """Puts names in the place of numbers."""
    if not any(isinstance(tag, int) for tag in sentence.tags or ()):
        return
    reason = None
    if not names:
        reason = f"{column!r} has numbers; give `labels`, the names of 0, 1, ... in this order"
    elif not all(0 <= tag < len(names) for tag in sentence.tags):
        reason = f"{column!r} has numbers outside 0 to {len(names) - 1}, the places in `labels`"
    if reason:
        sentence.problem = sentence.problem or (sentence.line, reason)
        sentence.tags = [str(tag) for tag in sentence.tags]
    else:
        sentence.tags = [names[tag] for tag in sentence.tags]


def _object_sentence(record: Record, columns: tuple[str, ...], words: str, tags: str) -> _Sentence:
    row_id = str(record.values.get("id") or "") if "id" in columns else None
    sentence = _Sentence(record.line, row_id)
    problem = record.problem
    if problem is None and row_id == "":
        problem = "the id is empty"
    for column, target in ((words, "words"), (tags, "tags")):
        if column not in columns:
            continue
        value = record.values.get(column)
        if _is_list(value, str) or (target == "tags" and _is_list(value, int)):
            setattr(sentence, target, value)
        else:
            problem = problem or f"{column!r} is not a list of strings"
    sentence.problem = (record.line, problem) if problem else None
    return sentence


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


def _problem(sentence: _Sentence) -> tuple[int, str] | None:
    """Returns the line and the reason if words and tags cannot be used."""
    words, tags = sentence.words, sentence.tags
    if not words:
        return sentence.line, "the line has no word"
    if tags is not None and len(words) != len(tags):
        return sentence.line, f"{_plural(len(words), 'word')} and {_plural(len(tags), 'tag')}"
    for what, values in (("word", words), ("tag", tags or ())):
        for number, value in enumerate(values, start=1):
            if not value or _NO_WORD.search(value):
                return (
                    sentence.line,
                    f"{what} {number} is empty, or has white space or a character that is not text",
                )
    return None


def _wrong_tag(sentence: _Sentence) -> tuple[int, str] | None:
    for number, tag in enumerate(sentence.tags or ()):
        if not is_entity_tag(tag):
            reason = f"word {number + 1} has the tag {tag!r}; the tags of entities are O, and {SCHEMES}"
            return sentence.line, reason
    return None


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
