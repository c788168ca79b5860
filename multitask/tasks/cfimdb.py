"""CFIMDB: a film review -> positive (1) or negative (0). Reviews are long: half have over 200 tokens."""

from collections.abc import Sequence

from multitask.data.readers import integer_label
from multitask.losses.classification import cross_entropy, focal
from multitask.tasks.generic import ClassificationTask


class CFIMDB(ClassificationTask):
    """Accuracy over two classes."""

    losses = {"cross_entropy": cross_entropy, "focal": focal}  # two classes have no order to learn
    parse_label = staticmethod(integer_label(0, 1))
    prediction_values = "class"

    def named(self, places: Sequence[int]) -> list[int]:
        return list(places)
