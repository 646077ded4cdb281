"""Chat templates: what real models' Jinja templates become in Ollama's language, and which are refused."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct
from tagship.formats.ollama.chat import load_chat
from tagship.formats.ollama.go_template import (
    ChatTemplate,
    Message,
    NotDerivable,
    derive,
    go_literal,
)
from tagship.formats.ollama.orders import conversations
from tagship.system.errors import ReleaseError


class Model(Struct, frozen=True, kw_only=True):
    """How a model family is talked to: its Jinja template, and its special tokens."""

    jinja: str
    bos: str
    eos: str
    special: tuple[str, ...] = ()
    system: bool = True

    def render(self, messages: Sequence[Message]) -> str:
        """A prompt as transformers makes it, but for the token that begins a text, which the runtime puts. An answer at
        the end is gone on with."""
        goes_on = messages[-1]["role"] == "assistant"
        try:
            text = compiled(self.jinja).render(
                messages=list(messages), bos_token=self.bos, eos_token=self.eos, add_generation_prompt=not goes_on
            )
        except jinja2.TemplateError as error:
            raise ValueError(str(error)) from None
        if goes_on:
            begun, said, _ = text.rpartition(messages[-1]["content"])
            text = begun + said
        return text.removeprefix(self.bos) if self.bos else text

    def derive(self) -> ChatTemplate:
        return derive(self.render, [token for token in (self.bos, self.eos, *self.special) if token])


@lru_cache
def compiled(jinja: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(jinja)


def refuse(message: str) -> NoReturn:
    raise ValueError(message)


def message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


PHI_3 = Model(
    jinja="{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<|system|>\n' + message['content'] + '<|end|>\n' }}{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' + message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    bos="<s>",
    eos="<|endoftext|>",
    special=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
)
PHI_3_FIRST = Model(
    jinja="{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}",
    bos="<s>",
    eos="<|endoftext|>",
    special=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    system=False,
)
LLAMA_3 = Model(
    jinja="{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    special=("<|start_header_id|>", "<|end_header_id|>"),
)
LLAMA_3_1 = Model(
    jinja="{{- bos_token }}{%- if messages[0]['role'] == 'system' %}"
    "{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{- 'Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n' }}"
    "{{- system_message }}{{- '<|eot_id|>' }}"
    "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' +"
    " message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}",
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    special=("<|start_header_id|>", "<|end_header_id|>"),
)
CHATML = Model(
    jinja="{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    bos="",
    eos="<|im_end|>",
    special=("<|im_start|>",),
)
QWEN_2_5 = Model(
    jinja="{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}{%- else %}"
    "{{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}"
    "{%- endif %}{%- for message in messages %}"
    "{%- if (message.role == 'user') or (message.role == 'system' and not loop.first)"
    " or (message.role == 'assistant') %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}",
    bos="",
    eos="<|im_end|>",
    special=("<|im_start|>", "<|endoftext|>"),
)
MISTRAL_START = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
    "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}"
    "{{- bos_token }}{%- for message in loop_messages %}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('After the optional system message, conversation roles must alternate') }}{%- endif %}"
)
MISTRAL = Model(  # of the Instruct v0.1 and v0.2: a space is before an answer that was given, none before a new one
    jinja=MISTRAL_START + "{%- if message['role'] == 'user' %}{%- if loop.first and system_message is defined %}"
    "{{- ' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]' }}"
    "{%- else %}{{- ' [INST] ' + message['content'] + ' [/INST]' }}{%- endif %}"
    "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token}}{%- endif %}{%- endfor %}",
    bos="<s>",
    eos="</s>",
)
MISTRAL_PLAIN = Model(
    jinja=MISTRAL_START + "{%- if message['role'] == 'user' %}{%- if loop.first and system_message is defined %}"
    "{{- '[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
    "{%- elif message['role'] == 'assistant' %}{{- message['content'] + eos_token}}{%- endif %}{%- endfor %}",
    bos="<s>",
    eos="</s>",
    special=("[INST]", "[/INST]"),
)
GEMMA = Model(
    jinja="{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    bos="<bos>",
    eos="<eos>",
    special=("<start_of_turn>", "<end_of_turn>"),
    system=False,
)
GEMMA_3 = Model(
    jinja="{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}{%- set loop_messages = messages[1:] -%}"
    "{%- else -%}{%- set first_user_prefix = '' -%}{%- set loop_messages = messages -%}{%- endif -%}"
    "{%- for message in loop_messages -%}"
    "{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}"
    "{%- else -%}{%- set role = message['role'] -%}{%- endif -%}"
    "{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}{{ message['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}",
    bos="<bos>",
    eos="<eos>",
    special=("<start_of_turn>", "<end_of_turn>"),
)
ZEPHYR = Model(
    jinja="{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    bos="<s>",
    eos="</s>",
)
ALPACA = Model(  # braces of the template itself are text in Go's language too
    jinja="{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '{{ask}} {' + message['content'] + '}\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ '{{' + message['content'] + '{\n' }}{% endif %}{% endfor %}{{ '{{' }}",
    bos="<s>",
    eos="</s>",
    system=False,
)
MODELS = {
    "phi-3": PHI_3,
    "phi-3-first": PHI_3_FIRST,
    "llama-3": LLAMA_3,
    "llama-3.1": LLAMA_3_1,
    "chatml": CHATML,
    "qwen-2.5": QWEN_2_5,
    "mistral": MISTRAL,
    "mistral-plain": MISTRAL_PLAIN,
    "gemma-3": GEMMA_3,
    "zephyr": ZEPHYR,
    "braces": ALPACA,
}
QUESTION = [message("user", "What is {{ this }}?")]
SYSTEM = message("system", "You write AVRO schemas.\nBe brief.")


@pytest.fixture(params=list(MODELS.values()), ids=list(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.param
    return found


def test_derived_template_renders_the_same(model: Model) -> None:
    """What is derived renders every order of messages to the very text of the model's own template, but for those that
    it refuses."""
    template, compared = model.derive(), 0
    for messages in conversations():
        try:
            expected = model.render(messages)
        except ValueError:
            continue
        compared += 1
        assert template.render(messages) == expected
    assert compared >= 6  # questions and answers in turn, with a system message and without


def test_go_uses_the_language_alone(model: Model) -> None:
    """The Go text needs no function beyond Go's own and no value but messages and the system prompt."""
    go = model.derive().go()
    actions = [piece.partition("}}")[0] for piece in go.split("{{")[1:]]
    words = {word for action in actions for word in action.replace("(", " ").replace(")", " ").split()}
    names = {word for word in words if not word.startswith('"') and not word.isdecimal()}
    assert names <= {
        *("if", "else", "end", "range", "and", "not", "eq", "ne", "lt", "len", "slice", ":=", "$i,", "$_"),
        *("$i", "$last", "$folds", "index", "or", "$.Messages", ".Messages", ".Role", ".Content"),
    }


