"""Supervised SimCSE (Gao et al. 2021, section 4): natural language inference as contrastive data.

What a sentence entails is its positive, what contradicts it a hard negative.
"""

from multitask.tasks.contrastive import ContrastiveTask


class NLI(ContrastiveTask):
    """Triplets of premise, entailed sentence and contradiction, as in nli_for_simcse.csv.

    `text`, `text2` and `negatives` name the columns; there may be several of the last, or none.
    """
