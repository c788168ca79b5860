"""Mistakes in word pieces: how words are made of the vocabulary's pieces, unknown words, [CLS] and [SEP]."""

from minbert.check.mistakes.tokenizer import MARKS, PIECES, UNKNOWN, Tokenizing

LIMIT = "Make a word of more than 100 characters [UNK], as BERT does."


class WholeWords(Tokenizing):
    name = "no word pieces"
    cause = "Words that the vocabulary does not hold as a whole became [UNK]."
    remedy = PIECES

    def sizes(self, shortest, longest):
        return (longest,)


class ShortestFirst(Tokenizing):
    name = "shortest piece first"
    cause = "The shortest piece that fits was taken instead of the longest."
    remedy = PIECES

    def sizes(self, shortest, longest):
        return range(shortest, longest + 1)


class Unmarked(Tokenizing):
    name = "pieces without ##"
    cause = "Later pieces were looked up without ##."
    remedy = PIECES

    def next_piece(self, word, inside):
        return super().next_piece(word, False)


class AlwaysMarked(Tokenizing):
    name = "## before the first piece"
    cause = "The first piece of a word that is not whole in the vocabulary was looked up with ##."
    remedy = PIECES

    def next_piece(self, word, inside):
        return super().next_piece(word, inside or word not in self.vocabulary)


WORD_PIECES = (WholeWords, Unmarked, AlwaysMarked)


class PiecesOfUnknown(Tokenizing):
    name = "pieces of a partly unknown word kept"
    cause = "The pieces before an unknown part were kept, with [UNK] for the rest of the word."
    remedy = PIECES

    def partly_unknown(self, found, rest):
        return [*found, UNKNOWN]


class KnownPiecesOnly(Tokenizing):
    name = "unknown rest of a word left out"
    cause = "The pieces before an unknown part were kept, and the rest of the word was dropped."
    remedy = PIECES

    def partly_unknown(self, found, rest):
        return found


class UnknownDropped(Tokenizing):
    name = "unknown words left out"
    cause = "A word that cannot be made of pieces was dropped instead of becoming [UNK]."
    remedy = PIECES

    def partly_unknown(self, found, rest):
        return []


class UnknownByLetter(Tokenizing):
    name = "[UNK] for each unknown letter"
    cause = "An unknown letter became [UNK], and the rest of the word was looked up on."
    remedy = PIECES

    def partly_unknown(self, found, rest):
        pieces = [*found]
        while rest:
            piece = self.next_piece(rest, bool(pieces))
            pieces.append(piece or UNKNOWN)
            rest = rest[len(piece.removeprefix("##")) if piece else 1 :]
        return pieces


class PaddingForUnknown(Tokenizing):
    name = "[PAD] for unknown words"
    cause = "An unknown word became id 0, which is [PAD]."
    remedy = PIECES

    def partly_unknown(self, found, rest):
        return ["[PAD]"]


class UnmarkedToo(Tokenizing):
    name = "pieces without ## accepted"
    cause = "A later piece was looked up without ## where there is none with it."
    remedy = PIECES

    def next_piece(self, word, inside):
        return super().next_piece(word, inside) or super().next_piece(word, False)


UNKNOWN_WORDS = (
    PiecesOfUnknown,
    KnownPiecesOnly,
    UnknownDropped,
    UnknownByLetter,
    PaddingForUnknown,
    UnmarkedToo,
)


class AnyLength(Tokenizing):
    name = "no limit of 100 characters"
    cause = "Words of more than 100 characters were made of pieces."
    remedy = LIMIT

    def is_too_long(self, word):
        return False


class Shorter(Tokenizing):
    name = "limit of 99 characters"
    cause = "A word of 100 characters became [UNK]; the limit is for more than 100."
    remedy = LIMIT

    def is_too_long(self, word):
        return len(word) >= 100


class CutToLimit(Tokenizing):
    name = "long words cut"
    cause = "Words were cut to 100 characters."
    remedy = LIMIT

    def pieces(self, word):
        return super().pieces(word[:100])


class LongDropped(Tokenizing):
    name = "long words left out"
    cause = "Words of more than 100 characters were dropped."
    remedy = LIMIT

    def pieces(self, word):
        return [] if self.is_too_long(word) else super().pieces(word)


LONG_WORDS = (AnyLength, Shorter, CutToLimit, LongDropped)


# The marks around a text


class NoMarks(Tokenizing):
    name = "no [CLS] and no [SEP]"
    cause = "The ids are those of the text alone."
    remedy = MARKS

    def marked(self, tokens):
        return tokens


class NoCls(Tokenizing):
    name = "no [CLS]"
    cause = "[CLS] is missing at the beginning."
    remedy = MARKS

    def marked(self, tokens):
        return [*tokens, "[SEP]"]


class NoSep(Tokenizing):
    name = "no [SEP]"
    cause = "[SEP] is missing at the end."
    remedy = MARKS

    def marked(self, tokens):
        return ["[CLS]", *tokens]


class ExchangedMarks(Tokenizing):
    name = "[CLS] and [SEP] exchanged"
    cause = "[SEP] stands at the beginning and [CLS] at the end."
    remedy = MARKS

    def marked(self, tokens):
        return ["[SEP]", *tokens, "[CLS]"]


AROUND = (NoMarks, NoCls, NoSep, ExchangedMarks)
