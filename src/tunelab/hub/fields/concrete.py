"""Whether a text is a concrete prompt or output: not a template's place for one, not a library's stock phrase, not a description of what goes in."""

from __future__ import annotations

import re

_NAMES = (r"(?:your|the|user|system|prompt|instruction|input|question|query|message|text|sentence|context|output|response|answer|character|char|name|task|content|document|article|"
          r"insert|placeholder|completion|code|source|target|chat|schema|conversation|history|first|last|original|translation|summary|label|bot|assistant|model|reply|role|persona|"
          r"任意|任務|ここ|问题|問題|指令|质问|質問|입력|질문)")
_PLACE = re.compile(
    rf"\{{\{{?[ \t]*[.$]?{_NAMES}[^{{}}\n]{{0,60}}\}}|\{{\}}|<[ \t]*{_NAMES}(?:[ _-][^<>\n]{{0,60}})?>|\[[ \t]*(?:your|insert|the user|user|prompt|instruction|input|question|text|"
    rf"message|query|system|more information|content)\b[^\[\]\n]{{0,60}}\](?!\()|\$\{{?{_NAMES}|%\(?\w{{0,20}}\)?s\b|\bPLACEHOLDER|(?-i:\b(?:YOUR|INSERT)[ _][A-Z]{{2,}})", re.IGNORECASE)
_WHOLE = re.compile(
    r"[\W_]*(?:\{[^{}\n]{0,80}\}|<[^<>\n|]{1,60}>|\[[^\[\]\n]{1,80}\]|\.{2,}|…|(?:enter |put |insert |type |write |add )?(?:your|the|a|my|some|any|user(?:'s)?)? ?(?:own )?(?:input|user|source|"
    r"system|example|sample|long|first|new|test|raw)? ?(?:prompt|question|instruction|input|text|message|query|sentence|content|article|document|code|review|tweet|request|response|output|answer|"
    r"string|context|reply|summary|translation|news|paragraph|goes|story)(?:s)?(?: ?(?:goes|text|to \w+|you want to \w+)){0,2}(?: here| 1)?|text|string|here|lorem ipsum.{0,400}|user_?(?:input|message)|none|null|n/?a|tbd|todo|"
    r"more information needed|\$\w+)[\W_]*", re.IGNORECASE | re.DOTALL)
_GREETING = re.compile(r"\W*(?:hello|hi|test|hey|foo|bar|hello[,!]? (?:world|there|how are you(?: today| doing)?)|(?:hi[,!]? )?how are you(?: doing| today)?)\W*", re.IGNORECASE)
_NOT_PLACE = re.compile(r"[\[(]*\{\s*[\"'\w]+\s*:|[\[(]+[\"'(]|\[(?:MASK|INST|SEP|CLS)\]|<(?:mask|extra_id_\d+|s|sep|tool_call|think)>", re.IGNORECASE)
_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>")
_HERE = re.compile(r"\b(?:your|the|some|a) (?:\w+ ){0,3}(?:here|goes here|to be \w+)\b|^\.\.\.|\b(?:Lorem ipsum)\b|此处|在这里|ここに|여기에", re.IGNORECASE)
_STOCK = re.compile(
    r"if you had a time machine|^hello,? my (?:dog|name) is\b|^once upon a time\W{0,4}$|replace me by any text|^the capital of france is\W*$|favou?rite condiment|mayonnaise recipes|"
    r"ways to eat combinations of bananas|^what is a large language model\W*$|^(?:who|what) are you\W*$|how can i help you(?: today)?\W*$|^hello world|"
    r"give me a short introduction to large language models?|^this is an? (?:example|test|sample)(?: (?:sentence|text|input))?\W*$|^each sentence is converted\W*$|"
    r"how many helicopters can a human eat|pirate chatbot|the weather is lovely today|^tell me about ai\W*$|^tell me a story\W*$|^tell me a joke\W*$|^i'?m doing great\b|^write a (?:hello world program|python function that)\W*$", re.IGNORECASE)
