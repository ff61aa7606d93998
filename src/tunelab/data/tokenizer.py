"""Text to token ids and back, without torch: the fast tokenizer's own file, its special tokens and its chat template.

Source of the rules: a tokenizer folder as transformers 5 reads it (tokenizer.json, tokenizer_config.json,
special_tokens_map.json, chat_template.jinja), and Axolotl 0.21's overrides on top of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.data.chunked_encoding import ChunkedEncoder, encoder_for
from tunelab.data.templates import render, resolve_template
from tunelab.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from tunelab.config.sections.model import ModelSection, SpecialTokens

_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_OVERRIDE_ORDER = ("bos_token", "eos_token", "pad_token", "unk_token")  # new ones get their ids in this order
_LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast")


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """A tokenizer as one run uses it.

    `vocab_size` counts added tokens too; `added_tokens` are those that `special_tokens` and `tokens` of the config made new;
    `fingerprint` is the same exactly when texts become the same ids. The chat template is not part of it.
    """

    folder: Path
    eos_token: str | None
    bos_token: str | None
    pad_token: str | None
    unk_token: str | None
    eos_id: int | None
    bos_id: int | None
    pad_id: int | None
    vocab_size: int
    chat_template: str | None
    added_tokens: tuple[str, ...]
    fingerprint: str
    backend: Any
    """The `tokenizers.Tokenizer` underneath; ask the methods instead where they do."""

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids. `special`: let the tokenizer add what its post-processor adds (BOS for Llama-like ones)."""
        if self._fast is not None and (not special or self._around is not None):
            before, after = (self._around or ((), ())) if special else ((), ())
            return [*before, *self._fast.ids(text), *after]
        ids: list[int] = self.backend.encode(text, add_special_tokens=special).ids
        return ids

    def encode_truncated(self, text: str, limit: int) -> list[int]:
        """Token ids with the post-processor's special tokens, cut at the right to `limit` ids in all."""
        if self._fast is not None and self._around is not None:
            before, after = self._around
            return [*before, *self._fast.ids(text)[:max(0, limit - len(before) - len(after))], *after]
        encoding = self.backend.encode(text, add_special_tokens=False)
        room = max(0, limit - self.backend.num_special_tokens_to_add(False))
        if len(encoding.ids) > room:
            encoding.truncate(room)
        ids: list[int] = self.backend.post_process(encoding, None, True).ids
        return ids

    def encode_windows(self, text: str, limit: int, overlap: int) -> list[list[int]]:
        """The text in windows of at most `limit` ids, each with the post-processor's special tokens; a window begins with the last `overlap`
        ids of the text in the one before."""
        if self._around is None:
            encoding = self.backend.encode(text, add_special_tokens=False)
            encoding.truncate(max(1, limit - self.backend.num_special_tokens_to_add(False)), stride=overlap)
            return [list(self.backend.post_process(one, None, True).ids) for one in (encoding, *encoding.overflowing)]
        before, after = self._around
        ids, room = self.encode(text, special=False), limit - len(before) - len(after)
        starts = range(0, max(1, len(ids) - overlap), room - overlap)
        return [[*before, *ids[start : start + room], *after] for start in starts]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids without added special tokens, and for each the characters [start, end) of `text` it covers."""
        ids, starts, ends = self.encode_with_borders(text)
        return ids, list(zip(starts, ends, strict=True))

    def encode_with_borders(self, text: str) -> tuple[list[int], Sequence[int], Sequence[int]]:
        """The same with the two characters in lists of their own, worked out when they are looked at."""
        if self._fast is not None:
            return self._fast.ids_and_borders(text)
        encoding = self.backend.encode(text, add_special_tokens=False)
        starts, ends = zip(*encoding.offsets, strict=True) if encoding.ids else ((), ())
        return encoding.ids, starts, ends

    @cached_property
    def _fast(self) -> ChunkedEncoder | None:
        """The quicker way to the same ids, where there is one."""
        return encoder_for(self.backend)

    @cached_property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The special tokens that the post-processor puts before and behind any text; None when it does something else."""
        plain, whole = ([*self.backend.encode("a", add_special_tokens=special).ids] for special in (False, True))
        for start in range(len(whole) - len(plain) + 1):
            if plain and whole[start:start + len(plain)] == plain and len(whole) - len(plain) == self.backend.num_special_tokens_to_add(False):
                return tuple(whole[:start]), tuple(whole[start + len(plain):])
        return None

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without what is quickly made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_fast"}

    def token_id(self, token: str) -> int | None:
        """The id of one token of the vocabulary."""
        found: int | None = self.backend.token_to_id(token)
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=False)
        return text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds: "" for all but the last token of a character that is split over several.

        Joined they give `decode(ids)`.
        """
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=False)
        pieces = [stream.step(self.backend, token) or "" for token in ids]
        whole, told = self.decode(ids), "".join(pieces)
        if pieces and whole != told and whole.startswith(told):
            pieces[-1] += whole[len(told):]  # the ids end inside a character
        return pieces

    def render(self, messages: Sequence[Mapping[str, Any]], *, template: str | None = None, add_generation_prompt: bool = False,
               tools: Sequence[Any] | None = None, variables: Mapping[str, Any] | None = None) -> str:
        """The text of a conversation in the tokenizer's template (or `template`, as text). `variables` are the template's own switches.

        Raises ConfigError when there is no template or it is broken, DataError when it refuses the conversation.
        """
        chosen = template if template is not None else self.chat_template
        if chosen is None:
            raise ConfigError("The tokenizer has no chat template.", where=str(self.folder), next_step="Set one: chat_template: chatml")
        known = {name: value for name in _ROLES if (value := getattr(self, name)) is not None}
        known |= {"documents": None, "add_generation_prompt": add_generation_prompt, **(variables or {})}
        return render(chosen, messages, {**known, "tools": list(tools) if tools else known.get("tools")})


def load_tokenizer(folder: Path, *, special_tokens: SpecialTokens | None = None, chat_template: str | None = None,
                   chat_template_jinja: str | None = None, tokens: Sequence[str] = (),
                   added_tokens_overrides: Mapping[int, str] | None = None) -> TextTokenizer:
    """Read a tokenizer folder and apply the config's overrides, in Axolotl's order: renamed tokens, special tokens by role, `tokens`,
    additional special tokens, a padding token, the chat template.

    Raises ModelError when the folder holds no usable tokenizer.json, ConfigError for an unknown `chat_template` or a token that is not there.
    """
    folder = Path(folder)
    backend = _read_backend(folder, added_tokens_overrides or {})
    settings = _json(folder / "tokenizer_config.json")
    roles = _special_roles(folder, settings, backend)
    renamed = {int(number): name for number, name in (added_tokens_overrides or {}).items()}
    _add(backend, [token for token in _listed_tokens(settings, renamed) if backend.token_to_id(token) is None])
    _add(backend, [token for token in roles.values() if backend.token_to_id(token) is None])
    known = set(backend.get_vocab(with_added_tokens=True))
    overrides = {name: value for name in _OVERRIDE_ORDER if special_tokens is not None and (value := getattr(special_tokens, name))}
    roles |= overrides
    more = list(special_tokens.additional_special_tokens or ()) if special_tokens is not None else []
    _add(backend, list(overrides.values()))
    _add(backend, list(tokens), special=False)
    _add(backend, more)
    pad = roles.get("pad_token") or _default_pad(settings, backend) or roles.get("eos_token")
    roles |= {"pad_token": pad} if pad else {}
    ids = {name: backend.token_to_id(token) for name, token in roles.items()}
    return TextTokenizer(
        folder=folder, eos_token=roles.get("eos_token"), bos_token=roles.get("bos_token"), pad_token=roles.get("pad_token"),
        unk_token=roles.get("unk_token"), eos_id=ids.get("eos_token"), bos_id=ids.get("bos_token"), pad_id=ids.get("pad_token"),
        vocab_size=backend.get_vocab_size(with_added_tokens=True),
        chat_template=resolve_template(chat_template, chat_template_jinja, _own_template(folder, settings)),
        added_tokens=tuple(dict.fromkeys(token for token in (*overrides.values(), *tokens, *more) if token not in known)),
        fingerprint=_fingerprint(folder, roles, backend), backend=backend)


def tokenizer_for(folder: Path, model: ModelSection) -> TextTokenizer:
    """The tokenizer of a model folder as a config sets it up. Raises ModelError, ConfigError."""
    return load_tokenizer(folder, special_tokens=model.special_tokens, chat_template=model.chat_template,
                          chat_template_jinja=model.chat_template_jinja, tokens=model.tokens or (),
                          added_tokens_overrides=model.added_tokens_overrides)


def tokenizer_files(tokenizer: TextTokenizer) -> dict[str, str]:
    """File name -> text of a tokenizer folder that reads texts as this run did: its tokens, roles and chat template included."""
    settings = _json(tokenizer.folder / "tokenizer_config.json")
    roles = {name: getattr(tokenizer, name) for name in _ROLES if getattr(tokenizer, name) is not None}
    settings = {**{key: value for key, value in settings.items() if key != "chat_template"}, **roles}
    files = {"tokenizer.json": tokenizer.backend.to_str(pretty=True), "tokenizer_config.json": json.dumps(settings, ensure_ascii=False, indent=2)}
    return files | ({"chat_template.jinja": tokenizer.chat_template} if tokenizer.chat_template is not None else {})


def _read_backend(folder: Path, renamed: Mapping[int, str]) -> Any:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError("There is no tokenizer.json in the model's folder.", where=str(folder),
                         next_step="Download it beside the weights, or write it once with transformers: "
                                   "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)")
    try:
        backend = Tokenizer.from_str(_with_names(path, renamed)) if renamed else Tokenizer.from_file(str(path))
    except ConfigError:
        raise
    except Exception as error:  # the Rust library raises plain Exception
        raise ModelError(f"tokenizer.json cannot be read: {error}.", where=str(path),
                         next_step="Download the file again; it may be cut off, or a Git LFS pointer.") from error
    backend.no_truncation()
    backend.no_padding()
    return backend


def _with_names(path: Path, renamed: Mapping[int, str]) -> str:
    """The text of tokenizer.json with other names for some added tokens. Raises ConfigError for an id that is none."""
    content = json.loads(path.read_text(encoding="utf-8"))
    added = {token["id"]: token for token in content.get("added_tokens") or []}
    vocabulary = (content.get("model") or {}).get("vocab")
    for number, name in renamed.items():
        token = added.get(int(number))
        if token is None:
            raise ConfigError(f"Token {number} is not an added token of this tokenizer, so it cannot be renamed to {name!r}.",
                              where="added_tokens_overrides", next_step=f"Its added tokens are {_some(added)}.")
        if isinstance(vocabulary, dict) and vocabulary.get(token["content"]) == number:
            del vocabulary[token["content"]]
            vocabulary[name] = number
        elif isinstance(vocabulary, list) and number < len(vocabulary):
            vocabulary[number] = [name, *vocabulary[number][1:]]
        token["content"] = name
    return json.dumps(content, ensure_ascii=False)


def _some(added: Mapping[int, Any]) -> str:
    shown = [f"{number} ({token['content']})" for number, token in sorted(added.items())]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") or "none"


def _json(path: Path) -> dict[str, Any]:
    """A JSON object from a side file; {} when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}.", where=str(path), next_step="Download the file again.") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not JSON: {error}.", where=str(path), next_step="Download the file again.") from error
    return value if isinstance(value, dict) else {}


