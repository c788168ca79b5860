"""tokenizer.py."""

TEMPLATE = r"""
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
RIGHT = {
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
        "__import__('torch').tensor([vocabulary[token] for token in tokens])",
        "[vocabulary.get(token, vocabulary['[UNK]']) for token in tokens]",
    ),
}


def cleaned(space=r'c in "\t\n\r" or kind == "Zs"', removed=r'c == "\ufffd" or kind.startswith("C")',
            ideograph="any(a <= ord(c) <= b for a, b in RANGES)", instead="pass"):  # fmt: skip
    """Characters by the tests of what they are; `instead`: what is done with removed ones."""
    return {
        "clean": f"""out = []
    for c in text:
        kind = unicodedata.category(c)
        if {space}: out.append(" ")
        elif {removed}: {instead}
        elif {ideograph}: out.append(f" {{c}} ")
        else: out.append(c)
    return "".join(out)"""
    }


def marked(test, split='" {c} "'):
    return {
        "split": f"marked = lambda c: {test}\n"
        f'    return "".join(f{split} if marked(c) else c for c in word).split()'
    }


def pieced(unknown='return ["[UNK]"]', mark="start", ends="range(len(word), start, -1)"):
    return {
        "pieces": f"""found, start = [], 0
    while start < len(word):
        for end in {ends}:
            piece = ("##" if {mark} else "") + word[start:end]
            if piece in vocabulary:
                found.append(piece); start = end
                break
        else:
            {unknown}
    return found"""
    }


MARK = 'c in string.punctuation or unicodedata.category(c)[0] == "P"'
IDS = "[vocabulary[token] for token in {}]"

# fmt: off
WRONG = {
    "no [CLS]": {"ids": IDS.format("tokens[1:]")},
    "[CLS] and [SEP] exchanged": {"ids": IDS.format('["[SEP]", *tokens[1:-1], "[CLS]"]')},
    "accents of composed letters kept":
        {"plain": 'return "".join(c for c in word.lower() if unicodedata.category(c) != "Mn")'},
    "combining accents kept":
        {"plain": 'return "".join(unicodedata.normalize("NFD", c)[0] for c in word.lower())'},
    "everything outside ASCII dropped": {"plain":
        'return unicodedata.normalize("NFD", word.lower()).encode("ascii", "ignore").decode()'},
    "compatibility decomposition": {"plain": RIGHT["plain"][0].replace("NFD", "NFKD")},
    "capital letters kept": {"plain": RIGHT["plain"][0].replace(".lower()", "")},
    "casefold instead of lower": {"plain": RIGHT["plain"][0].replace("lower", "casefold")},
    "tabs and line ends removed": cleaned(space='kind == "Zs"'),
    "spaces outside ASCII not taken as spaces": cleaned(space=r'c in " \t\n\r"') 
        | {"words": "clean(text).split(' ')", "split": RIGHT["split"][1]},
    "control characters kept": cleaned(removed="False"),
    "control characters taken as spaces": cleaned(instead='out.append(" ")'),
    "U+FFFD kept": cleaned(removed='kind.startswith("C")'),
    "zero-width characters kept": cleaned(removed=r'c == "\ufffd" or kind == "Cc"'),
    "symbols dropped": cleaned(removed=r'c == "\ufffd" or kind[0] == "C" or kind == "So"'),
    "CJK characters not split": cleaned(ideograph="False"),
    "kana split too": cleaned(ideograph="any(a <= ord(c) <= b for a, b in [*RANGES, (0x3040, 0x30ff)])"),
    "punctuation not split": marked("False"),
    "punctuation dropped": marked(MARK, '" "'),
    "symbols of ASCII not split": marked('unicodedata.category(c)[0] == "P"'),
    "underscores taken as letters": marked(f'c != "_" and ({MARK})'),
    "runs of punctuation kept together":
        {"split": f"""marked = lambda c: {MARK}
    return "".join(f" {{c}} " if marked(c) else c for c in word).replace("  ", "").split()"""},
    "no word pieces": pieced(ends="[len(word)]"),
    "shortest piece first": pieced(ends="range(start + 1, len(word) + 1)"),
    "pieces without ##": pieced(mark="False"),
    "unknown words left out": pieced("return []"),
    "[UNK] for each unknown letter": pieced('found.append("[UNK]"); start += 1'),
    "limit of 99 characters": {"long": "len(word) >= 100"},
    "long words cut": {"long": "word != (word := word[:100]) and False"},
    "no limit of 100 characters": {"long": "False"},
}
UNKNOWN = {
    "[SEP] twice": ({"ids": IDS.format('[*tokens, "[SEP]"]')}, "words"),
    "words backwards": ({"plain": RIGHT["plain"][0] + "[::-1]"}, "words"),
    "digits dropped": ({"split": RIGHT["split"][0].replace(
        "for c in word", 'for c in ("" if word.isdigit() else word)')}, "punctuation"),
    "pieces from the end first": ({"pieces": RIGHT["pieces"][1] + "[::-1]"}, "word pieces"),
    "limit of 120 characters": ({"long": "len(word) > 120"}, "long words"),
}
# fmt: on
