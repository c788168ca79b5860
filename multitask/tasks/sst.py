"""Stanford Sentiment Treebank: a sentence -> one of five levels, 0 very negative to 4 very positive."""

from collections.abc import Sequence

from multitask.data.readers import Example, integer_label
from multitask.metrics.scores import off_by_one_accuracy
from multitask.tasks.generic import ClassificationTask


class SST(ClassificationTask):
    """Accuracy over five ordered levels, and the share that is at most one level off.

    The loss "ordinal" makes use of the order.
    """

    parse_label = staticmethod(integer_label(0, 4))
    prediction_values = "class"

    def named(self, places: Sequence[int]) -> list[int]:
        return list(places)

    def score(self, predictions: Sequence[int], examples: Sequence[Example]) -> dict[str, float]:
        labels = [example.label for example in examples]
        return super().score(predictions, examples) | {"off_by_one": off_by_one_accuracy(predictions, labels)}