PHI_3_GO = (
    "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
    '{{ if eq .Role "system" }}<|system|>\n{{ .Content }}<|end|>\n'
    '{{ else if eq .Role "user" }}<|user|>\n{{ .Content }}<|end|>\n'
    '{{ else if eq .Role "assistant" }}<|assistant|>\n{{ .Content }}{{ if not $last }}<|end|>\n{{ end }}{{ end }}'
    '{{ if and $last (ne .Role "assistant") }}<|assistant|>\n{{ end }}{{ end }}'
)


def test_go_text() -> None:
    """Phi-3's template in Go's language, as people would write it."""
    assert PHI_3.derive().go() == PHI_3_GO


def test_default_system_prompt() -> None:
    """A default system prompt is said unless a system message begins the conversation; also before an answer."""
    template = QWEN_2_5.derive()
    answered = [message("assistant", "Hello!"), *QUESTION]
    assert "You are Qwen" in template.render(QUESTION)
    assert template.render(answered).count("<|im_end|>") == 3
    assert "You are Qwen" in template.render([*QUESTION, SYSTEM, *QUESTION])
    assert "You are Qwen" not in template.render([SYSTEM, *QUESTION])
    assert "{{ if eq $i 0 }}<|im_start|>system\nYou are Qwen" in template.go()


