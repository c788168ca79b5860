"""Damaged files of every kind are refused in one line, or read as their own library reads them.

Run: pytest tests/faults/test_fuzz.py
"""

from tests.faults.fuzz import fuzz

LENIENT = ("hub.json", "metrics.jsonl")  # of which the damaged part counts as missing


def test_3000_damaged_files():
    counts, findings = fuzz(3000, seed=2)
    assert findings == []
    assert sum(found.total() for found in counts.values()) == 3000
    assert all(found["refused"] for name, found in counts.items() if name not in LENIENT), counts
