"""Mistakes in BERT's uncased tokenizer, by the stage at which each of them shows."""

import re
import unicodedata

from minbert.check.mistakes.table import wrong
from minbert.check.references.tokenizer import UNKNOWN, Tokenizer, category, is_ascii_mark

PIECES = "Take the longest piece from the left, with ## after the first; one missing makes the word [UNK]."
PUNCTUATION = "Make a word of each character of string.punctuation, and of each of Unicode's category P."
CONTROL = "Remove characters of categories Cc and Cf, save tab and line ends, which are spaces; and U+FFFD."
IDEOGRAPHS = "Put spaces around each CJK ideograph, in the rare blocks too; kana and hangul stay in words."
ACCENTS = 'Decompose by unicodedata.normalize("NFD", ...) and remove characters of category Mn.'
MARKS = "Return the ids of [CLS], the pieces and [SEP]."
LIMIT = "Make a word of more than 100 characters [UNK], as BERT does."
SPACE = "Take tabs, line ends and all characters of category Zs as spaces; str.split() does."


def _unknown_by_letter(self, found, rest):
    pieces = [*found]
    while rest:
        piece = self.next_piece(rest, bool(pieces))
        pieces.append(piece or UNKNOWN)
        rest = rest[len(piece.removeprefix("##")) if piece else 1 :]
    return pieces


