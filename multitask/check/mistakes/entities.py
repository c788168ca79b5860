"""Mistakes in the F1 of entities, from BIO tags of sentences."""

from collections import Counter

from multitask.check.mistakes.formula import Slip


class EntityF1:
    """Entities are tuples (sentence, type, first word, last word)."""

    def score(self, predicted, tags):
        ours, theirs = self.entities_of(predicted), self.entities_of(tags)
        return self.of_counts((ours & theirs).total(), ours.total(), theirs.total())

    def entities_of(self, sentences):
        return Counter(
            self.kept(number, *entity)
            for number, tags in enumerate(sentences)
            for entity in self.entities(tags)
        )

    def kept(self, number, type, first, last):
        return (number, type, first, last)

    def entities(self, tags):
        """(type, first, last) of one sentence."""
        found = []
        for place, tag in enumerate(tags):
            if tag == "O":
                continue
            before = tags[place - 1] if place else "O"
            if self.begins(tag, before):
                found.append((tag[2:], place, place))
            elif found and found[-1][2] == place - 1:
                found[-1] = (found[-1][0], found[-1][1], place)
        return found

    def begins(self, tag, before):
        return tag[0] == "B" or before == "O" or before[2:] != tag[2:]

    def of_counts(self, hits, predicted, true):
        return 2 * hits / (predicted + true)


class EachWord(Slip):
    title = "words instead of entities"
    cause = "Every word with a tag counts for itself, so that half an entity is half right."
    remedy = "Count an entity as found where its type, first and last word are all right."

    def entities(self, tags):
        return [(tag, place, place) for place, tag in enumerate(tags) if tag != "O"]


class EachWordsType(Slip):
    title = "types of words instead of entities"
    cause = "Every word with a type counts for itself, whether its tag is B- or I-."
    remedy = "Count an entity as found where its type, first and last word are all right."

    def entities(self, tags):
        return [(tag[2:], place, place) for place, tag in enumerate(tags) if tag != "O"]


class EndLost(Slip):
    title = "entity at a sentence's end lost"
    cause = "An entity is kept only when another tag follows, so that one which ends the sentence is dropped."
    remedy = "After the last tag, keep the entity that is still open."

    def entities(self, tags):
        return [entity for entity in super().entities(tags) if entity[2] < len(tags) - 1]


class OutsideCounted(Slip):
    title = "O counted"
    cause = "The words outside of entities count as well, which is the accuracy of the tags."
    remedy = "Count entities only, each once."

    def entities(self, tags):
        return [(tag, place, place) for place, tag in enumerate(tags)]


class OutsideAsEntities(Slip):
    title = "runs of O counted as entities"
    cause = "Runs of words outside of entities are compared as if O were a type."
    remedy = "Leave the tag O out."

    def entities(self, tags):
        named = ["B-" if tag == "O" and (not i or tags[i - 1] != "O") else tag for i, tag in enumerate(tags)]
        return super().entities(["I-" if tag == "O" else tag for tag in named])


class TypeIgnored(Slip):
    title = "entity types not compared"
    cause = "An entity counts as found where its words are right, whatever its type."
    remedy = "Compare the type too."

    def kept(self, number, type, first, last):
        return (number, first, last)


class TypesOnly(Slip):
    title = "spans not compared"
    cause = "Only the entities' types in each sentence are compared."
    remedy = "Compare the first and last word too."

    def kept(self, number, type, first, last):
        return (number, type)


class FirstWordOnly(Slip):
    title = "last words not compared"
    cause = "An entity counts as found where its type and first word are right."
    remedy = "Compare the last word too."

    def kept(self, number, type, first, last):
        return (number, type, first)


class BeginningsIgnored(Slip):
    title = "B- not heeded"
    cause = "Entities of one type that stand side by side are read as one."
    remedy = "Begin a new entity at every B-."

    def begins(self, tag, before):
        return before == "O" or before[2:] != tag[2:]


class SentencesMixed(Slip):
    title = "sentences not told apart"
    cause = "Entities of the same type and place in different sentences are taken for one, in one set."
    remedy = "Keep the number of the sentence with each entity, or count sentence by sentence."

    def entities_of(self, sentences):
        return Counter({entity: 1 for tags in sentences for entity in self.entities(tags)})


class MeanOfSentences(Slip):
    title = "mean over sentences"
    cause = "F1 is taken of each sentence, and then averaged."
    remedy = "Count the entities of all sentences, and take one F1."

    def score(self, predicted, tags):
        scores = [super(MeanOfSentences, self).score([a], [b]) for a, b in zip(predicted, tags, strict=True)]
        return sum(scores) / len(scores)


class MeanOfTypes(Slip):
    title = "mean over types"
    cause = "F1 is taken of each type, and then averaged (macro)."
    remedy = "Count the entities of all types together, and take one F1 (micro)."

    def score(self, predicted, tags):
        ours, theirs = self.entities_of(predicted), self.entities_of(tags)
        scores = []
        for type in sorted({entity[1] for entity in ours | theirs}):
            counts = [
                sum(count for entity, count in entities.items() if entity[1] == type)
                for entities in (ours & theirs, ours, theirs)
            ]
            scores.append(self.of_counts(*counts))
        return sum(scores) / len(scores)


class EntityPrecision(Slip):
    title = "precision instead of F1"
    cause = "The entities found are divided by the predicted ones only."
    remedy = "F1 = 2 P R / (P + R), with recall R too."

    def of_counts(self, hits, predicted, true):
        return hits / predicted


class EntityRecall(Slip):
    title = "recall instead of F1"
    cause = "The entities found are divided by the true ones only."
    remedy = "F1 = 2 P R / (P + R), with precision P too."

    def of_counts(self, hits, predicted, true):
        return hits / true


class SharesOfSentences(Slip):
    title = "share of sentences without a mistake"
    cause = "A sentence counts as right where all of its tags are."
    remedy = "Count entities, not sentences."

    def score(self, predicted, tags):
        return sum(list(a) == list(b) for a, b in zip(predicted, tags, strict=True)) / len(tags)


ENTITY_F1 = (
    EachWord,
    EachWordsType,
    EndLost,
    OutsideCounted,
    OutsideAsEntities,
    TypeIgnored,
    TypesOnly,
    FirstWordOnly,
    BeginningsIgnored,
    SentencesMixed,
    MeanOfSentences,
    MeanOfTypes,
    EntityPrecision,
    EntityRecall,
    SharesOfSentences,
)


class LoneInsideDropped(Slip):
    title = "I- without B- dropped"
    cause = "An I- that continues no entity of its type is left out."
    remedy = "Let it begin an entity, as CoNLL's scorer does."

    def entities(self, tags):
        kept = list(tags)
        for place, tag in enumerate(tags):
            before = kept[place - 1] if place else "O"
            if tag[0] == "I" and (before == "O" or before[2:] != tag[2:]):
                kept[place] = "O"
        return super().entities(kept)


class OtherTypeContinues(Slip):
    title = "I- of another type continues the entity"
    cause = "An I- is added to the entity before it without a look at its type."
    remedy = "Begin a new entity where the type changes."

    def begins(self, tag, before):
        return tag[0] == "B" or before == "O"


LOOSE_ENTITY_F1 = (LoneInsideDropped, OtherTypeContinues)
