"""Named entities, as in CoNLL-2003: persons, organisations, places, and others."""

from multitask.tasks.tokens import TokensTask


class NER(TokensTask):
    """Entities in the words of a sentence: F1 over whole entities, tags in IOB1 or IOB2."""

    demands_entities = True
