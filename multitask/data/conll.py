"""Sentences as words with a tag each: CoNLL files, and JSON lines with two lists.

A CoNLL file has a word a line, its tag in the last column, and a blank line behind each sentence. Entity
tags in IOB1 (as CoNLL-2003 has them) and in IOB2 come back as IOB2; one rule reads both, see entities.py, so
that nothing has to be said or guessed about a file. Tags of another sort, such as parts of speech, stay as
they are. A sentence with a line that cannot be used is a reject as a whole.
"""

import io
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minbert import InputError, did_you_mean
from multitask.data.readers import Example, Examples, Reject
from multitask.data.records import Record, is_json_lines, json_rows, read_text
from multitask.metrics.entities import is_entity_tag, to_iob2

_BETWEEN = re.compile("[ \t]+")
_NO_WORD = re.compile("[ \t\r\n\0\ud800-\udfff]")


@dataclass
class _Sentence:
    """Words and tags as the file gives them; `problem` is (line, reason) where it cannot be used."""

    line: int
    id: str | None
    words: list[str] = field(default_factory=list)
    tags: list[str] | None = None
    problem: tuple[int, str] | None = None


def read_tagged(
    path: str | Path, *, words: str = "words", tags: str = "tags", entities: bool | None = None
) -> Examples:
    """Reads the sentences of a file, each with its words, their tags as its label, and its text.

    `.jsonl` and `.ndjson` are JSON lines whose columns `words` and `tags` are lists of equal length; all else
    is CoNLL, with the word in the first column and the tag in the last one. The text is the words joined by
    spaces. Where no line has a tag, labels are None. ids are those of a column `id`, else sentence numbers
    from 0. `entities=True` demands tags in IOB1 or IOB2, None finds out whether all of the file's are, False
    leaves them as they are. Raises InputError for a file or a column that cannot be read.
    """
    if is_json_lines(path):
        columns, sentences = _json_sentences(path, words, tags)
    else:
        columns, sentences = _conll_sentences(path, read_text(path))
    for sentence in sentences:
        sentence.problem = sentence.problem or _problem(sentence)
    if entities is None:
        usable = [tag for s in sentences if not s.problem for tag in s.tags or ()]
        entities = all(map(is_entity_tag, usable))
    rows, rejects = [], []
    for number, sentence in enumerate(sentences):
        problem = sentence.problem or (_wrong_tag(sentence) if entities else None)
        texts = (" ".join(sentence.words),) if sentence.words else ()
        row_id = str(number) if sentence.id is None else sentence.id
        if problem:
            rejects.append(Reject(row_id or None, texts, *problem, number))
            continue
        label = None if sentence.tags is None else tuple(sentence.tags)
        if label is not None and entities:
            label = to_iob2(label)
        rows.append(Example(row_id, texts, label, sentence.line, tuple(sentence.words)))
    labelled = any(sentence.tags is not None for sentence in sentences)
    return Examples(str(path), tuple(rows), tuple(rejects), columns, labelled)


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


def _json_sentences(path: str | Path, words: str, tags: str) -> tuple[tuple[str, ...], list[_Sentence]]:
    columns, records = json_rows(path)
    if words not in columns:
        raise InputError(
            f"{path}: no column {words!r}{did_you_mean(words, columns)}; the file has {', '.join(columns)}; "
            "name the column that holds the lists of words"
        )
    return columns, [_json_sentence(record, columns, words, tags) for record in records]


def _json_sentence(record: Record, columns: tuple[str, ...], words: str, tags: str) -> _Sentence:
    row_id = str(record.values.get("id") or "") if "id" in columns else None
    sentence = _Sentence(record.line, row_id)
    problem = record.problem
    if problem is None and row_id == "":
        problem = "the id is empty"
    for column, target in ((words, "words"), (tags, "tags")):
        if column not in columns:
            continue
        value = record.values.get(column)
        if _is_texts(value):
            setattr(sentence, target, value)
        problem = problem or (None if _is_texts(value) else f"{column!r} is not a list of strings")
    sentence.problem = (record.line, problem) if problem else None
    return sentence


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


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
            reason = f"word {number + 1} has the tag {tag!r}, and entities are tagged O, B-type or I-type"
            return sentence.line, reason
    return None


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
