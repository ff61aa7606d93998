"""A Modelfile says what training said: its template, default system prompt and stop strings; and the server that gets it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.helpers.ollama_served import KINDS, Served, serving

from tunelab.data import templates
from tunelab.errors import DataError, ModelError
from tunelab.export.go_template import render
from tunelab.export.modelfile import Modelfile, Rendering, adapter_objection, create, create_adapted, modelfile

BOS, EOS = "<s>", "</s>"
LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}
{%- set messages = messages[1:] %}
{%- else %}{% set system = '' %}{% endif %}{% for m in messages %}{% if m['role'] == 'user' %}
{{- bos_token + '[INST] ' + (system if loop.index0 == 0 else '') + m['content'] + ' [/INST]' }}
{%- else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"""
ZEPHYR = """{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + eos_token + '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""
VICUNA = """{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + ' ' }}{% elif m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}
{%- else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}{{ 'ASSISTANT:' }}"""
SMOL = """{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are SmolLM.<|im_end|>\\n' }}{% endif %}""" + templates.CHATML


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The double, and the real server where one is named."""
    with serving(request.param) as one:
        yield one


def trained(jinja: str) -> Rendering:
    """A tokenizer's rendering with a Jinja template."""
    def rendering(messages: Sequence[Mapping[str, str]]) -> str:
        return templates.render(jinja, list(messages), {"bos_token": BOS, "eos_token": EOS, "add_generation_prompt": True})
    return rendering


@pytest.mark.parametrize(("jinja", "known", "stop"), [
    ("chatml", "chatml", "<|im_end|>"), ("llama3", "llama3", "<|eot_id|>"), ("alpaca", "alpaca", "###"), ("gemma3", "gemma", "<end_of_turn>"),
    ("gemma", "gemma", "<end_of_turn>"), ("phi_3", "phi3", "<|end|>"), ("phi_35", "phi3", "<|end|>"), ("mistral_v1", "mistral-v1", EOS),
    ("mistral_v2v3", "mistral-v3", EOS), ("mistral_v3_tekken", "mistral-tekken", EOS), (LLAMA2, "llama2", EOS), (ZEPHYR, "zephyr", EOS),
    (VICUNA, "vicuna", EOS), ("qwen_25", "chatml", "<|im_end|>"), (SMOL, "chatml", "<|im_end|>")])
def test_the_template_of_training_is_found_by_what_it_does(jinja: str, known: str, stop: str) -> None:
    found = modelfile(trained(jinja if "{" in jinja else templates.shipped(jinja)), bos=BOS, eos=EOS)
    assert found.known == known
    assert stop in found.stops


def test_a_default_system_prompt_is_not_lost() -> None:
    found = modelfile(trained(SMOL), bos=BOS, eos="<|im_end|>", context=8192)
    assert found.system == "You are SmolLM."
    assert "SYSTEM here" in found.notes[0]
    assert found.text("./model.gguf").splitlines()[0] == "FROM ./model.gguf"
    assert 'SYSTEM "You are SmolLM."' in found.text("./model.gguf")
    assert "PARAMETER num_ctx 8192" in found.text("./model.gguf")


def test_a_beginning_token_that_is_the_mark_of_a_turn_is_kept() -> None:
    found = modelfile(trained(templates.CHATML), bos="<|im_start|>", eos="<|im_end|>", context=512)
    assert (found.known, found.begin, found.parameters) == ("chatml", "", {"stop": ["<|im_start|>", "<|im_end|>"]})


def test_a_template_that_is_not_known_is_left_to_the_file_and_that_is_said() -> None:
    found = modelfile(trained("{% for m in messages %}### Human number {{ loop.index }}: {{ m['content'] }}\n{% endfor %}"), bos=BOS, eos=EOS)
    assert found.template is None
    assert "TEMPLATE" not in found.text("x.gguf")
    assert "tunelab parity" in found.notes[0]


def test_text_that_a_modelfile_cannot_hold_is_a_sentence() -> None:
    with pytest.raises(ModelError, match="Three quotation marks"):
        Modelfile(system='a """ b').text("x.gguf")


@pytest.mark.parametrize(("template", "text"), [
    ("{{ .System }}|{{ range .Messages }}{{ .Role }}={{ .Content }};{{ end }}", "S|system=S;user=a;"),
    ("x  {{- range $i, $m := .Messages -}}  {{ $i }}{{ $m.Role }} {{- end }} y", "x0system1user y"),
    ('{{ range .Messages }}{{ if and (eq .Role "user" "robot") (not $.Response) }}U{{ else if ne .Role "user" }}O{{ else }}?{{ end }}{{ end }}', "OU"),
    ("{{ len (slice .Messages 1) }}{{/* a remark */}}", "1")])
def test_gos_templates_are_rendered(template: str, text: str) -> None:
    assert render(template, [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}]) == text


