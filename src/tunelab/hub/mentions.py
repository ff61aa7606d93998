"""Models that a sentence mentions: links, Hub ids and names such as "Llama 2 7B", found behind or before a place in it."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from tunelab.hub.model_names import families, id_of_address, is_model_like, model_name
from tunelab.hub.tables import table

_OPEN, _CLOSE, _SOFT_MARK = "\ue000", "\ue001", "\x1f"
_WORDS = {name: frozenset(text.split()) for name, text in table("mention_words.toml").items()}
_STOPS, _GOES_ON, _BEFORE, _COMMON, _LINKING = (_WORDS[name] for name in ("stops", "goes_on", "before", "common", "linking"))
_SOFT = re.compile(r"(?<! )(?<!\\)\n(?!\s*(?:[-*+|#>•\n]|<br|\d+[.)]|[A-Z][\w ()/-]{1,40}:))")
_LINK = re.compile(
    r"!?\[([^\[\]]{0,300})\]\(\s*<?([^\s()<>]{0,500})>?[^()]{0,200}\)|<a\s[^<>]{0,400}?href\s*=\s*[\"']?([^\"'\s<>]{1,500})[\"']?[^<>]{0,200}>([^<]{0,300})</a>|"
    r"(https?://[^\s<>()\"'`|\ue000]{4,500})|(?<![a-z0-9_/.@:~-])([a-z0-9][a-z0-9_.-]{0,60}/[a-z0-9][a-z0-9_.-]{1,95})(?![a-z0-9_/-])",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\ue000(\d+)\ue001|[A-Za-z0-9\u00c0-\u024f][A-Za-z0-9\u00c0-\u024f._+/'’-]*|\.{0,2}/[\w./-]+|[^\x00-\x7f\ue000]+|\S|\n")
_BREAK = re.compile(r"<br\s{0,3}/?>", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![\w*])[*_](?=[^\s*_])|(?<=[^\s*_])[*_](?![\w*])")
_DATA_AFTER = re.compile(
    r"\s?[–—-]based|[\s\"'”)]{0,3}(?:(?:instruction|chat|training|conversation|style|format|generated|based|like|synthetic)[\s-]){0,2}"
    r"(?:data|dataset|datasets|corpus|corpora|samples|outputs|conversations|"
    r"generations?|completions|responses|prompt|prompts|template|format|tokenizer|license|licence|community license|paper|blog|"
    r"benchmark|leaderboard|embeddings?|数据|データ|の?形式)(?![\w-])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A model in a text: `value` (Hub id, or the name as written), and where it stands in the flat text."""

    value: str
    is_id: bool
    start: int
    end: int
    is_path: bool = False
    sure: bool = True
    """A link, an id or a family's name; else only the look of a name."""


@dataclass(frozen=True, slots=True)
class FlatText:
    """Text without emphasis whose links and Hub ids are single marks; `sources`: what stood there, `ids`: the model's id, "" for another link;
    `breaks`: where lines of the card ended that go on as one ("\\n" in `text` is an end that counts)."""

    text: str
    sources: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    breaks: tuple[int, ...] = ()

    def lines_before(self, place: int) -> int:
        """How many lines of the card end before a place."""
        return bisect_left(self.breaks, place) + self.text.count("\n", 0, place)

    def written(self, start: int, end: int) -> str:
        """A piece of it as it stood in the card."""
        return _TOKEN_MARK.sub(lambda found: self.sources[int(found.group(1))], self.text[start:end])


_TOKEN_MARK = re.compile(r"\ue000(\d+)\ue001")