# fmt: off
ONLY_ASCII = wrong(
    "everything outside ASCII dropped",
    "After decomposing, everything outside ASCII was removed, not only accents.", ACCENTS,
    without_accents=lambda self, part: unicodedata.normalize("NFD", part).encode("ascii", "ignore").decode(),
)
WORDS = (
    wrong("no [CLS] and no [SEP]", "The ids are those of the text alone.", MARKS,
          marked=lambda self, tokens: tokens),
    wrong("no [CLS]", "[CLS] is missing at the beginning.", MARKS,
          marked=lambda self, tokens: [*tokens, "[SEP]"]),
    wrong("no [SEP]", "[SEP] is missing at the end.", MARKS, marked=lambda self, tokens: ["[CLS]", *tokens]),
    wrong("[CLS] and [SEP] exchanged", "[SEP] stands at the beginning and [CLS] at the end.", MARKS,
          marked=lambda self, tokens: ["[SEP]", *tokens, "[CLS]"]),
    wrong("shortest piece first", "The shortest piece that fits was taken instead of the longest.", PIECES,
          sizes=lambda self, shortest, longest: range(shortest, longest + 1)),
)
ACCENTED_LETTERS = (
    wrong("accents kept", "Accents were not removed.", ACCENTS, without_accents=lambda self, part: part),
    wrong("accents of composed letters kept",
          "Characters of category Mn were removed, but letters were not decomposed before.", ACCENTS,
          without_accents=lambda self, part: "".join(c for c in part if category(c) != "Mn")),
    wrong("combining accents kept", "Only composed letters lost their accents; combining ones stayed.",
          ACCENTS,
          without_accents=lambda self, part: "".join(unicodedata.normalize("NFD", c)[0] for c in part)),
    wrong("letters with accents dropped",
          "Everything outside ASCII was removed without decomposing letters, so that é is gone with its "
          "accent.", ACCENTS,
          without_accents=lambda self, part: part.encode("ascii", "ignore").decode()),
)
CAPITAL_LETTERS = (
    wrong("capital letters kept", "The text was not lower-cased.", "Lower-case each word by str.lower().",
          lower=lambda self, part: part),
    wrong("casefold instead of lower", "str.casefold() turns ß into ss; BERT only lower-cases.",
          "Lower-case each word by str.lower().", lower=lambda self, part: part.casefold()),
    ONLY_ASCII,
)
SPACES = (
    wrong("tabs and line ends not taken as spaces", "Words were split at the space character only.", SPACE,
          is_space=lambda self, character: character == " ",
          is_removed=lambda self, character:
              character not in "\t\n\r" and Tokenizer.is_removed(self, character)),
    wrong("tabs and line ends removed",
          "Tabs and line ends were removed as control characters, which joins words.", CONTROL,
          is_space=lambda self, character: category(character) == "Zs"),
    wrong("spaces outside ASCII not taken as spaces",
          "The no-break space and other characters of category Zs did not end a word.", SPACE,
          is_space=lambda self, character: character in " \t\n\r"),
)
CONTROL_CHARACTERS = (
    wrong("control characters kept", "Control characters, zero-width ones and U+FFFD stayed in the words.",
          CONTROL, is_removed=lambda self, character: False),
    wrong("control characters taken as spaces",
          "Control characters were replaced by spaces, which splits words.", CONTROL,
          cleaned=lambda self, character:
              " " if self.is_removed(character) else Tokenizer.cleaned(self, character)),
    wrong("U+FFFD kept",
          "The replacement character U+FFFD stayed in the text; it is not a control character by category.",
          CONTROL,
          is_removed=lambda self, character: character != "\ufffd" and Tokenizer.is_removed(self, character)),
    wrong("zero-width characters kept",
          "Only category Cc was removed; zero-width spaces and soft hyphens are of category Cf.", CONTROL,
          is_removed=lambda self, character:
              category(character) != "Cf" and Tokenizer.is_removed(self, character)),
    wrong("zero-width characters and U+FFFD kept",
          "Only category Cc was removed; zero-width spaces are of category Cf, U+FFFD of So.", CONTROL,
          is_removed=lambda self, character: category(character) == "Cc"),
)
MARKS_IN_TEXT = (
    wrong("punctuation not split", "Words were split at spaces only.", PUNCTUATION,
          is_punctuation=lambda self, character: False),
    wrong("punctuation dropped",
          "Only letters and digits were kept, as by the pattern \\w+ or by a table of characters to remove.",
          PUNCTUATION, split=lambda self, part: "".join(" " if self.is_punctuation(c) else c for c in part)),
    wrong("symbols of ASCII not split",
          "Only category P was split; $ + < = > ^ ` | ~ are symbols by category.", PUNCTUATION,
          is_punctuation=lambda self, character: category(character).startswith("P")),
    wrong("punctuation outside ASCII not split",
          "Only string.punctuation was split, not quotation marks and dashes outside ASCII.", PUNCTUATION,
          is_punctuation=lambda self, character: is_ascii_mark(character)),
    wrong("runs of punctuation kept together", "Several marks in a row, such as three dots, became one word.",
          PUNCTUATION, split=lambda self, part: Tokenizer.split(self, part).replace("  ", "")),
    wrong("punctuation inside words kept", "Apostrophes and hyphens between letters were not split.",
          PUNCTUATION,
          split=lambda self, part: re.sub(r"(?<=\w) (['-]) (?=\w)", r"\1", Tokenizer.split(self, part))),
    wrong("underscores taken as letters", "The pattern \\w counts the underscore as a letter.", PUNCTUATION,
          is_punctuation=lambda self, character:
              character != "_" and Tokenizer.is_punctuation(self, character)),
    ONLY_ASCII,
)
CJK = (
    wrong("CJK characters not split", "Ideographs stayed together with their neighbours.", IDEOGRAPHS,
          is_ideograph=lambda self, character: False),
    wrong("rare CJK characters not split", "Only the block from U+4E00 to U+9FFF was split.", IDEOGRAPHS,
          is_ideograph=lambda self, character: "\u4e00" <= character <= "\u9fff"),
    wrong("kana split too", "Japanese kana were split like ideographs.", IDEOGRAPHS,
          is_ideograph=lambda self, character:
              Tokenizer.is_ideograph(self, character) or "\u3040" <= character <= "\u30ff"),
    ONLY_ASCII,
)
WORD_PIECES = (
    wrong("no word pieces", "Words that the vocabulary does not hold as a whole became [UNK].", PIECES,
          sizes=lambda self, shortest, longest: (longest,)),
    wrong("pieces without ##", "Later pieces were looked up without ##.", PIECES,
          next_piece=lambda self, word, inside: Tokenizer.next_piece(self, word, False)),
    wrong("## before the first piece",
          "The first piece of a word that is not whole in the vocabulary was looked up with ##.", PIECES,
          next_piece=lambda self, word, inside:
              Tokenizer.next_piece(self, word, inside or word not in self.vocabulary)),
)
UNKNOWN_WORDS = (
    wrong("pieces of a partly unknown word kept",
          "The pieces before an unknown part were kept, with [UNK] for the rest of the word.", PIECES,
          partly_unknown=lambda self, found, rest: [*found, UNKNOWN]),
    wrong("unknown rest of a word left out",
          "The pieces before an unknown part were kept, and the rest of the word was dropped.", PIECES,
          partly_unknown=lambda self, found, rest: found),
    wrong("unknown words left out",
          "A word that cannot be made of pieces was dropped instead of becoming [UNK].", PIECES,
          partly_unknown=lambda self, found, rest: []),
    wrong("[UNK] for each unknown letter",
          "An unknown letter became [UNK], and the rest of the word was looked up on.", PIECES,
          partly_unknown=_unknown_by_letter),
    wrong("[PAD] for unknown words", "An unknown word became id 0, which is [PAD].", PIECES,
          partly_unknown=lambda self, found, rest: ["[PAD]"]),
    wrong("pieces without ## accepted", "A later piece was looked up without ## where there is none with it.",
          PIECES,
          next_piece=lambda self, word, inside:
              Tokenizer.next_piece(self, word, inside) or Tokenizer.next_piece(self, word, False)),
)
LONG_WORDS = (
    wrong("no limit of 100 characters", "Words of more than 100 characters were made of pieces.", LIMIT,
          is_too_long=lambda self, word: False),
    wrong("limit of 99 characters", "A word of 100 characters became [UNK]; the limit is for more than 100.",
          LIMIT, is_too_long=lambda self, word: len(word) >= 100),
    wrong("long words cut", "Words were cut to 100 characters.", LIMIT,
          pieces=lambda self, word: Tokenizer.pieces(self, word[:100])),
    wrong("long words left out", "Words of more than 100 characters were dropped.", LIMIT,
          pieces=lambda self, word: [] if self.is_too_long(word) else Tokenizer.pieces(self, word)),
)
SYMBOLS = (
    wrong("symbols dropped", "Emoji and other symbols were removed.",
          "Keep them: they are characters like any other, and in the vocabulary or unknown.",
          is_removed=lambda self, character:
              category(character) == "So" or Tokenizer.is_removed(self, character)),
    wrong("symbols split from their neighbours",
          "Emoji and other symbols outside ASCII were split like punctuation.", PUNCTUATION,
          is_punctuation=lambda self, character:
              category(character).startswith("S") or Tokenizer.is_punctuation(self, character)),
    ONLY_ASCII,
    wrong("compatibility decomposition", "NFKD or NFKC was used, which turns ² into 2.", ACCENTS,
          without_accents=lambda self, part:
              Tokenizer.without_accents(self, unicodedata.normalize("NFKD", part))),
)
# fmt: on
