"""BERT's tokenizer as students write it, in three styles, and each mistake as a change of one."""

PLAIN = r"""
import string
import unicodedata

RARE = [(0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]


def is_chinese(c):
    if 0x4E00 <= ord(c) <= 0x9FFF:
        return True
    return any(low <= ord(c) <= high for low, high in RARE)


def is_control(c):
    if c == "\ufffd":
        return True
    return unicodedata.category(c) in ("Cc", "Cf")


def is_space(c):
    return c in " \t\n\r" or unicodedata.category(c) == "Zs"


def is_punctuation(c):
    return c in string.punctuation or unicodedata.category(c).startswith("P")


def clean(text):
    out = ""
    for c in text:
        if is_space(c):
            out += " "
        elif is_control(c):
            continue
        elif is_chinese(c):
            out += " " + c + " "
        else:
            out += c
    return out


def strip_accents(word):
    word = unicodedata.normalize("NFD", word)
    return "".join(c for c in word if unicodedata.category(c) != "Mn")


def split_punctuation(word):
    out = [""]
    for c in word:
        if is_punctuation(c):
            out += [c, ""]
        else:
            out[-1] += c
    return [part for part in out if part]


def wordpiece(word, vocabulary):
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start:
            piece = word[start:end]
            if start > 0:
                piece = "##" + piece
            if piece in vocabulary:
                break
            end -= 1
        if end == start:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def tokenize(text, vocabulary):
    tokens = []
    for word in clean(text).split(" "):
        word = strip_accents(word.lower())
        for part in split_punctuation(word):
            tokens.extend(wordpiece(part, vocabulary))
    return [vocabulary[token] for token in ["[CLS]", *tokens, "[SEP]"]]
"""

REGULAR_EXPRESSIONS = r"""
import re
import unicodedata
from functools import reduce

BLOCKS = "\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\U00020000-\U0002ceaf\U0002f800-\U0002fa1f"
IDEOGRAPH = re.compile(f"([{BLOCKS}])")
MARK = re.compile(r"([!-/:-@\[-`{-~\u2010-\u2027\u00bf\u00a1\u2030-\u205e]|[^\w\s])")


def words(text):
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c)[0] != "C" and c != "\ufffd")
    text = unicodedata.normalize("NFD", IDEOGRAPH.sub(r" \1 ", text).lower())
    text = "".join(c for c in text if not unicodedata.combining(c) and unicodedata.category(c) != "Mn")
    split = lambda m: f" {m[0]} " if unicodedata.category(m[0])[0] == "P" or ord(m[0]) < 128 else m[0]
    return MARK.sub(split, text).split()


def pieces(word, vocabulary, mark=""):
    if not word:
        return []
    for end in range(len(word), 0, -1):
        if mark + word[:end] in vocabulary:
            rest = pieces(word[end:], vocabulary, "##")
            return None if rest is None else [vocabulary[mark + word[:end]], *rest]
    return None


def tokenize(text, vocabulary):
    ids = [vocabulary["[CLS]"]]
    for word in words(text):
        found = pieces(word, vocabulary) if len(word) <= 100 else None
        ids += [vocabulary["[UNK]"]] if found is None else found
    return ids + [vocabulary["[SEP]"]]
"""

LIBRARY = r"""
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece


def tokenize(text, vocabulary):
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return [vocabulary["[CLS]"], *tokenizer.encode(text).ids, vocabulary["[SEP]"]]
"""

STYLES = {"plain": PLAIN, "regular expressions": REGULAR_EXPRESSIONS, "library": LIBRARY}

_MARKED = '["[CLS]", *tokens, "[SEP]"]'
_LOWER = "word = strip_accents(word.lower())"
_SPACE = r'return c in " \t\n\r" or unicodedata.category(c) == "Zs"'
_CONTROL = 'return unicodedata.category(c) in ("Cc", "Cf")'
_REPLACEMENT = r"""    if c == "\ufffd":
        return True
"""
_NFD = 'word = unicodedata.normalize("NFD", word)'
_PLAIN_LETTERS = 'return "".join(c for c in word if unicodedata.category(c) != "Mn")'
_PUNCTUATION = 'return c in string.punctuation or unicodedata.category(c).startswith("P")'
_RARE = "return any(low <= ord(c) <= high for low, high in RARE)"
_NOT_FOUND = """        if end == start:
            return ["[UNK]"]
"""
_ADD = "tokens.extend(wordpiece(part, vocabulary))"
_LONG = """    if len(word) > 100:
        return ["[UNK]"]
"""

