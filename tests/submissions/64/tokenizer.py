import string
import unicodedata


def _clean(text):
    out = ""
    for ch in text:
        cat = unicodedata.category(ch)
        if ch in "\t\n\r" or cat == "Zs":
            out += " "
        elif cat in ("Cc", "Cf", "Co") or ch == "\ufffd":
            continue
        elif _is_chinese(ord(ch)):
            out += " " + ch + " "
        else:
            out += ch
    return out


def _is_chinese(cp):
    blocks = [
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0xF900, 0xFAFF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B820, 0x2CEAF),
        (0x2F800, 0x2FA1F),
    ]
    for low, high in blocks:
        if low <= cp <= high:
            return True
    return False


def _basic(text):
    for word in _clean(text).split():
        word = unicodedata.normalize("NFC", word.lower())
        word = "".join(c for c in word if unicodedata.category(c) != "Mn")
        buffer = ""
        for c in word:
            if c in string.punctuation or unicodedata.category(c)[0] == "P":
                if buffer:
                    yield buffer
                yield c
                buffer = ""
            else:
                buffer += c
        if buffer:
            yield buffer


def _wordpiece(word, vocabulary):
    found, rest, prefix = [], word, ""
    if len(word) > 100:
        return ["[UNK]"]
    while rest:
        n = len(rest)
        while n > 0 and prefix + rest[:n] not in vocabulary:
            n -= 1
        if n == 0:
            return ["[UNK]"]
        found.append(prefix + rest[:n])
        rest, prefix = rest[n:], "##"
    return found


def tokenize(text, vocabulary):
    ids = [vocabulary["[CLS]"]]
    for word in _basic(text):
        for piece in _wordpiece(word, vocabulary):
            ids.append(vocabulary[piece])
    ids.append(vocabulary["[SEP]"])
    return ids
