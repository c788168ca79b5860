"""Mistakes in how BERT's uncased tokenizer makes words of a text, in the order of its steps."""

import re
import unicodedata

from minbert.check.mistakes.tokenizer import (
    ACCENTS,
    CONTROL,
    IDEOGRAPHS,
    PUNCTUATION,
    Tokenizing,
    category,
    is_ascii_mark,
)

# Capital letters


class Cased(Tokenizing):
    name = "capital letters kept"
    cause = "The text was not lower-cased."
    remedy = "Lower-case each word by str.lower()."

    def lower(self, part):
        return part


class CaseFolded(Tokenizing):
    name = "casefold instead of lower"
    cause = "str.casefold() turns ß into ss; BERT only lower-cases."
    remedy = "Lower-case each word by str.lower()."

    def lower(self, part):
        return part.casefold()


# Spaces and control characters


class OnlySpaces(Tokenizing):
    name = "tabs and line ends not taken as spaces"
    cause = "Words were split at the space character only."
    remedy = "Take tabs, line ends and all characters of category Zs as spaces; str.split() does."

    def is_space(self, character):
        return character == " "

    def is_removed(self, character):
        return character not in "\t\n\r" and super().is_removed(character)


class SpacesRemoved(Tokenizing):
    name = "tabs and line ends removed"
    cause = "Tabs and line ends were removed as control characters, which joins words."
    remedy = CONTROL

    def is_space(self, character):
        return category(character) == "Zs"


class OnlyAsciiSpaces(Tokenizing):
    name = "spaces outside ASCII not taken as spaces"
    cause = "The no-break space and other characters of category Zs did not end a word."
    remedy = "Take tabs, line ends and all characters of category Zs as spaces; str.split() does."

    def is_space(self, character):
        return character in " \t\n\r"


SPACES = (OnlySpaces, SpacesRemoved, OnlyAsciiSpaces)


class ControlKept(Tokenizing):
    name = "control characters kept"
    cause = "Control characters, zero-width ones and U+FFFD stayed in the words."
    remedy = CONTROL

    def is_removed(self, character):
        return False


class ControlAsSpace(Tokenizing):
    name = "control characters taken as spaces"
    cause = "Control characters were replaced by spaces, which splits words."
    remedy = CONTROL

    def cleaned(self, character):
        return " " if self.is_removed(character) else super().cleaned(character)


class ReplacementKept(Tokenizing):
    name = "U+FFFD kept"
    cause = "The replacement character U+FFFD stayed in the text; it is no control character by category."
    remedy = CONTROL

    def is_removed(self, character):
        return character != "\ufffd" and super().is_removed(character)


class FormatKept(Tokenizing):
    name = "zero-width characters kept"
    cause = "Only category Cc was removed; zero-width spaces and soft hyphens are of category Cf."
    remedy = CONTROL

    def is_removed(self, character):
        return category(character) != "Cf" and super().is_removed(character)


class OnlyControlRemoved(Tokenizing):
    name = "zero-width characters and U+FFFD kept"
    cause = "Only category Cc was removed; zero-width spaces are of category Cf, U+FFFD of So."
    remedy = CONTROL

    def is_removed(self, character):
        return category(character) == "Cc"


CONTROL_CHARACTERS = (ControlKept, ControlAsSpace, ReplacementKept, FormatKept, OnlyControlRemoved)


# Accents


class AccentsKept(Tokenizing):
    name = "accents kept"
    cause = "Accents were not removed."
    remedy = ACCENTS

    def without_accents(self, part):
        return part


class ComposedKept(Tokenizing):
    name = "accents of composed letters kept"
    cause = "Characters of category Mn were removed, but letters were not decomposed before."
    remedy = ACCENTS

    def without_accents(self, part):
        return "".join(c for c in part if category(c) != "Mn")


class DecomposedKept(Tokenizing):
    name = "combining accents kept"
    cause = "Only composed letters lost their accents; combining ones stayed."
    remedy = ACCENTS

    def without_accents(self, part):
        return "".join(unicodedata.normalize("NFD", c)[0] for c in part)


class LettersDropped(Tokenizing):
    name = "letters with accents dropped"
    cause = (
        "Everything outside ASCII was removed without decomposing letters, so that é is gone with its accent."
    )
    remedy = ACCENTS

    def without_accents(self, part):
        return part.encode("ascii", "ignore").decode()


