"""Reads a training file with its classes, and the same file with rows added in its own format."""

import csv
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from minbert import InputError, atomic_write
from multitask.config.task_config import TaskConfig
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example, Examples, read_table
from multitask.data.records import JsonTable, open_table, read_text
from multitask.experiments.augmentation.reply import is_treebank
from multitask.tasks.splits import load_split


class Request(NamedTuple):
    """A text that is wanted: of the class of `source`, the `variant`-th one made from it."""

    source: Example
    variant: int

    def attempt(self, number: int) -> str:
        """Returns a name that is unique to each attempt at each request for a table."""
        return f"{self.source.line}/{self.variant}/{number}"


class TrainingTable:
    """The training rows of a classification of single texts, and the texts of its other splits.

    Raises InputError for a task of another kind, and where a class has rows but the file no text column.
    """

    def __init__(self, name: str, config: TaskConfig, folder: Path):
        task = make_task(name, config)
        if task.target_kind != "classes" or config.text2 is not None:
            raise InputError(
                f"{name} is of type {config.type!r}; augment takes classifications of single texts, such as "
                f"sst, cfimdb, news or classification"
            )
        train, self.notes = load_split(task, folder, "train")
        if train is None or not train.rows or not train.labelled:
            raise InputError(
                f"{name} has no labelled training rows to start from: {task.file('train')} in {folder}; "
                f"check --data and {name}.train"
            )
        if config.text not in train.columns:
            raise InputError(
                f"{train.path} has no column {config.text!r} to write new texts to; give a file that has"
            )
        self.task = task
        self.path = Path(train.path)
        self.labels: tuple[str, ...] = task.labels
        self.rows = tuple(train.rows)
        self.columns = train.columns
        self.treebank = is_treebank(row.texts[0] for row in train.rows)
        self.others = self._texts_of_other_splits(folder)
        self.by_label: dict[str, list[Example]] = defaultdict(list)
        for row in train.rows:
            self.by_label[str(row.label)].append(row)

    @property
    def hash(self) -> str:
        """SHA-256 of the training file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def _texts_of_other_splits(self, folder: Path) -> list[str]:
        """Reads all texts of dev and test, rejected rows included, since a model may be scored on them."""
        texts = []
        for split in ("dev", "test"):
            if self.task.file(split) is None:
                continue
            examples, notes = load_split(self.task, folder, split)
            self.notes += notes
            if examples is not None:
                texts += [" ".join(row.texts) for row in examples.in_file_order() if row.texts]
        return texts

    def write(self, path: Path, made: Mapping[Request, str], mark: str) -> None:
        """Writes the training file as it is, then the new texts, with ids such as `SOURCE-MARK1`."""
        table = open_table(self.path, self.columns, delimiter=self.task.config.delimiter)
        is_json = isinstance(table, JsonTable)
        if is_json and table.document:
            raise InputError(f"{self.path} is a JSON array, and rows are appended; give JSON lines or CSV")
        content = read_text(self.path)
        end = "\r\n" if content.partition("\n")[0].endswith("\r") else "\n"
        if not content.endswith("\n"):
            content += end
        config = self.task.config
        read = read_table(
            self.path, texts=[config.text], label=config.label, parse_label=None, delimiter=config.delimiter
        )
        labels = {row.line: row.label for row in read.rows}  # as the file spells them
        if is_json:
            labels = {record.line: record.values.get(config.label) for record in table.objects()}
        ids = _fresh_ids(read, [request.source.id for request in made], mark)
        rows = [
            {"id": id, config.text: text, config.label: labels[request.source.line]}
            for id, (request, text) in zip(ids, made.items(), strict=True)
        ]
        with atomic_write(path) as file:
            file.write(content)
            if is_json:
                kept = [{name: row[name] for name in row if name in self.columns} for row in rows]
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
            else:
                self._write_rows(file, content, rows, table.delimiter, end)

    def _write_rows(self, file, content: str, rows: list[dict[str, str]], separator: str, end: str) -> None:
        """Appends rows as the csv module quotes them, with the file's own separator and line end.

        A first column without a name is an index, which goes on; texts begin with a space where all do.
        """
        table = csv.writer(file, delimiter=separator, lineterminator=end)
        text = self.task.config.text
        place = self.columns.index(text)
        old = [row for row in csv.reader(io.StringIO(content), delimiter=separator) if len(row) > place]
        space = " " if all(row[place].startswith(" ") for row in old[1:]) else ""
        for number, row in enumerate(rows, start=len(old) - 1):
            values = row | {text: space + row[text], "": str(number)}
            table.writerow([values.get(column, "") for column in self.columns])


def _fresh_ids(read: Examples, sources: Sequence[str], mark: str) -> list[str]:
    """Makes an id for each new row that no other row has, old or new."""
    taken = {row.id for row in read.in_file_order()}
    numbers: dict[str, int] = defaultdict(int)
    fresh = []
    for source in sources:
        id = source
        while id in taken:
            numbers[source] += 1
            id = f"{source}-{mark}{numbers[source]}"
        taken.add(id)
        fresh.append(id)
    return fresh


def check_out(path: Path, table: TrainingTable) -> None:
    """Raises InputError for an output that would replace data which no earlier `augment` has written."""
    if path.resolve() == table.path.resolve():
        raise InputError(f"{path} is the training file itself; write to another file")
    if path.suffix.lower() != table.path.suffix.lower():
        raise InputError(
            f"{path} has another ending than {table.path.name}, by which its format is known; "
            f"end its name in {table.path.suffix or 'no suffix'}"
        )
    if path.exists() and not summary_path(path).exists():
        raise InputError(
            f"{path} exists and was not written by augment; choose another name, or remove the file"
        )


def summary_path(out: Path) -> Path:
    """Returns the path of an output file's summary: FILE.json."""
    return out.with_name(f"{out.name}.json")