# name of the mistake -> changes of PLAIN
MISTAKES = {
    "no [CLS] and no [SEP]": [(_MARKED, "tokens")],
    "no [CLS]": [(_MARKED, '[*tokens, "[SEP]"]')],
    "no [SEP]": [(_MARKED, '["[CLS]", *tokens]')],
    "[CLS] and [SEP] exchanged": [(_MARKED, '["[SEP]", *tokens, "[CLS]"]')],
    "accents kept": [(_LOWER, "word = word.lower()")],
    "accents of composed letters kept": [(f"    {_NFD}\n", "")],
    "combining accents kept": [
        (_NFD, ""),
        (_PLAIN_LETTERS, 'return "".join(unicodedata.normalize("NFD", c)[0] for c in word)'),
    ],
    "letters with accents dropped": [
        (_NFD, ""),
        (_PLAIN_LETTERS, 'return word.encode("ascii", "ignore").decode()'),
    ],
    "capital letters kept": [(_LOWER, "word = strip_accents(word)")],
    "casefold instead of lower": [("word.lower()", "word.casefold()")],
    "everything outside ASCII dropped": [(_PLAIN_LETTERS, 'return word.encode("ascii", "ignore").decode()')],
    "tabs and line ends not taken as spaces": [
        (_SPACE, 'return c == " "'),
        (_CONTROL, f'if c in "\\t\\n\\r": return False\n    {_CONTROL}'),
    ],
    "tabs and line ends removed": [(_SPACE, 'return unicodedata.category(c) == "Zs"')],
    "spaces outside ASCII not taken as spaces": [(_SPACE, r'return c in " \t\n\r"')],
    "control characters kept": [(_CONTROL, "return False"), (_REPLACEMENT, "")],
    "control characters taken as spaces": [("            continue\n", '            out += " "\n')],
    "U+FFFD kept": [(_REPLACEMENT, "")],
    "zero-width characters kept": [(_CONTROL, 'return unicodedata.category(c) == "Cc"')],
    "zero-width characters and U+FFFD kept": [
        (_CONTROL, 'return unicodedata.category(c) == "Cc"'),
        (_REPLACEMENT, ""),
    ],
    "punctuation not split": [(_PUNCTUATION, "return False")],
    "punctuation dropped": [('out += [c, ""]', 'out += [""]')],
    "symbols of ASCII not split": [(_PUNCTUATION, 'return unicodedata.category(c).startswith("P")')],
    "punctuation outside ASCII not split": [(_PUNCTUATION, "return c in string.punctuation")],
    "runs of punctuation kept together": [
        (
            'out += [c, ""]',
            'out[-2:] = [out[-2] + c, ""] if len(out) > 1 and not out[-1] else [*out[-2:], c, ""]',
        )
    ],
    "punctuation inside words kept": [
        ("    for c in word:\n", "    for i, c in enumerate(word):\n"),
        (
            "if is_punctuation(c):",
            "if is_punctuation(c) and not"
            ' (c in "\'-" and word[i - 1 : i].isalnum() and word[i + 1 : i + 2].isalnum()):',
        ),
    ],
    "underscores taken as letters": [(_PUNCTUATION, f'if c == "_": return False\n    {_PUNCTUATION}')],
    "CJK characters not split": [("elif is_chinese(c):", "elif False:")],
    "rare CJK characters not split": [(_RARE, "return False")],
    "kana split too": [("if 0x4E00 <=", "if 0x3040 <= ord(c) <= 0x30FF or 0x4E00 <=")],
    "no word pieces": [
        (
            "        while end > start:\n",
            '        if word not in vocabulary: return ["[UNK]"]\n        while end > start:\n',
        )
    ],
    "shortest piece first": [
        ("        end = len(word)\n", "        end = start + 1\n"),
        ("        while end > start:\n", "        while end <= len(word):\n"),
        ("            end -= 1\n", "            end += 1\n"),
        ("        if end == start:\n", "        if end > len(word):\n"),
    ],
    "pieces without ##": [("            if start > 0:\n", "            if False:\n")],
    "## before the first piece": [
        ("            if start > 0:\n", "            if start > 0 or end < len(word):\n")
    ],
    "pieces without ## accepted": [
        (
            _NOT_FOUND,
            "        if end == start:\n"
            "            ends = [e for e in range(len(word), start, -1) if word[start:e] in vocabulary]\n"
            "            if not ends: return ['[UNK]']\n"
            "            end = ends[0]\n"
            "            piece = word[start:end]\n",
        )
    ],
    "pieces of a partly unknown word kept": [
        (_NOT_FOUND, _NOT_FOUND.replace('["[UNK]"]', 'pieces + ["[UNK]"]'))
    ],
    "unknown rest of a word left out": [(_NOT_FOUND, _NOT_FOUND.replace('["[UNK]"]', "pieces"))],
    "unknown words left out": [(_NOT_FOUND, _NOT_FOUND.replace('["[UNK]"]', "[]"))],
    "[UNK] for each unknown letter": [
        (_NOT_FOUND, "        if end == start:\n            piece, end = '[UNK]', start + 1\n")
    ],
    "[PAD] for unknown words": [(_NOT_FOUND, _NOT_FOUND.replace("[UNK]", "[PAD]"))],
    "no limit of 100 characters": [(_LONG, "")],
    "limit of 99 characters": [("> 100", ">= 100")],
    "long words cut": [(_LONG, "    word = word[:100]\n")],
    "long words left out": [(_LONG, _LONG.replace('["[UNK]"]', "[]"))],
    "symbols dropped": [(_CONTROL, 'return unicodedata.category(c) in ("Cc", "Cf", "So")')],
    "symbols split from their neighbours": [
        (_PUNCTUATION, 'return c in string.punctuation or unicodedata.category(c)[0] in "PS"')
    ],
    "compatibility decomposition": [(_NFD, _NFD.replace("NFD", "NFKD"))],
}