class OnlyAscii(Tokenizing):
    name = "everything outside ASCII dropped"
    cause = "After decomposing, everything outside ASCII was removed, not only accents."
    remedy = ACCENTS

    def without_accents(self, part):
        return unicodedata.normalize("NFD", part).encode("ascii", "ignore").decode()


class Compatibility(Tokenizing):
    name = "compatibility decomposition"
    cause = "NFKD or NFKC was used, which turns ² into 2."
    remedy = ACCENTS

    def without_accents(self, part):
        return super().without_accents(unicodedata.normalize("NFKD", part))


CAPITAL_LETTERS = (Cased, CaseFolded, OnlyAscii)
ACCENTED_LETTERS = (AccentsKept, ComposedKept, DecomposedKept, LettersDropped)


# Punctuation


class PunctuationKept(Tokenizing):
    name = "punctuation not split"
    cause = "Words were split at spaces only."
    remedy = PUNCTUATION

    def is_punctuation(self, character):
        return False


class PunctuationDropped(Tokenizing):
    name = "punctuation dropped"
    cause = "Only letters and digits were kept, as by the pattern \\w+ or by a table of characters to remove."
    remedy = PUNCTUATION

    def split(self, part):
        return "".join(" " if self.is_punctuation(c) else c for c in part)


class OnlyUnicodePunctuation(Tokenizing):
    name = "symbols of ASCII not split"
    cause = "Only category P was split; $ + < = > ^ ` | ~ are symbols by category."
    remedy = PUNCTUATION

    def is_punctuation(self, character):
        return category(character).startswith("P")


class OnlyAsciiPunctuation(Tokenizing):
    name = "punctuation outside ASCII not split"
    cause = "Only string.punctuation was split, not quotation marks and dashes outside ASCII."
    remedy = PUNCTUATION

    def is_punctuation(self, character):
        return is_ascii_mark(character)


class RunsKept(Tokenizing):
    name = "runs of punctuation kept together"
    cause = "Several marks in a row, such as three dots, became one word."
    remedy = PUNCTUATION

    def split(self, part):
        return super().split(part).replace("  ", "")


class InsideWordsKept(Tokenizing):
    name = "punctuation inside words kept"
    cause = "Apostrophes and hyphens between letters were not split."
    remedy = PUNCTUATION

    def split(self, part):
        return re.sub(r"(?<=\w) (['-]) (?=\w)", r"\1", super().split(part))


class UnderscoreKept(Tokenizing):
    name = "underscores taken as letters"
    cause = "The pattern \\w counts the underscore as a letter."
    remedy = PUNCTUATION

    def is_punctuation(self, character):
        return character != "_" and super().is_punctuation(character)


MARKS_IN_TEXT = (
    PunctuationKept,
    PunctuationDropped,
    OnlyUnicodePunctuation,
    OnlyAsciiPunctuation,
    RunsKept,
    InsideWordsKept,
    UnderscoreKept,
    OnlyAscii,
)


# Ideographs and symbols


class IdeographsTogether(Tokenizing):
    name = "CJK characters not split"
    cause = "Ideographs stayed together with their neighbours."
    remedy = IDEOGRAPHS

    def is_ideograph(self, character):
        return False


class RareTogether(Tokenizing):
    name = "rare CJK characters not split"
    cause = "Only the block from U+4E00 to U+9FFF was split."
    remedy = IDEOGRAPHS

    def is_ideograph(self, character):
        return "\u4e00" <= character <= "\u9fff"


class KanaApart(Tokenizing):
    name = "kana split too"
    cause = "Japanese kana were split like ideographs."
    remedy = IDEOGRAPHS

    def is_ideograph(self, character):
        return super().is_ideograph(character) or "\u3040" <= character <= "\u30ff"


CJK = (IdeographsTogether, RareTogether, KanaApart, OnlyAscii)


class SymbolsDropped(Tokenizing):
    name = "symbols dropped"
    cause = "Emoji and other symbols were removed."
    remedy = "Keep them: they are characters like any other, and in the vocabulary or unknown."

    def is_removed(self, character):
        return category(character) == "So" or super().is_removed(character)


class SymbolsApart(Tokenizing):
    name = "symbols split from their neighbours"
    cause = "Emoji and other symbols outside ASCII were split like punctuation."
    remedy = PUNCTUATION

    def is_punctuation(self, character):
        return category(character).startswith("S") or super().is_punctuation(character)


SYMBOLS = (SymbolsDropped, SymbolsApart, OnlyAscii, Compatibility)
