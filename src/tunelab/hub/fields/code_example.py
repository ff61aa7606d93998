"""Usage code that shows what comes out: a literal prompt, and the result in a comment, behind `>>>`, or on the lines below. Code is read as text, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tunelab.hub.fields.concrete import is_concrete, is_language
from tunelab.hub.fields.labels import role_of


@dataclass(frozen=True, slots=True)
class Shown:
    """A prompt literal and what the code shows as its result (None: nothing); `at`: offset of the literal, `name`: what it is assigned or given to."""

    prompt: str
    output: str | None
    at: int
    name: str = ""


_TOKEN = re.compile(r"""\#[^\n]*|\"\"\"|'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""")
_ROLE = re.compile(r"""["']role["'][ \t]*:[ \t]*["'](\w+)["']""")
_NO_PROMPT = re.compile(r"model|token|path|url|repo|device|label|system|template|^id$|_id$|ckpt|checkpoint|adapter|file|dir|name|format|dtype|role|lang|revision|key|import|config|"
                        r"task|stop|suffix|prefix|schema|sampl|tool|description|type|print|pipeline|output|answer|response|result|expected|version|endpoint|header|command|image|audio", re.IGNORECASE)
_NO_CALL = frozenset(["from_pretrained", "pipeline", "print", "open", "load_dataset", "load", "format", "join", "split", "replace", "startswith", "endswith", "get", "Path", "system", "exit", "exec_module", "ArgumentParser", "add_argument", "strip", "info", "Exception", "ValueError", "login", "hf_hub_download", "snapshot_download", "getenv", "append", "read_csv", "to", "from_dict", "findall", "sub", "compile", "match", "search", "Llama", "LLM", "cat", "isinstance", "mo"])
_ASKED = re.compile(r"text|prompt|question|input|sentence|article|query|instruction|sequence|message|review|document|tweet|content|dialog|conversation|example|sample|txt|src|paragraph|story|"
                    r"abstract|code|email|post|comment|news|passage|utterance|word|phrase|title|frase|texto|texte|pregunta", re.IGNORECASE)
_RESULT = re.compile(r"""[ \t]*(?:(?:=+>|-+>|→|⇒|>>>?|➜|«)[ \t]*|(?:prints?|returns?|outputs?|gives?)[ \t]+(?=["'\[{(])|(?=["'][^"']+["'][ \t]*\Z)|(?=[A-Z_]{3,}(?:[ \t]*\(?[\d.]+%?\)?)?[ \t]*\Z)|(?=\[\{|\{['"]|\[\(|\[['"]|\[\[['"]|<pad>)|(?P<label>[^\W\d_][^:：\n]{0,40})[:：][ \t]*)(?P<rest>.*)""")
_SAYS = re.compile(r"\b(?:output|result|response|answer|prints?|returns?|expected|prediction|predicted|generated|summary|translation)\w*\b|出力|输出|结果|結果|출력|결과|вывод|salida|sortie|ausgabe",
                   re.IGNORECASE)
_LISTED = re.compile(r"""^[ \t]*(?:>>>[ \t]*)?(?=[\[{(]{1,2}['"]?(?:label|score|generated_text|summary_text|translation_text|answer|token_str|entity|sequence)\b|\[\{)""", re.MULTILINE)
_IS_SCRIPT = re.compile(r"\b(?:await|const|let|var|console\.log)\b")
_SLASHES = re.compile(r"(?<![:\w\"'`/])//")
_ESCAPE = re.compile(r"\\([nt\"'\\])")
_ESCAPED = {"n": "\n", "t": "\t", '"': '"', "'": "'", "\\": "\\"}
_CODE_LINE = re.compile(r"^(?:import|from|for|if|with|def|print|!)\b|[=\[\]{}]|\w\(|\w\.\w+\(")
MAX_TOKENS = 2000
"""Literals and comments of a block that are looked at."""


def shown_in_code(text: str) -> list[Shown]:
    """The literal prompts of a block of code, in order, with the results that it shows."""
    if "//" in text and _IS_SCRIPT.search(text):
        text = _SLASHES.sub("# ", text)
    if ">>> " in text and text.lstrip().startswith((">>>", "#", "$", "ollama")):
        return list(_doctest(text))
    prompts, results = _read(text)
    results = sorted([*results, *_listed(text, results)])
    return _paired(prompts, results, text)


