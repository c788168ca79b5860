"""Diagnosis of data files: sizes, labels, lengths, duplicates, conflicts, overlaps between splits.

Two texts are compared in one of two ways. `spacing_key` (lower case, runs of whitespace as one space) finds
the same text; it is used inside a file. `word_key` (the text's ASCII letters and digits only, in lower case)
also overlooks punctuation and accents; it is used between splits, where a near copy spoils an evaluation
as well. Counted by words, 3 rows of the course's SST dev file and 18 of STS dev also stand in train, and
2,329 rows of the partial quora-train.csv share a question with quora-dev; by spacing 2, 16 and 2,320.
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import permutations

import numpy

from multitask.data.readers import Example, Examples, Reject

ROWS_AT_ONCE = 4096
_WORDS = re.compile("[a-z0-9]+")


@dataclass(frozen=True)
class Spread:
    """The distribution of float labels."""

    mean: float
    lowest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    highest: float


@dataclass(frozen=True)
class Lengths:
    """Token counts that half, 95 % and all of the rows stay within; `truncated` rows have more than fit."""

    median: int
    percentile_95: int
    highest: int
    truncated: int | None
    truncated_share: float | None


@dataclass(frozen=True)
class Finding:
    """The number of rows with a doubtful property, and the lines of the first of them."""

    count: int
    lines: tuple[int, ...]


@dataclass(frozen=True)
class FileReport:
    """One file. `duplicate_*` counts rows that repeat an earlier one, `swapped_pairs` pairs turned round.

    `conflicts` counts rows whose label differs from that of the first row with the same text (for pairs: in
    either order). `balance` maps class to rows; float labels have a `spread` instead.
    """

    task: str
    split: str
    path: str
    rows: int
    rejected: int
    rejects: tuple[str, ...]
    balance: dict[str, int] | None
    spread: Spread | None
    lengths: Lengths | None
    duplicate_texts: Finding
    swapped_pairs: Finding
    duplicate_ids: Finding
    conflicts: Finding


@dataclass(frozen=True)
class Overlap:
    """Rows of `split` that also stand in `other`, pairs in either order.

    `rows` compares words, `identical` spacing; `sharing` counts the rows of a pair task with at least one
    sentence in common, those in `rows` included, and is None where a row is one sentence.
    """

    task: str
    split: str
    other: str
    rows: int
    identical: int
    sharing: int | None


@dataclass(frozen=True)
class Report:
    """All files and all ordered pairs of splits of one task."""

    files: tuple[FileReport, ...]
    overlaps: tuple[Overlap, ...]

    def as_dict(self) -> dict:
        """Returns plain dictionaries, lists and numbers, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Returns the report as text, a file in a few lines, then the overlaps."""
        text, shared = [line for file in self.files for line in _file_lines(file)], []
        for task, split, other, rows, identical, sharing in map(astuple, self.overlaps):
            if rows:
                shared.append(
                    f"{task}: {split} rows that also stand in {other}: {rows} ({identical} to the letter, up "
                    f"to case and spacing)"
                )
            if sharing:
                shared.append(f"{task}: {split} rows that share a sentence with {other}: {sharing}")
        if self.overlaps and not shared:
            shared = ["no row stands in two splits of one task"]
        return text + shared


def diagnose(
    splits: Mapping[tuple[str, str], Examples],
    lengths: Callable[[Sequence[tuple[str, ...]]], Sequence[int]] | None = None,
    max_length: int | None = None,
    listed: int = 5,
) -> Report:
    """Reports on the files of (task, split).

    `lengths` gives the number of tokens of each of some rows, from their texts, before truncation;
    `max_length` is what the model takes. Files are read once, in pieces; no text is kept. At most `listed`
    rows are named for each finding.
    """
    read: dict[str, dict[str, _Read]] = defaultdict(dict)
    for (task, split), examples in splits.items():
        read[task][split] = _Read(examples, lengths, listed)
    files = tuple(_file_report(task, split, read[task][split], max_length) for task, split in splits)
    overlaps = tuple(overlap for task, parts in read.items() for overlap in _overlaps(task, parts))
    return Report(files, overlaps)


def spacing_key(text: str) -> str:
    """Returns the text in lower case with single spaces."""
    return " ".join(text.lower().split())


def word_key(text: str) -> str:
    """Returns the text's runs of a-z and 0-9 in lower case; its `spacing_key` if they are not most of it."""
    words = _WORDS.findall(text.lower())
    # Without this, "?" or a text in another script would equal every other one.
    if 2 * sum(map(len, words)) <= sum(character.isalnum() for character in text):
        return spacing_key(text)
    return " ".join(words)