def _content(value: Any) -> str | None:
    """A token is written as its text or as an object with `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _special_roles(folder: Path, settings: Mapping[str, Any], backend: Any) -> dict[str, str]:
    """Role -> token. The tokenizer's config decides; a model config's ids help out where it names no BOS or EOS."""
    older = _json(folder / "special_tokens_map.json")
    roles = {name: token for name in _ROLES if (token := _content(settings.get(name)) or _content(older.get(name)))}
    for name in ("bos_token", "eos_token"):
        if name in roles or name in settings:
            continue
        for file in ("generation_config.json", "config.json"):
            number = _json(folder / file).get(f"{name}_id")
            number = number[0] if isinstance(number, list) and number else number
            token = backend.id_to_token(number) if isinstance(number, int) and number >= 0 else None
            if token is not None:
                roles[name] = token
                break
    return roles


def _listed_tokens(settings: Mapping[str, Any], renamed: Mapping[int, str]) -> list[str]:
    """The added tokens of tokenizer_config.json in the order of their ids, under their new names."""
    listed = settings.get("added_tokens_decoder")
    if not isinstance(listed, dict):
        return []
    numbered = sorted((int(number), token) for number, value in listed.items() if number.isdigit() and (token := _content(value)))
    return [renamed.get(number, token) for number, token in numbered]


def _add(backend: Any, tokens: Sequence[str], *, special: bool = True) -> None:
    """Make tokens that are never split, not normalised, and swallow no whitespace. New ones get the next ids."""
    from tokenizers import AddedToken

    if tokens:
        made = [AddedToken(token, lstrip=False, rstrip=False, normalized=False, special=special) for token in tokens]
        (backend.add_special_tokens if special else backend.add_tokens)(made)


def _default_pad(settings: Mapping[str, Any], backend: Any) -> str | None:
    """Llama's own tokenizer has no padding token; its end-of-text token serves."""
    if settings.get("tokenizer_class") in _LLAMA_CLASSES and backend.token_to_id("</s>") is not None:
        return "</s>"
    return None


def _own_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"chat_template.jinja cannot be read: {error}.", where=str(path),
                             next_step="Download the file again.") from error
    written = settings.get("chat_template")
    if isinstance(written, list):  # several named ones; the one called default is the one for chats
        named = {one.get("name"): one.get("template") for one in written if isinstance(one, dict)}
        written = named.get("default")
    return written if isinstance(written, str) else None


def _fingerprint(folder: Path, roles: Mapping[str, str], backend: Any) -> str:
    added = sorted((number, str(token.content)) for number, token in backend.get_added_tokens_decoder().items())
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes())
    digest.update(json.dumps([sorted(roles.items()), added], ensure_ascii=False).encode())
    return digest.hexdigest()
