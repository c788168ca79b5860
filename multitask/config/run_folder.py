"""Names in a run's folder, and rules for the keys of its JSON files. No torch here."""

from minbert import AMOUNT, NUMBER, TEXT, by_name, list_of, optional, or_null, whole

SAMPLE_FOLDER, MEMORY_FOLDER = "sample", "data"  # the bundled corpus, rows from Python
ENVIRONMENT = {"threads": optional(or_null(whole(1))), "data": by_name(TEXT)}
SCORES = {
    "scores": by_name(by_name(or_null(NUMBER))),
    "overall": optional(by_name(or_null(NUMBER))),
    "step": optional(whole(0)),
    "split": optional(TEXT),
    "seconds": optional(AMOUNT),
    "costs": optional(by_name(or_null(AMOUNT))),
    "notes": optional(list_of(TEXT)),
}