def _read(text: str) -> tuple[list[Shown], list[tuple[int, str]]]:
    """(prompt literals, results in comments and free strings)."""
    prompts: list[Shown] = []
    results: list[tuple[int, str]] = []
    comments: list[tuple[int, str]] = []
    last = -1
    for begin, end, value in _tokens(text):
        if text[begin] == "#":
            comments.append((begin, value))
            continue
        start = text.rfind("\n", 0, begin) + 1
        if value and text[begin : begin + 3] in ('"""', "'''") and not text[start:begin].strip() and prompts and _statement(text, start):
            results.append((begin, _without_label(value)))
            continue
        name = _name(text, begin, end)
        if last >= 0 and not text[last:begin].strip(" \t\n\\+fr"):  # "a" "b" in brackets, or "a" + "b"
            prompts[-1] = replace(prompts[-1], prompt=prompts[-1].prompt + value)
        elif name is not None and _is_sentence(value) and is_concrete(value) and not (_is_formatted(text, begin) and "{" in value):
            prompts.append(Shown(value.strip(), None, begin, name))
        else:
            continue
        last = end
    results += _in_comments(text, comments, prompts)
    return prompts, results


def _tokens(text: str) -> Iterator[tuple[int, int, str]]:
    """(begin, end, value) of strings and comments; a string that nobody closes goes to the end."""
    at = 0
    for _ in range(MAX_TOKENS):
        found = _TOKEN.search(text, at)
        if found is None:
            return
        at, mark = found.end(), found.group()
        if mark in ('"""', "'''"):
            end = text.find(mark, at)
            end = end if end >= 0 else len(text)
            yield found.start(), min(end + 3, len(text)), _unescaped(text[at:end])
            at = end + 3
        elif mark[0] == "#":
            yield found.start(), at, mark.lstrip("#")
        else:
            yield found.start(), at, _unescaped(mark[1:-1])


def _lead(text: str, begin: int) -> tuple[str, str]:
    """(name, sign) of what stands before a literal: prompt = "...", "text": "...", f("..."), with brackets between; ("", "") for nothing such."""
    at = begin
    while at > 0 and begin - at < 2 and text[at - 1] in "furbFURB":
        at -= 1
    if at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_"):
        at = begin
    stop = max(0, at - 120)
    while at > stop and text[at - 1] in " \t\r\n([{":
        at -= 1
        if text[at] == "(" and at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_"):
            return _word_before(text, at), "("
    sign = text[at - 1] if at > 0 else ""
    if sign not in ("=", ":") or text[max(0, at - 2) : at] in ("==", "!=", "<=", ">="):
        return "", ""
    if sign == ":" and text[max(0, at - 2)] not in "\"'" and "\n" in text[at:begin]:  # a docstring behind "def f():"
        return "", ""
    return _word_before(text, len(text[max(0, at - 60) : at - 1].rstrip(" \t\"'")) + max(0, at - 60)), sign


def _word_before(text: str, end: int) -> str:
    begin = end
    while begin > 0 and end - begin < 48 and (text[begin - 1].isalnum() or text[begin - 1] == "_"):
        begin -= 1
    return text[begin:end]


def keyed_strings(text: str) -> Iterator[tuple[str, str, int]]:
    """(key, text, offset of the text) of everything like "key": "text" in JSON, in a Python literal or in a call."""
    for begin, _, value in _tokens(text):
        if text[begin] != "#":
            name, sign = _lead(text, begin)
            if name and sign != "(":
                yield name, value, begin


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED[found.group(1)], text) if "\\" in text else text


def _is_formatted(text: str, begin: int) -> bool:
    return begin > 0 and text[begin - 1] in "fF"


def _is_sentence(value: str) -> bool:
    """Whether a literal can be a prompt, and not an id, a path or a key."""
    return is_language(value) and (any(one.isspace() for one in value.strip()) or not value.isascii())


def _statement(text: str, start: int) -> bool:
    """Whether a string that begins a line stands alone: the line above closes what it opened."""
    above = text[:start].rstrip()
    return above.endswith((")", "]", '"', "'")) or not above


def _name(text: str, begin: int, end: int) -> str | None:
    """What a literal is assigned to or given to, None when it can be no prompt."""
    name, sign = _lead(text, begin)
    if not sign or not name:
        return None
    if sign == "(":
        return None if name in _NO_CALL or name.endswith(("Config", "Error", "Tokenizer", "Template")) or name.startswith("load") else ""
    if name == "content":
        opened = text.rfind("{", max(0, begin - 300), begin)
        closed = text.find("}", end, end + 200)
        role = _ROLE.search(text, max(opened, 0), closed if closed >= 0 else end + 60)
        return "content" if role is None or role.group(1) == "user" else None
    if _ASKED.search(name):
        return None if re.search(r"system|template|path|file|_id$|max_|output|token|model", name, re.IGNORECASE) else name
    return None if _NO_PROMPT.search(name) else name