def flat(text: str, *, wrapped: bool = True) -> FlatText:
    """The text made ready to be searched. `wrapped`: a line's end is a space, as in Markdown, unless the next looks like an entry of its own."""
    if wrapped and "\n" in text:
        text = _SOFT.sub(_SOFT_MARK, text)
    text = text.replace(_OPEN, " ").replace(_CLOSE, " ").replace("**", "").replace("__", "").replace("`", "").replace("\xa0", " ")
    if "<br" in text:
        text = _BREAK.sub(", ", text)
    if "*" in text or "_" in text:
        text = _EMPHASIS.sub("", text)
    if "/" not in text:
        return _finished(text)
    sources: list[str] = []
    ids: list[str] = []

    def mark(found: re.Match[str]) -> str:
        label, address, href, label2, url, bare = found.groups()
        if found.group().startswith("!"):
            return ""
        if bare is not None:
            name = bare.rstrip(".,")
            said = model_name(name)
            if said is None or not said.is_id or not (re.search(r"[-_\d]", name.partition("/")[2]) or is_model_like(name)):
                return bare
            sources.append(name)
            ids.append(said.value)
            return f"{_OPEN}{len(ids) - 1}{_CLOSE}{bare[len(name) :]}"
        where, words = (address or href or url or ""), (label if label is not None else label2) or ""
        one = id_of_address(where)
        inside = model_name(words.strip())
        if (
            one is None
            and inside is not None
            and inside.is_id
            and "/" in words
            and not where.partition("://")[2].startswith(("huggingface.co/datasets", "huggingface.co/spaces"))
        ):
            one = inside.value
        if one is None and "/datasets/" not in where and "/spaces/" not in where and (words or not url):
            return words
        sources.append(found.group())
        ids.append(one or "")
        tail = where[len(where.rstrip(".,;:")) :] if url else ""
        return f"{_OPEN}{len(ids) - 1}{_CLOSE}{tail}"

    return _finished(_LINK.sub(mark, text), tuple(sources), tuple(ids))


def _finished(text: str, sources: tuple[str, ...] = (), ids: tuple[str, ...] = ()) -> FlatText:
    if _SOFT_MARK not in text:
        return FlatText(text, sources, ids)
    return FlatText(text.replace(_SOFT_MARK, " "), sources, ids, tuple(at for at, letter in enumerate(text) if letter == _SOFT_MARK))


def mentions_after(text: FlatText, start: int, *, strong: bool = True, many: bool = False, gap: int = 6, reach: int = 200) -> list[Mention]:
    """The model that follows a cue ending at `start`: at most `gap` other words lie between. With `many` all of an enumeration.

    `strong`: what merely looks like a name counts too when nothing better follows.
    """
    stop = min(len(text.text), start + reach * (4 if many else 1))
    tokens = list(_TOKEN.finditer(text.text, start, stop))
    found: list[Mention] = []
    waiting, index, other = gap, 0, None
    while index < len(tokens):
        token = tokens[index]
        word = token.group()
        one, after = _mention_at(text, tokens, index)
        if one is not None and (one.sure or one.is_path):
            if one.value and not _DATA_AFTER.match(text.text, one.end):
                found.append(one)
            if not many or not one.value:
                break
            index, waiting = after, gap
            continue
        if one is not None and strong and other is None and one.value and not _DATA_AFTER.match(text.text, one.end):
            other = one
        lower = word.lower()
        if (
            (lower in _STOPS and not (many and lower in ("and", "or")))
            or word in ";!?|"
            or (word == "\n" and not many and index > 0)
            or (word == ":" and index > 0)
            or len(word) > 40
        ):
            break
        if word in "(" and found == [] and index > 1 and not many:
            break
        if word.endswith(".") and not many:
            break
        if not word.isascii() and len(word) > 8 and strong:
            break
        waiting -= word not in ",()[]\"'“”*-\n+&"
        if waiting < 0:
            break
        index += 1
    return found or ([other] if other is not None else [])


def mention_before(text: FlatText, end: int, *, reach: int = 120, gap: int = 5) -> Mention | None:
    """The model that a cue beginning at `end` is said of, with at most a few small words between."""
    start = max(0, end - reach)
    tokens = list(_TOKEN.finditer(text.text, start, end))
    last, last_index, index = None, 0, 0
    while index < len(tokens):
        one, after = _mention_at(text, tokens, index)
        if one is not None and one.sure and one.value and not one.value.lower().endswith("-sized"):
            last, last_index, index = one, after, after
            continue
        index += 1
    if last is None or len(tokens) - last_index > gap:
        return None
    between = [token.group().lower() for token in tokens[last_index:]]
    return last if all(word in _LINKING for word in between) else None


