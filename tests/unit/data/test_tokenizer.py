"""A tokenizer folder: ids and text there and back, special tokens and their overrides, templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelab.config.sections.model import SpecialTokens
from tunelab.data.templates import CHATML, message_keys
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.errors import ConfigError, DataError, ModelError

TALK = [{"role": "user", "content": "say red"}, {"role": "assistant", "content": "red red"}]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab é🙂👩‍👩‍👧\n日\ufffd<|im_end|>")))
def test_pieces_joined_are_the_text(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids) == text


def test_a_split_character_stands_whole_on_its_last_token(tokenizer: TextTokenizer) -> None:
    assert tokenizer.pieces(tokenizer.encode("🙂é")) == ["", "", "", "🙂", "", "é"]


def test_ids_that_end_inside_a_character_keep_their_remainder(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("a🙂")[:-1]
    assert "".join(tokenizer.pieces(ids)) == tokenizer.decode(ids)


def test_no_ids_no_pieces(tokenizer: TextTokenizer) -> None:
    assert tokenizer.pieces([]) == []


def test_offsets_cover_the_text(tokenizer: TextTokenizer) -> None:
    text = "say red <|im_end|>\nblue"
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text)
    assert "".join(text[start:end] for start, end in offsets) == text


def test_special_tokens_are_read(tokenizer: TextTokenizer) -> None:
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
    assert tokenizer.encode("<|im_start|><|im_end|>") == [tokenizer.bos_id, tokenizer.eos_id]
    assert tokenizer.added_tokens == ()


def test_bos_of_the_post_processor_counts_towards_the_limit(tokenizer_folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    assert tokenizer.encode("red")[0] == 1
    assert tokenizer.encode("red", special=False)[0] != 1
    cut = tokenizer.encode_truncated("red green blue one two three", 4)
    assert len(cut) == 4 and cut == tokenizer.encode("red green blue one two three")[:4]


def test_no_pad_token_means_eos(changed_folder: Callable[..., Path]) -> None:
    tokenizer = load_tokenizer(changed_folder(pad_token=None))
    assert tokenizer.pad_id == tokenizer.eos_id


def test_the_model_config_helps_out_with_eos(changed_folder: Callable[..., Path]) -> None:
    folder = changed_folder(eos_token=None)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": [2, 0]}), encoding="utf-8")
    assert load_tokenizer(folder).eos_token == "<|im_end|>"


def test_overrides_name_the_tokens_that_are_new(tokenizer_folder: Path, tokenizer: TextTokenizer) -> None:
    overrides = SpecialTokens(eos_token="<|endoftext|>", pad_token="<pad>", additional_special_tokens=["<tool>", "<|im_end|>"])
    changed = load_tokenizer(tokenizer_folder, special_tokens=overrides)
    assert (changed.eos_id, changed.pad_token) == (0, "<pad>")
    assert changed.added_tokens == ("<pad>", "<tool>")
    assert changed.vocab_size == tokenizer.vocab_size + 2
    assert len(changed.encode("a<tool>b")) == 3
    assert changed.fingerprint != tokenizer.fingerprint


def test_fingerprint_is_the_same_for_the_same_folder(tokenizer_folder: Path, tokenizer: TextTokenizer) -> None:
    assert load_tokenizer(tokenizer_folder).fingerprint == tokenizer.fingerprint


def test_missing_or_broken_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json") as missing:
        load_tokenizer(tmp_path)
    assert missing.value.next_step
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_template_file_wins_over_the_config(changed_folder: Callable[..., Path]) -> None:
    folder = changed_folder()
    (folder / "chat_template.jinja").write_text("{{ messages|length }}", encoding="utf-8")
    assert load_tokenizer(folder).render(TALK) == "2"


def test_named_templates_take_the_default(changed_folder: Callable[..., Path]) -> None:
    folder = changed_folder(chat_template=[{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}])
    assert load_tokenizer(folder).chat_template == "yes"


def test_chatml_and_the_prompt_for_an_answer(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder, chat_template="chatml")
    assert tokenizer.chat_template == CHATML
    assert tokenizer.render(TALK[:1], add_generation_prompt=True) == "<|im_start|>user\nsay red<|im_end|>\n<|im_start|>assistant\n"


def test_jinja_template_as_text_and_as_file(tokenizer_folder: Path, tmp_path: Path) -> None:
    text = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    expected = "[user]say red<|im_end|>[assistant]red red<|im_end|>"
    assert load_tokenizer(tokenizer_folder, chat_template="jinja", chat_template_jinja=text).render(TALK) == expected
    path = tmp_path / "own.jinja"
    path.write_text(text, encoding="utf-8")
    assert load_tokenizer(tokenizer_folder, chat_template_jinja=str(path)).render(TALK) == expected


@pytest.mark.parametrize(("name", "jinja", "message"), [
    ("vicuna", None, "not known"), ("jinja", None, "is empty"), ("jinja", "nowhere.jinja", "cannot be read")])
def test_template_settings_that_cannot_be_followed(tokenizer_folder: Path, name: str, jinja: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_tokenizer(tokenizer_folder, chat_template=name, chat_template_jinja=jinja)
    assert error.value.next_step


def test_template_environment_is_the_one_that_templates_expect(tokenizer: TextTokenizer) -> None:
    template = ("{% for m in messages %}\n"
                "    {% if m.role == 'system' %}{% continue %}{% endif %}\n"
                "    {% generation %}{{ m.content }}{% endgeneration %}\n"
                "{% endfor %}\n"
                "{{ {'a': '<é>'} | tojson }}|{{ strftime_now('%Y') | length }}|{{ tools[0].name }}|{{ bos_token }}")
    messages = [{"role": "system", "content": "no"}, {"role": "user", "content": "yes"}]
    assert tokenizer.render(messages, template=template, tools=[{"name": "f"}]) == 'yes{"a": "<é>"}|4|f|<|im_start|>'


def test_a_template_that_refuses_names_its_reason(tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match="roles must alternate"):
        tokenizer.render(TALK, template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ConfigError, match="line 2 of the template"):
        tokenizer.render(TALK, template="\n{% if %}")


@pytest.mark.parametrize("template", [
    "{{ messages.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}"])
def test_templates_stay_in_their_sandbox(tokenizer: TextTokenizer, template: str) -> None:
    with pytest.raises(DataError):
        tokenizer.render(TALK, template=template)


def test_message_keys_follow_loops_and_assignments() -> None:
    template = ("{% set rest = messages[1:] %}{% for m in rest %}{{ m.role + m['content'] }}"
                "{% for call in m.tool_calls %}{{ call.function.name }}{% endfor %}{% endfor %}{{ other.secret }}")
    assert message_keys(template) == {"role", "content", "tool_calls", "function", "name"}


def test_tokens_and_renamed_tokens(tokenizer_folder: Path, tokenizer: TextTokenizer) -> None:
    changed = load_tokenizer(tokenizer_folder, tokens=["<call>", "red"], added_tokens_overrides={0: "<tool>"},
                             special_tokens=SpecialTokens(pad_token="<pad>", additional_special_tokens=["<more>"]))
    assert changed.token_id("<tool>") == 0 and len(changed.encode("<tool>")) == 1
    # New tokens get their ids in this order: those with a role, `tokens`, additional special ones.
    assert changed.added_tokens[:2] == ("<pad>", "<call>") and changed.added_tokens[-1] == "<more>"
    ids = [changed.token_id(token) or 0 for token in changed.added_tokens]
    # <|endoftext|>, which 0 was called before, still has a role: it comes back as a token of its own, as in Axolotl.
    assert ids == list(range(tokenizer.vocab_size + 1, tokenizer.vocab_size + 1 + len(ids)))
    assert changed.fingerprint != tokenizer.fingerprint
    with pytest.raises(ConfigError, match="not an added token") as error:
        load_tokenizer(tokenizer_folder, added_tokens_overrides={77: "x"})
    assert error.value.where == "added_tokens_overrides"


def test_switches_of_a_template(tokenizer: TextTokenizer) -> None:
    assert tokenizer.render(TALK, template="{{ loud }}{{ bos_token }}", variables={"loud": "yes", "bos_token": "B"}) == "yesB"