def test_system_in_the_first_user_message() -> None:
    """A system prompt that the model's template folds into the first user message stands there in Go's too."""
    template = MISTRAL.derive()
    assert template.folded == "\n\n"
    assert "{{ if $folds }}{{ (index $.Messages 0).Content }}\n\n{{ end }}{{ .Content }}" in template.go()


def test_letters_that_a_modelfile_loses() -> None:
    """They are said by actions of Go's language, and so are three quotes and braces."""
    assert go_literal("a\u00a0b\r{{c{") == r'a{{ "\U000000a0" }}b{{ "\U0000000d" }}{{ "{" }}{c{{ "{" }}'
    assert '"""' not in go_literal('"""x""""')
    assert go_literal("\u4e2d \U0001f600\n\t") == "\u4e2d \U0001f600\n\t"


# What cannot be expressed

EACH = "{% for message in messages %}"
REFUSED = {
    "numbered turns": f"{EACH}{{{{ loop.index }}}}. {{{{ message.role }}}}: {{{{ message.content }}}}\n"
    "{% endfor %}assistant: ",
    "last message alone": "<user>{{ messages[-1].content }}<assistant>",
    "answers left out": f"{EACH}{{% if message.role != 'assistant' %}}<user>{{{{ message.content }}}}{{% endif %}}"
    "{% endfor %}<assistant>",
    "long history left out": "{% for message in messages[-3:] %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "<assistant>",
    "content changed": f"{EACH}<{{{{ message.role }}}}>{{{{ message.content | upper }}}}{{% endfor %}}<assistant>",
    "lines joined": f"{EACH}<{{{{ message.role }}}}>{{{{ message.content.split('\\n') | join(' ') }}}}{{% endfor %}}"
    "<assistant>",
    "first answer otherwise": f"{EACH}<{{{{ message.role }}}}{{% if loop.index == 2 %}} first{{% endif %}}>"
    "{{ message.content }}{% endfor %}<assistant>",
    "refuses long conversations": "{% if messages | length > 4 %}{{ raise_exception('too long') }}{% endif %}"
    f"{EACH}<{{{{ message.role }}}}>{{{{ message.content }}}}{{% endfor %}}<assistant>",
    "refuses everything": "{{ raise_exception('no conversations') }}",
    "no system messages": GEMMA.jinja,
    "system at the end": f"{EACH}{{% if message.role != 'system' %}}<{{{{ message.role }}}}>{{{{ message.content }}}}"
    "{% endif %}{% endfor %}"
    "{% if messages[0].role == 'system' %}<system>{{ messages[0].content }}{% endif %}<assistant>",
}


@pytest.mark.parametrize("jinja", REFUSED.values(), ids=REFUSED.keys())
def test_refused(jinja: str) -> None:
    """A template that does more than put text around messages is not derived, nor one that refuses what clients send:
    Go's language has nothing to refuse it with."""
    with pytest.raises(NotDerivable):
        Model(jinja=jinja, bos="", eos="").derive()