def _in_comments(text: str, comments: list[tuple[int, str]], prompts: list[Shown]) -> Iterator[tuple[int, str]]:
    """Comments that show a result: "# Output: ...", "# => ...", "# [{'label': ..."; each with the comment lines that go on from it."""
    done = -1
    for index, (at, value) in enumerate(comments):
        if at < done or not prompts or at < prompts[0].at:
            continue
        found = _RESULT.match(value)
        rest = found.group("rest") if found else ""
        if found and found.group("label") and role_of(found.group("label")) != "output" and not (_SAYS.search(found.group("label")) and len(found.group("label").split()) <= 4):
            found = None
        if found is None and not (_SAYS.fullmatch(value.strip(" .:*=-")) or role_of(value.strip(" .:*=-")) == "output"):
            found = None
            if not _is_echo(text, at, value, index == len(comments) - 1, prompts[-1]):
                continue
            rest = value.strip()
        parts, done = [rest.strip()], at + 1
        for later, more in comments[index + 1 :]:
            if text[text.rfind("\n", 0, later) + 1 : later].strip() or text.count("\n", done, later) > 1:
                break
            parts.append(more.strip())
            done = later + 1
        output = "\n".join(parts).strip()
        if output and is_concrete(output):
            yield at, output


def _is_echo(text: str, at: int, value: str, is_last: bool, prompt: Shown) -> bool:
    """Whether a plain comment at the end of the code is a result: it says again what the prompt says (a summary)."""
    if not is_last or text[at:].rstrip().count("\n") > 0 or len(value) < 30:
        return False
    own = set(re.findall(r"\w{4,}", value.casefold()))
    return len(own & set(re.findall(r"\w{4,}", prompt.prompt.casefold()))) >= 3


def _listed(text: str, results: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Results that stand in the code as they were printed: [{'label': 'POSITIVE', ...}] on a line of its own."""
    for found in _LISTED.finditer(text):
        above = text[: found.start()].rstrip()
        if above and above[-1] in ")" and text.count("\n", len(above), found.start() + 1) >= 1:
            stop = text.find("\n\n", found.end())
            output = text[found.end() : stop if stop >= 0 else len(text)].strip()
            if output and not any(abs(at - found.start()) < 2 for at, _ in results):
                yield found.end(), output


def _paired(prompts: list[Shown], results: list[tuple[int, str]], text: str) -> list[Shown]:
    """Each result with the prompt before it (a question and its context are one prompt)."""
    found: list[Shown] = []
    waiting: list[Shown] = []
    queue = sorted([(one.at, 0, one) for one in prompts] + [(at, 1, output) for at, output in results], key=lambda one: one[:2])
    for at, _, one in queue:
        if isinstance(one, Shown):
            waiting.append(one)
        elif waiting:
            trailing = [prompt for prompt in waiting if "\n" not in text[prompt.at : at]]
            found.append(_as_one(trailing or waiting, one))
            waiting = []
    return [*found, *([_as_one(waiting, None)] if waiting else [])]


def _as_one(prompts: list[Shown], output: str | None) -> Shown:
    """The prompt among literals: the one whose name says so; a context is added to it."""
    asked = [one for one in prompts if "context" not in one.name.lower()] or prompts
    first = asked[-1] if not asked[-1].name else next((one for one in asked if _ASKED.search(one.name)), asked[-1])
    contexts = [one.prompt for one in prompts if "context" in one.name.lower() and one is not first]
    return replace(first, prompt="\n\n".join([first.prompt, *contexts]), output=output)


def _doctest(text: str) -> Iterator[Shown]:
    """Lines behind `>>>` are code, the others what they print."""
    code: list[str] = []
    shown: list[str] = []
    begin = at = 0
    for line in [*text.split("\n"), ">>> "]:
        stripped = line.lstrip()
        if stripped.startswith((">>>", "... ")) or (not stripped and not shown):
            if shown:
                yield from _one_session("\n".join(code), "\n".join(shown), begin)
                code, shown, begin = [], [], at
            code.append(line.replace(">>>", "   ", 1) if stripped.startswith(">>>") else line.replace("...", "   ", 1))
        elif stripped.startswith(("#", "$", "ollama")) and not shown:
            code.append(line)
        else:
            shown.append(line)
        at += len(line) + 1
    if any(line.strip() for line in code):
        yield from _one_session("\n".join(code), "", begin)


def _one_session(code: str, output: str, begin: int) -> Iterator[Shown]:
    prompts, results = _read(code)
    if not prompts:
        said = code.strip()  # a chat in a terminal: behind `>>>` stands what was typed
        if "\n" not in said and _is_sentence(said) and is_concrete(said) and not _CODE_LINE.search(said) and output.strip():
            yield Shown(said, output.strip(), begin)
        return
    if output.strip() and is_concrete(output):
        one = _as_one(prompts, output.strip())
        yield replace(one, at=one.at + begin)
    else:
        for one in _paired(prompts, results, code):
            yield replace(one, at=one.at + begin)


def _without_label(text: str) -> str:
    """A result without the "Output:" before it."""
    label, colon, rest = text.strip().partition(":")
    return rest.strip() if colon and len(label) <= 40 and role_of(label) == "output" and rest.strip() else text.strip()