# Mistakes that no catalogue has: (changes of PLAIN, first stage that shows it).
UNKNOWN = {
    "[SEP] twice": ([(_MARKED, '["[CLS]", *tokens, "[SEP]", "[SEP]"]')], "words"),
    "words backwards": ([("word.lower()", "word.lower()[::-1]")], "words"),
    "digits dropped": ([(_ADD, f"if not part.isdigit(): {_ADD}")], "punctuation"),
    "pieces from the end first": ([("    return pieces\n", "    return pieces[::-1]\n")], "word pieces"),
    "limit of 120 characters": ([("> 100", "> 120")], "long words"),
}

# Correct ways to write each part; <place> takes one of them.
VARIANT = r"""
import re
import string
import unicodedata

RANGES = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
          (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]


def clean(text):
    <clean>


def plain(word):
    <plain>


def split(word):
    <split>


def pieces(word, vocabulary):
    if <long>:
        return ["[UNK]"]
    <pieces>


def tokenize(text, vocabulary):
    tokens = ["[CLS]"]
    for word in <words>:
        for part in split(plain(word)):
            tokens += pieces(part, vocabulary)
    tokens.append("[SEP]")
    return <ids>
"""
CHOICES = {
    "clean": (
        r"""out = []
    for c in text:
        kind = unicodedata.category(c)
        if c in "\t\n\r" or kind == "Zs": out.append(" ")
        elif c == "\ufffd" or kind.startswith("C"): pass
        elif any(a <= ord(c) <= b for a, b in RANGES): out.append(f" {c} ")
        else: out.append(c)
    return "".join(out)""",
        r"""text = re.sub(r"\s+", " ", text)
    text = "".join(c for c in text if c not in "\0\ufffd" and unicodedata.category(c) not in ("Cc", "Cf"))
    return "".join(f" {c} " if any(a <= ord(c) <= b for a, b in RANGES) else c for c in text)""",
        r"""text = " ".join(text.split()).replace("\ufffd", "")
    text = "".join(c for c in text if not unicodedata.category(c).startswith("C"))
    return "".join(f" {c} " if "IDEOGRAPH" in unicodedata.name(c, "") else c for c in text)""",
    ),
    "plain": (
        """word = unicodedata.normalize("NFD", word.lower())
    return "".join(c for c in word if unicodedata.category(c) != "Mn")""",
        """word = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
    return word.lower()""",
        """word = unicodedata.normalize("NFD", word.lower())
    return "".join(filter(lambda c: unicodedata.category(c) != "Mn", word)).lower()""",
    ),
    "split": (
        """marked = lambda c: c in string.punctuation or unicodedata.category(c)[0] == "P"
    return "".join(f" {c} " if marked(c) else c for c in word).split()""",
        """out, fresh = [], True
    for c in word:
        code = ord(c)
        ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
        if ascii_mark or unicodedata.category(c).startswith("P"):
            out.append(c); fresh = True
        elif fresh:
            out.append(c); fresh = False
        else:
            out[-1] += c
    return out""",
        """marks = "".join({c for c in word if unicodedata.category(c)[0] == "P"} | set(string.punctuation))
    return [part for part in re.split("([" + re.escape(marks) + "])", word) if part]""",
    ),
    "long": ("len(word) > 100", "not len(word) <= 100", "len(list(word)) >= 101"),
    "pieces": (
        """found, rest = [], word
    while rest:
        mark = "##" if found else ""
        best = max((p for p in vocabulary if (mark + rest).startswith(p) and len(p) > len(mark)
                    and p.startswith(mark)), key=len, default=None)
        if best is None: return ["[UNK]"]
        found.append(best); rest = rest[len(best) - len(mark):]
    return found""",
        """found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                found.append(piece); start = end
                break
        else:
            return ["[UNK]"]
    return found""",
    ),
    "words": ("clean(text).split()", "clean(text).strip().split()", "clean(text).split(' ')"),
    "ids": (
        "[vocabulary[token] for token in tokens]",
        "list(map(vocabulary.get, tokens))",
        "__import__('torch').tensor([vocabulary[token] for token in tokens])",
        "[vocabulary.get(token, vocabulary['[UNK]']) for token in tokens]",
    ),
}