# Reading it from a model's folder

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """A function that writes a model's tokenizer with a chat template, and its generation config."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")

    def make(
        chat_template: str | None,
        generation: dict[str, Any] | str | None = None,
        *,
        vocabulary: Sequence[str] = ("<unk>", "<s>", "</s>", "<|end|>", "a"),
        begins: bool = True,
        **special: str,
    ) -> Path:
        ids = {token: number for number, token in enumerate(vocabulary)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
        if begins:
            tokenizer.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
        fast.chat_template = chat_template
        fast.save_pretrained(tmp_path)
        if generation is not None:
            text = generation if isinstance(generation, str) else json.dumps(generation)
            (tmp_path / "generation_config.json").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def test_chat_of_a_model(make_model: MakeModel) -> None:
    """A model's prompt, template, stop tokens and sampling come from its own files."""
    generation = {"eos_token_id": [2, 3], "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1, "do_sample": True}
    chat = load_chat(make_model(PHI_3.jinja, generation, bos_token="<s>", eos_token="<|end|>"), None, asked=["Hi"])
    assert chat.add_bos is True
    assert chat.rendered == ["<|user|>\nHi<|end|>\n<|assistant|>\n"]
    assert chat.go == PHI_3_GO
    assert chat.parameters == {
        "stop": ["</s>", "<|end|>"],
        "temperature": 0.7,
        "top_k": 20,
        "repeat_penalty": 1.1,
    }


def test_beginning_that_only_the_template_has(make_model: MakeModel) -> None:
    """A tokenizer that puts nothing before a text has no runtime do it: it would, before every text. The template's own
    beginning stays in the prompt."""
    chat = load_chat(make_model(PHI_3.jinja, begins=False, bos_token="<s>", eos_token="<|end|>"), None, asked=["Hi"])
    assert chat.add_bos is False
    assert chat.rendered == ["<s><|user|>\nHi<|end|>\n<|assistant|>\n"]


def test_space_before_a_text(make_model: MakeModel) -> None:
    """A vocabulary of pieces with spaces in front says whether a text's first piece has one; another says nothing."""
    pieces = ("<unk>", "<s>", "</s>", "a", "\u2581a")
    assert load_chat(make_model(CHATML.jinja, vocabulary=pieces), None).space_prefix is False
    assert load_chat(make_model(CHATML.jinja), None).space_prefix is None


def test_template_that_writes_a_date(make_model: MakeModel) -> None:
    """It writes the time of the release, whenever it is rendered; a Go template would write it for ever."""
    moment = datetime(2025, 9, 15, tzinfo=UTC)
    dated = make_model("{{ strftime_now('%d %b %Y') }}: {% for m in messages %}{{ m.content }}{% endfor %}")
    chat = load_chat(dated, None, moment, ["Hi"])
    assert (chat.rendered, chat.go) == (["15 Sep 2025: Hi"], None)


def test_template_without_a_beginning(make_model: MakeModel) -> None:
    """A template that does not begin with the tokenizer's beginning token says so to the runtime."""
    chat = load_chat(make_model(CHATML.jinja, bos_token="<s>", eos_token="</s>"), None, asked=["Hi"])
    assert chat.add_bos is False
    assert chat.rendered == ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]


def test_end_token_that_is_none(make_model: MakeModel) -> None:
    """An id in a generation config that no token has stops nothing."""
    chat = load_chat(make_model(CHATML.jinja, {"eos_token_id": [3, 4711]}, eos_token="</s>"), None)
    assert chat.parameters["stop"] == ["<|end|>", "</s>"]


def test_greedy_generation(make_model: MakeModel) -> None:
    """A model that is not meant to be sampled is run at temperature 0, and one number of an end token will do."""
    chat = load_chat(make_model(CHATML.jinja, {"do_sample": False, "eos_token_id": 3}, eos_token="</s>"), None)
    assert chat.parameters == {"stop": ["<|end|>", "</s>"], "temperature": 0}


def test_no_chat_template(make_model: MakeModel) -> None:
    """A model without a chat template is given the prompt as it is."""
    chat = load_chat(make_model(None, bos_token="<s>", eos_token="</s>"), None, asked=["Hi"])
    assert (chat.go, chat.add_bos, chat.rendered) == ("{{ .Prompt }}", None, ["Hi"])


