"""Diagnosis of data files: sizes, labels, lengths, duplicates, conflicts, overlaps between splits.

Two texts are compared in one of two ways. `spacing_key` (lower case, runs of whitespace as one space) finds
the same text; it is used inside a file. `word_key` (the text's ASCII letters and digits only, in lower case)
also overlooks punctuation and accents; it is used between splits, where a near copy spoils an evaluation
as well. Counted by words, 3 rows of the course's SST dev file and 18 of STS dev also stand in train, and
2,329 rows of the partial quora-train.csv share a question with quora-dev; by spacing 2, 16 and 2,320.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import permutations

import numpy

from multitask.data.readers import Examples

Key = Callable[[str], str]
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

    `lengths` gives the number of tokens of each row, from its texts, before truncation; `max_length` is
    what the model takes. At most `listed` rows are named for each finding.
    """
    files = tuple(
        _file_report(task, split, examples, lengths, max_length, listed)
        for (task, split), examples in splits.items()
    )
    tasks: dict[str, dict[str, Examples]] = defaultdict(dict)
    for (task, split), examples in splits.items():
        tasks[task][split] = examples
    overlaps = tuple(overlap for task, parts in tasks.items() for overlap in _overlaps(task, parts))
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


def row_key(texts: tuple[str, ...], key: Key) -> Hashable:
    """Returns the key of a row; a pair and the same pair turned round have the same."""
    keys = tuple(map(key, texts))
    return tuple(sorted(keys)) if len(keys) == 2 else keys


def _file_report(
    task: str,
    split: str,
    examples: Examples,
    count_tokens: Callable[[Sequence[tuple[str, ...]]], Sequence[int]] | None,
    max_length: int | None,
    listed: int,
) -> FileReport:
    rows = examples.rows
    labels = [
        label
        for row in rows
        if row.label is not None
        for label in (row.label if isinstance(row.label, tuple) else (row.label,))  # a tag for each word
    ]
    numeric = any(isinstance(label, float) for label in labels)
    same_order = [tuple(map(spacing_key, row.texts)) for row in rows]
    any_order = [row_key(row.texts, spacing_key) for row in rows]
    first: dict[Hashable, object] = {}
    conflicts = [n for n, row in enumerate(rows) if row.label != first.setdefault(any_order[n], row.label)]

    def repeats(keys: Sequence[Hashable]) -> list[int]:
        first: dict[Hashable, int] = {}
        return [index for index, key in enumerate(keys) if first.setdefault(key, index) != index]

    def finding(indices: Sequence[int]) -> Finding:
        return Finding(len(indices), tuple(rows[index].line for index in indices[:listed]))

    spread = lengths = None
    if numeric:
        quartiles = numpy.percentile(labels, (0, 25, 50, 75, 100))
        spread = Spread(float(numpy.mean(labels)), *map(float, quartiles))
    if count_tokens and rows:
        counts = numpy.asarray(count_tokens([row.texts for row in rows]))
        cut = None if max_length is None else int((counts > max_length).sum())
        summary = map(int, numpy.percentile(counts, (50, 95, 100), method="inverted_cdf"))
        lengths = Lengths(*summary, cut, None if cut is None else cut / len(rows))
    repeated = repeats(same_order)
    return FileReport(
        task=task,
        split=split,
        path=examples.path,
        rows=len(rows),
        rejected=len(examples.rejects),
        rejects=tuple(f"{examples.path}:{r.line}: {r.reason}" for r in examples.rejects[:listed]),
        balance={str(k): n for k, n in sorted(Counter(labels).items())} if labels and not numeric else None,
        spread=spread,
        lengths=lengths,
        duplicate_texts=finding(repeated),
        swapped_pairs=finding(sorted(set(repeats(any_order)) - set(repeated))),
        duplicate_ids=finding(repeats([row.id for row in rows])),
        conflicts=finding(conflicts),
    )


def _overlaps(task: str, parts: Mapping[str, Examples]) -> list[Overlap]:
    words, spacing = (
        {split: [row_key(row.texts, key) for row in examples.rows] for split, examples in parts.items()}
        for key in (word_key, spacing_key)
    )

    def overlap(split: str, other: str) -> Overlap:
        rows, identical = (len([k for k in keys[split] if k in set_of[other]]) for keys, set_of in sets)
        sentences = {sentence for keys in words[other] for sentence in keys}
        several = any(len(row.texts) > 1 for row in parts[split].rows)
        sharing = sum(not sentences.isdisjoint(keys) for keys in words[split]) if several else None
        return Overlap(task, split, other, rows, identical, sharing)

    sets = [(keys, {split: set(rows) for split, rows in keys.items()}) for keys in (words, spacing)]
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