def either_order(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the key of a row from those of its texts, the same for a pair and the pair turned round."""
    return tuple(sorted(keys)) if len(keys) == 2 else keys


class _Read:
    """Numbers that one pass over a split keeps, some of 8 bytes a row, and no text.

    Texts, ids and labels are compared by Python's hash of them.
    """

    def __init__(
        self,
        examples: Examples,
        count_tokens: Callable[[Sequence[tuple[str, ...]]], Sequence[int]] | None,
        listed: int,
    ):
        self.path = examples.path
        self.rejected = 0
        self.rejects: list[str] = []
        self.counted: Counter = Counter()
        self.several = False  # texts a row
        self._listed = listed
        self._columns: dict[str, array] = {name: array("q") for name in _COLUMNS}
        self._numbers = array("d")
        rows: list[tuple[str, ...]] = []
        for row in examples.in_file_order():
            if isinstance(row, Reject):
                self._reject(row)
                continue
            self._add(row)
            rows.append(row.texts)
            if len(rows) == ROWS_AT_ONCE:
                self._count(rows, count_tokens)
        self._count(rows, count_tokens)

    def _reject(self, row: Reject) -> None:
        self.rejected += 1
        if len(self.rejects) < self._listed:
            self.rejects.append(f"{row.file or self.path}:{row.line}: {row.reason}")

    def _add(self, row: Example) -> None:
        spaced, words = (tuple(map(key, row.texts)) for key in (spacing_key, word_key))
        columns = self._columns
        columns["line"].append(row.line)
        columns["id"].append(hash(row.id))
        columns["label"].append(hash(row.label))
        columns["same"].append(hash(spaced))
        columns["spacing"].append(hash(either_order(spaced)))
        columns["words"].append(hash(either_order(words)))
        columns["sentences"].extend(map(hash, words))
        self.several = self.several or len(words) > 1
        if row.label is not None:  # a tag for each word, or one label
            for label in row.label if isinstance(row.label, tuple) else (row.label,):
                if isinstance(label, float):
                    self._numbers.append(label)
                else:
                    self.counted[label] += 1

    def _count(self, rows: list[tuple[str, ...]], count_tokens) -> None:
        if count_tokens and rows:
            self._columns["tokens"].extend(count_tokens(rows))
        rows.clear()

    def __getitem__(self, name: str) -> numpy.ndarray:
        return numpy.frombuffer(self._columns[name], numpy.int64)

    def __len__(self) -> int:
        return len(self._columns["line"])

    @property
    def spread(self) -> Spread | None:
        """The distribution of float labels; None without one. Whole numbers beside them count as such."""
        if not self._numbers:
            return None
        whole = [float(label) for label in self.counted.elements()]
        labels = numpy.concatenate([numpy.frombuffer(self._numbers), whole])
        quartiles = numpy.percentile(labels, (0, 25, 50, 75, 100))
        return Spread(float(numpy.mean(labels)), *map(float, quartiles))

    def first(self, name: str) -> numpy.ndarray:
        """Returns for each row the number of the first one with the same value, (N,)."""
        _, first, places = numpy.unique(self[name], return_index=True, return_inverse=True)
        return first[places]

    def repeats(self, name: str) -> numpy.ndarray:
        """Returns True for the rows whose value stands in an earlier one, (N,)."""
        return self.first(name) != numpy.arange(len(self))

    def finding(self, found: numpy.ndarray) -> Finding:
        places = numpy.flatnonzero(found)
        return Finding(len(places), tuple(self["line"][places[: self._listed]].tolist()))


_COLUMNS = ("line", "id", "label", "same", "spacing", "words", "sentences", "tokens")


def _file_report(task: str, split: str, read: _Read, max_length: int | None) -> FileReport:
    repeated, spread, lengths, counts = read.repeats("same"), read.spread, None, read["tokens"]
    if len(counts):
        cut = None if max_length is None else int((counts > max_length).sum())
        summary = map(int, numpy.percentile(counts, (50, 95, 100), method="inverted_cdf"))
        lengths = Lengths(*summary, cut, None if cut is None else cut / len(read))
    balance = {str(label): count for label, count in sorted(read.counted.items())}
    return FileReport(
        task=task,
        split=split,
        path=read.path,
        rows=len(read),
        rejected=read.rejected,
        rejects=tuple(read.rejects),
        balance=balance if balance and spread is None else None,
        spread=spread,
        lengths=lengths,
        duplicate_texts=read.finding(repeated),
        swapped_pairs=read.finding(read.repeats("spacing") & ~repeated),
        duplicate_ids=read.finding(read.repeats("id")),
        conflicts=read.finding(read["label"] != read["label"][read.first("spacing")]),
    )


def _overlaps(task: str, parts: Mapping[str, _Read]) -> list[Overlap]:
    def overlap(split: str, other: str) -> Overlap:
        own, others = parts[split], parts[other]
        rows, identical = (int(numpy.isin(own[key], others[key]).sum()) for key in ("words", "spacing"))
        sharing = None
        if own.several:
            known = numpy.isin(own["sentences"], others["sentences"]).reshape(len(own), -1)
            sharing = int(known.any(axis=1).sum())
        return Overlap(task, split, other, rows, identical, sharing)

    return [overlap(split, other) for split, other in permutations(parts, 2)]


def _file_lines(file: FileReport) -> list[str]:
    lines = [f"{file.task} {file.split}: {file.rows} rows, {file.rejected} rejected ({file.path})"]
    lines += [f"  rejected: {reject}" for reject in file.rejects]
    if file.rejected > len(file.rejects):
        lines.append(f"  rejected: {file.rejected - len(file.rejects)} more")
    if file.balance:
        total = sum(file.balance.values())
        shown = [f"{label}: {count} ({count / total:.1%})" for label, count in file.balance.items()]
        more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
        lines.append(f"  labels: {', '.join(shown[:20])}{more}")
    elif file.spread:
        spread = file.spread
        lines.append(
            f"  labels: mean {spread.mean:.3f}, from {spread.lowest:g} to {spread.highest:g}, quartiles "
            f"{spread.lower_quartile:g}, {spread.median:g}, {spread.upper_quartile:g}"
        )
    else:
        lines.append("  labels: none")
    if file.lengths:
        tokens = file.lengths
        lines.append(
            f"  tokens: median {tokens.median}, 95 % up to {tokens.percentile_95}, longest {tokens.highest}"
        )
        if tokens.truncated is not None:
            lines.append(f"  truncated: {tokens.truncated} rows ({tokens.truncated_share:.1%})")
    for finding, what in (
        (file.duplicate_texts, "rows with the text of an earlier row"),
        (file.swapped_pairs, "rows with an earlier pair turned round"),
        (file.duplicate_ids, "rows with the id of an earlier row"),
        (file.conflicts, "rows with another label than the first row of the same text"),
    ):
        if finding.count:
            more = ", ..." if finding.count > len(finding.lines) else ""
            lines.append(f"  {what}: {finding.count} (lines {', '.join(map(str, finding.lines))}{more})")
    return lines
