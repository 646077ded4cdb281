"""The tokenizer of a model as transformers loads it, by which several runtimes read questions."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tagship.system.errors import ReleaseError
from tagship.verify.questions import Asked, Questions
from tagship.verify.rendering import render_chat
from tagship.verify.runtimes.protocol import Subject


def load_tokenizer(subject: Subject) -> Any:
    """The tokenizer of a model, with its chat template. Raises ReleaseError when one of them cannot be used."""
    from transformers import AutoTokenizer

    home = subject.tokenizer or subject.model
    try:
        tokenizer = AutoTokenizer.from_pretrained(home, trust_remote_code=subject.trust_remote_code)
        _asked(tokenizer, "a", None)
    except Exception as error:  # whatever a tokenizer's files, or a template, make the libraries raise
        raise ReleaseError(f"the tokenizer or chat template of {subject.what} cannot be used: {error}") from error
    return tokenizer


def read_questions(tokenizer: Any, questions: Questions) -> Iterator[Asked]:
    """Each question as the model reads it, by its chat template where it has one."""
    return (_asked(tokenizer, prompt, questions.moment) for prompt in questions.prompts)


def _asked(tokenizer: Any, prompt: str, moment: datetime | None) -> Asked:
    if not tokenizer.chat_template:
        return Asked(prompt=prompt, ids=tuple(tokenizer(prompt)["input_ids"]))
    text = render_chat(tokenizer, [{"role": "user", "content": prompt}], moment)
    return Asked(prompt=text, ids=tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))