def test_template_by_hand(make_model: MakeModel) -> None:
    """Where none can be derived there is none, and why; one that was written by hand is taken as it is."""
    model = make_model(REFUSED["numbered turns"], eos_token="</s>")
    left_out = load_chat(model, None)
    assert left_out.go is None
    assert "does more than put text around messages: the conversation system" in str(left_out.note)
    chat = load_chat(model, "{{ .Prompt }} by hand", asked=["Hi"])
    assert "written by hand" in str(chat.note)
    assert chat.go == "{{ .Prompt }} by hand"
    assert chat.rendered == ["1. user: Hi\nassistant: "]


THINKING = CHATML.jinja.replace("message['content']", "(message.reasoning_content or '') + message['content']")
CARRIED = {
    "tools": "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML.jinja,
    "tool calls": CHATML.jinja.replace("message['content']", "(message.tool_calls or message['content']) | string"),
    "thinking": THINKING,
    "thinking, turned off": CHATML.jinja + "{% if enable_thinking is false %}<think></think>{% endif %}",
    "thinking, of the last answer": CHATML.jinja.replace(
        "message['content']", "message['content'].split('</think>')[-1]"
    ),
    "the date": "{{ strftime_now('%d %b %Y') }}" + CHATML.jinja,
}


@pytest.mark.parametrize("name", CARRIED)
def test_more_than_text(make_model: MakeModel, name: str) -> None:
    """Ollama takes the GGUF's own template where a Go template would know less, and the release says what."""
    chat = load_chat(make_model(CARRIED[name], eos_token="</s>"), None)
    assert chat.go is None
    own = f"the model's own chat template knows {name.partition(',')[0]}"
    assert chat.note == f"Ollama takes the template in the GGUF: {own}"


ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "gigabytes": "{{ 'x' * 10 ** 11 }}",
    "a long prompt": "{{ 'x' * 10 ** 8 }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_template_without_an_end(make_model: MakeModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that never ends, or makes gigabytes, is stopped."""
    monkeypatch.setattr("tagship.verify.rendering._SECONDS", 0.2)
    with pytest.raises(ReleaseError, match=r"does not end, or makes gigabytes|makes a prompt of"):
        load_chat(make_model(ENDLESS[name], eos_token="</s>"), None)


@pytest.mark.parametrize(
    ("generation", "problem"),
    [
        ({"temperature": "0.7"}, "temperature = '0.7', and it must be a number"),
        ({"top_k": 1.5}, "top_k = 1.5, and it must be a whole number"),
        ({"top_p": True}, "top_p = True"),
        ({"min_p": float("inf")}, "min_p = inf"),
        ({"eos_token_id": "</s>"}, "eos_token_id = '</s>', and it must be the id of a token"),
    ],
)
def test_parameter_of_the_wrong_type(make_model: MakeModel, generation: dict[str, Any], problem: str) -> None:
    """Ollama would refuse it, or run the model by something else."""
    with pytest.raises(ReleaseError, match=re.escape(problem)):
        load_chat(make_model(CHATML.jinja, generation, eos_token="</s>"), None)


@pytest.mark.parametrize("by_hand", [None, "{{ .Prompt }}"])
@pytest.mark.parametrize("jinja", [REFUSED["refuses everything"], "{% if %}", "{{ messages[0].content.nothing() }}"])
def test_template_that_does_not_render(make_model: MakeModel, jinja: str, by_hand: str | None) -> None:
    """A chat template that does not even render one message is refused in its own words."""
    with pytest.raises(ReleaseError, match="chat template") as caught:
        load_chat(make_model(jinja, bos_token="<s>", eos_token="</s>"), by_hand)
    assert not isinstance(caught.value.__cause__, jinja2.TemplateError)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_broken_generation_config(make_model: MakeModel, text: str) -> None:
    """A generation config that is no JSON object is refused by its name."""
    with pytest.raises(ReleaseError, match=r"generation_config\.json"):
        load_chat(make_model(CHATML.jinja, text, eos_token="</s>"), None)