_FILLER = frozenset(["plain", "raw", "free", "natural", "english", "language", "any", "a", "an", "one", "the", "single", "user", "input", "preprocessed", "tokenized", "generated", "model", "models", "text", "string", "it", "only", "of", "or", "and", "multilingual", "accepts", "accept", "takes", "take", "inputs", "generate", "generates", "receives", "outputs", "short", "long", "1d", "2d", "rgb"])
_SORTS = frozenset(["text", "textual", "strings", "string", "image", "images", "audio", "token", "tokens", "sequence", "sequences", "json", "list", "lists", "label", "labels", "probability", "probabilities", "logit", "logits", "score", "scores", "embedding", "embeddings", "tensor", "tensors", "float", "integer", "vector", "vectors", "array", "code", "dictionary"])
_AFTER_SORT = frozenset(["only", "string", "strings", "data", "input", "inputs", "prompt", "prompts", "sequence", "sequences", "generation", "such", "of", "in", "that", "and", "with", "up", "to", "for", "between", "containing", "from", "or", "as", "object", "tokens", "tensor", "array"])
_CODE = re.compile(
    r"^\s*(?:from \w[\w.]* import |import [\w.]+(?: as \w+)?[ \t]*(?:$|[,;#])|!?pip3? install|git (?:clone|lfs)|(?:curl|wget) (?:-|http|\")|docker (?:run|pull|compose|build)|ollama (?:run|pull)|"
    r"huggingface-cli|python3? (?:-m |[-\w/.]+\.py)|(?:npm|conda|brew) (?:i|install|run|create|activate)\b|sudo |apt(?:-get)? install|cd [\w./~-]+$|\./\w|llama-|vllm serve|#!/|FROM \S+\n|"
    r"c?make(?: -|$)|mlx_lm|\$ |(?:model|tokenizer|pipe)\w* ?= ?)|from_pretrained\(|\bpipeline\(|\.generate\(|SentenceTransformer\(|load_model\(|https://api\.", re.MULTILINE)


def is_place(text: str) -> bool:
    """Whether it is the place for a text: "{prompt}", "<your question>", "...", "Your text here"."""
    bare = text.strip(" \t\r\n\"'`*_")
    head = _TOKEN.sub("", bare[:4000])
    if not any(letter.isalnum() for letter in head.replace("\\n", "")) or (len(bare) < 80 and _HERE.search(head)):
        return True
    if _WHOLE.fullmatch(head[:400]) and len(head) <= 400 and not _NOT_PLACE.match(bare):
        return True
    return bool(_PLACE.search(head))


def is_concrete(text: str) -> bool:
    """Whether it is a text and not the place for one, and more than a greeting."""
    return not is_place(text) and not _GREETING.fullmatch(text[:60])


def is_answer(text: str) -> bool:
    """Whether it can be a model's output; a long one may hold what looks like the place for a text (code, a letter to fill in)."""
    return text.strip().isdecimal() or (len(text) > 100 and any(letter.isalnum() for letter in text[:4000])) or not is_place(text)


def is_stock(text: str) -> bool:
    """Whether it is a phrase that libraries write into every card."""
    return bool(_STOCK.search(text.strip(" \t\r\n\"'`*_")[:300]))


def is_specific(text: str) -> bool:
    """Whether a prompt in usage code says something of this model: five words, or another script than the Latin one."""
    return (len(text.split()) >= 5 or sum(not one.isascii() and one.isalpha() for one in text) >= 6) and not is_stock(text)


def is_specification(text: str) -> bool:
    """Whether it says what sort of thing goes in or comes out ("text only"), and is none."""
    words = re.findall(r"[^\W_]+|[(,;.:]", text[:120].casefold())
    first = next((index for index, word in enumerate(words) if word not in _FILLER and word not in "(,;.:"), len(words))
    sort = first if first < len(words) and words[first] in _SORTS else next((index for index in range(first - 1, -1, -1) if words[index] in _SORTS), -1)
    rest = words[sort + 1 : sort + 2]
    return sort >= 0 and (not rest or rest[0] in _AFTER_SORT or rest[0] in "(,;.:" or first >= 3)


def is_usage_code(text: str) -> bool:
    """Whether it is code or commands for running a model."""
    return bool(_CODE.search(text))


def is_language(text: str) -> bool:
    """Whether it is a text in some language: two words, or four letters of a script without blanks between words."""
    words = re.findall(r"[^\W\d_]{2,}", text[:400])
    return len(words) >= 2 or sum(not letter.isascii() and letter.isalpha() for letter in text[:400]) >= 4