def test_messages_of_one_role_are_one_as_in_ollama() -> None:
    assert render("{{ range .Messages }}[{{ .Content }}]{{ end }}", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]) == "[a\n\nb]"


@pytest.mark.parametrize("template", ["{{ if .System }}", "{{ end }}", "{{ .System | json }}", "{{ nothing }}", "{{ range .Messages }}x"])
def test_what_is_not_understood_is_a_sentence(template: str) -> None:
    with pytest.raises(DataError, match="template"):
        render(template, [{"role": "user", "content": "a"}])


def test_a_model_is_created_and_asked_what_it_is_fed(served: Served, tmp_path: Path) -> None:
    gguf = _file(served, tmp_path)
    served.made.append("tunelab-test-created")
    rendering = trained(templates.CHATML)
    seen: list[str] = []
    for _ in range(2):
        found = create(served.server, "tunelab-test-created", gguf, modelfile(rendering, eos="<|im_end|>"), rendering=rendering,
                       progress=lambda status, *_: seen.append(status))
    assert (found.differing, found.unproven) == ((), False)
    assert seen[-1] == "success"
    assert served.open("tunelab-test-created").facts()["stop"] == ["<|im_start|>", "<|im_end|>"]


def test_a_model_that_is_fed_other_text_than_in_training_is_told(served: Served, tmp_path: Path) -> None:
    gguf = _file(served, tmp_path)
    served.made.append("tunelab-test-other")
    found = create(served.server, "tunelab-test-other", gguf, Modelfile(), rendering=trained(templates.shipped("llama3")))
    assert "training has" in found.differing[0]


def test_what_the_server_says_against_a_model_is_kept(served: Served, tmp_path: Path) -> None:
    gguf = _file(served, tmp_path)
    with pytest.raises(ModelError, match="template error"):
        create(served.server, "tunelab-test-broken", gguf, Modelfile(template="{{ if .System }"))


def test_adapters_go_only_where_they_are_applied_rightly(tmp_path: Path) -> None:
    gguf, peft = tmp_path / "a.gguf", tmp_path / "adapter_model.safetensors"
    gguf.write_bytes(b"GGUF....")
    peft.write_bytes(b"{}      ")
    assert adapter_objection("llama", gguf) is None
    assert "llama" in str(adapter_objection("qwen2", gguf))
    assert "wrongly" in str(adapter_objection("llama", peft))


def test_an_adapter_is_put_on_a_model_of_the_server(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(b"GGUF....")
    with serving("double") as one:
        found = create_adapted(one.server, "tuned", "smol", adapter, architecture="llama")
        assert found.name == "tuned:latest"
        assert one.double is not None
        assert one.double.asked("/api/create")[-1]["from"] == "smol"
        with pytest.raises(ModelError, match="merged model"):
            create_adapted(one.server, "tuned", "smol", adapter, architecture="qwen2")


def _file(served: Served, tmp_path: Path) -> Path:
    """A GGUF that the server takes: the double takes any, a real one needs a model."""
    if served.double is None:
        from tests.helpers.ollama_served import embedded_gguf

        return embedded_gguf()
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and what belongs to it")
    return path