def _mention_at(text: FlatText, tokens: list[re.Match[str]], index: int) -> tuple[Mention | None, int]:
    """(the mention that begins with this token, index of the token behind it)."""
    token = tokens[index]
    if token.group(1) is not None:
        value = text.ids[int(token.group(1))]
        return Mention(value, True, token.start(), token.end()), index + 1
    word = token.group().rstrip(".,")
    if len(word) > 100 or not word[:1].isascii():
        return None, index + 1
    if "/" in word and len(word) > 3:
        said = model_name(word)
        if said is not None and (said.is_id or said.is_path):
            return Mention(said.value, said.is_id, token.start(), token.start() + len(word), said.is_path, sure=False), index + 1
        return None, index + 1
    return _named_at(text, tokens, index)


def _named_at(text: FlatText, tokens: list[re.Match[str]], index: int) -> tuple[Mention | None, int]:
    first, end, after = index, index, index + 1
    lower = _bare(tokens[index])
    starts = lower in _BEFORE and tokens[index].group().lower() == lower and index + 1 < len(tokens) and _adjacent(text, tokens, index)
    if starts and _is_family(_bare(tokens[index + 1]), tokens, index + 1):
        end, after = index + 1, index + 2
        sure = True
    else:
        sure = _is_family(lower, tokens, index)
        if not sure and not _looks_named(tokens[index].group().rstrip(".,")):
            return None, index + 1
    while (
        after < len(tokens)
        and not tokens[after - 1].group().endswith((".", "'s", "’s"))
        and _adjacent(text, tokens, after - 1)
        and _goes_on(tokens, after)
    ):
        end, after = after, after + 1
    start, stop = tokens[first].start(), tokens[end].end()
    value = text.text[start:stop].rstrip(".,'’-+/")
    for tail in ("'s", "’s", "-based", "-style", "-like"):
        value = value.removesuffix(tail)
    if _OPEN in value:
        value = value[: value.index(_OPEN)].rstrip()
    stop = start + len(value)
    return (Mention(value, False, start, stop, sure=sure) if value else None), after


def _bare(token: re.Match[str]) -> str:
    return token.group().rstrip(".,").lower().removesuffix("'s").removesuffix("’s").removesuffix("-based").removesuffix("-style")


def _adjacent(text: FlatText, tokens: list[re.Match[str]], index: int) -> bool:
    """One space lies between a token and the next."""
    return index + 1 < len(tokens) and text.text[tokens[index].end() : tokens[index + 1].start()] == " "


def _is_family(lower: str, tokens: list[re.Match[str]], index: int) -> bool:
    if is_model_like(lower):
        return not (lower[0].isdigit() and lower[-1:] in "bm")  # "7B" alone is a size
    return lower in families()[1] and index + 1 < len(tokens) and tokens[index + 1].group()[:1].isdigit()


def _goes_on(tokens: list[re.Match[str]], index: int) -> bool:
    word = tokens[index].group().rstrip(".,")
    if word.lower() in _GOES_ON:  # "Falcon base model" is the base model Falcon
        return not (word.lower() == "base" and index + 1 < len(tokens) and tokens[index + 1].group().lower().startswith("model"))
    return re.fullmatch(r"v?\d[\w.x-]{0,12}", word, re.IGNORECASE) is not None or (word[:1].isupper() and is_model_like(word))


def _looks_named(word: str) -> bool:
    """Whether a word has the look of a product's name: a capital and a digit or an inner capital or hyphen."""
    if model_name(word) is None or word.lower() in _COMMON or len(word) < 2 or not word[0].isalnum():
        return False
    capitals = sum(letter.isupper() for letter in word)
    return (capitals > 0 and (any(letter.isdigit() for letter in word) or "-" in word or (word[0].isupper() and capitals >= 2) or word[0].isupper())) or (
        "-" in word and any(letter.isdigit() for letter in word) and word[0].isalpha()
    )
