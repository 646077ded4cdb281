"""The text along which exports are measured: what ships, and what people may bring."""

import json
from collections import Counter
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from tagship.system.errors import ReleaseError
from tagship.verify.measured_text import LONGEST, SHIPPED, Passage, digest_of, read_text, shipped_text

ROOT = Path(__file__).parents[2]
KINDS = {
    *("prose", "exposition", "dialogue", "letter", "list", "log", "summary", "mathematics", "table", "json", "yaml"),
    *("python", "c", "sql", "shell", "german", "french", "spanish", "chinese", "japanese", "russian", "arabic"),
}
TALK = {"messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is this."}]}


def words(passage: Passage) -> str:
    """All that a passage says."""
    return passage.text or "\n".join(message["content"] for message in passage.messages)


def write(folder: Path, *records: object) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_kinds_of_the_shipped_text() -> None:
    """It has every kind of text that people ask of models, none of them more than a seventh, and two thirds are
    conversations."""
    passages = shipped_text()
    sizes = Counter[str]()
    for passage in passages:
        sizes[passage.kind] += len(words(passage).encode())
    assert sizes.keys() >= KINDS
    assert max(sizes.values()) < sizes.total() / 7
    assert 0.55 < sum(bool(passage.messages) for passage in passages) / len(passages) < 0.75
    assert 30_000 < sizes.total() < 60_000


def test_beginning_of_the_shipped_text() -> None:
    """Its beginning is a fair sample: no kind follows itself, and the first tenth has as many kinds as it can."""
    passages = shipped_text()
    assert all(one.kind != other.kind for one, other in pairwise(passages))
    ends = list(accumulate(len(words(passage).encode()) for passage in passages))
    tenth = [passage for passage, end in zip(passages, ends, strict=True) if end <= ends[-1] / 10]
    assert len({passage.kind for passage in tenth}) == len(tenth) >= 6
    assert {bool(passage.messages) for passage in tenth} == {True, False}
    assert ends[3] < ends[-1] / 20  # four kinds in the first few hundred tokens


def test_conversations_suit_every_template() -> None:
    """Templates that refuse a system message or two turns of one role take all of it, and none that trims messages
    changes it; nothing repeats, and no mark of a chat is in the text."""
    for passage in shipped_text():
        roles = [message["role"] for message in passage.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        for text in [passage.text or "x", *(message["content"] for message in passage.messages)]:
            assert text == text.strip()
            assert not any(mark in text for mark in ("<|", "[INST]", "<start_of_turn>", "<think>", "</s>"))
    assert len({words(passage) for passage in shipped_text()}) == len(shipped_text())


def test_text_is_in_the_wheel() -> None:
    """An installed tagship has the text."""
    held = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "tagship/verify/text/measured.jsonl" in held
    assert Path(ROOT, "pipeline/tagship/verify/text/measured.jsonl").samefile(SHIPPED)


def test_own_records(tmp_path: Path) -> None:
    """A file of records needs no kinds, may have blank lines and a byte order mark, and keeps what JSON can say."""
    path = tmp_path / "mine.JSONL"
    lines = (json.dumps({"text": "a\u2028b\r\nc", "kind": "prose", "id": 1}, ensure_ascii=False), "", json.dumps(TALK))
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert read_text(path) == (
        Passage(kind="prose", text="a\u2028b\r\nc"),
        Passage(kind="conversation", messages=tuple(TALK["messages"])),
    )


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ('{"text": "a"', "not valid JSON at column 13"),
        ("[" * 100_000, "not valid JSON"),
        ('["a"]', "is not a JSON object"),
        ("{}", "one of"),
        ('{"text": "a", "messages": []}', "one of"),
        ('{"text": 7}', "text is 7, and not text"),
        ('{"text": " "}', 'text is " ", and not text'),
        ('{"text": "a", "kind": null}', "kind is null, and not text"),
        (r'{"text": "a\ud83d"}', r'half of a character: "\\ud83d"'),
        ('{"messages": []}', "not a list of messages"),
        ('{"messages": "hello"}', "not a list of messages"),
        ('{"messages": ["hello"]}', r"messages\[0\] is not an object"),
        ('{"messages": [{"role": "human", "content": "a"}]}', r'messages\[0\].role is "human", and not one of system'),
        ('{"messages": [{"role": ["user"], "content": "a"}]}', r'messages\[0\].role is \["user"\]'),
        ('{"messages": [{"role": "user"}]}', r"messages\[0\].content is null, and not text"),
        ('{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', r"messages\[0\].content is \["),
    ],
)
def test_what_is_wrong_with_a_record(tmp_path: Path, record: str, said: str) -> None:
    """A line that is no passage is named, with what is wrong there and how a line looks."""
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{json.dumps(TALK)}\n\n{record}\n")
    with pytest.raises(ReleaseError, match=said) as caught:
        read_text(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert '{"text": "…"}' in (caught.value.remedy or "")


def test_plain_file(tmp_path: Path) -> None:
    """Paragraphs of another file are gathered into passages of a bounded size, in order, and nothing is lost."""
    paragraphs = ["    an indented line\nand another", *(f"paragraph {number} " + "word " * 60 for number in range(8))]
    path = tmp_path / "mine.txt"
    path.write_bytes("\r\n  \r\n\r\n".join(paragraphs).encode())
    passages = read_text(path)
    assert {passage.kind for passage in passages} == {"text"}
    assert all(LONGEST // 2 < len(passage.text or "") <= LONGEST for passage in passages[:-1])
    together = "\n\n".join(passage.text or "" for passage in passages)
    assert together == "\n\n".join(paragraph.rstrip() for paragraph in paragraphs)


def test_long_paragraphs(tmp_path: Path) -> None:
    """A paragraph that is too long ends with a line or a word where it can; one without either is cut, however long."""
    line = "word " * 80 + "end."
    endless = "x" * (LONGEST * 1000)
    paragraphs = ("\n".join([line] * 9), "short", "words " * 700, endless)
    path = tmp_path / "mine.md"
    path.write_text("\n\n".join(paragraphs))
    found = [passage.text or "" for passage in read_text(path)]
    assert max(len(text) for text in found) == LONGEST
    assert [text.split()[-1] for text in found[:5]] == ["end."] * 4 + ["short"]
    assert {text.split()[-1] for text in found[5:-1000]} == {"words"}
    assert found[-1000:] == [endless[:LONGEST]] * 1000
    assert " ".join(found[:-1000]).split() == " ".join(paragraphs[:3]).split()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.txt", b"", "holds no text"),
        ("mine.txt", b" \n\t\n\n", "holds no text"),
        ("mine.jsonl", b"\n\n", "holds no text"),
        ("mine.txt", b"one\ntwo\ngr\xfcn\n", "line 3: byte 0xfc is not text in UTF-8"),
        ("mine.txt", "one\ntwo".encode("utf-16-le"), "line 1: byte 0x00 is not text in UTF-8"),
        ("mine.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of git LFS"),
        ("mine.txt", b"a" * (16 << 20) + b"b", "more than 16 MiB"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    """A file that is empty, not UTF-8, not fetched or far too large is told with what to do about it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReleaseError, match=said) as caught:
        read_text(tmp_path / name)
    assert name in str(caught.value)
    assert caught.value.remedy


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, or a folder, is a message."""
    for path, said in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ReleaseError, match=said):
            read_text(path)


def test_digest(tmp_path: Path) -> None:
    """The digest tells passages by what they say and in which order, and not by how they were written."""
    one, other = {"kind": "a", "text": "b"}, TALK
    digest = digest_of(read_text(write(tmp_path, one, other)))
    assert len(digest) == 64
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text('{"text" : "\\u0062", "kind":"a", "id": 3}\n\n' + json.dumps(TALK, sort_keys=True))
    assert digest_of(read_text(spaced)) == digest
    changed = (
        (other, one),
        (one,),
        ({"kind": "b", "text": "b"}, other),
        ({"kind": "a", "text": "c"}, other),
        (one, {"messages": TALK["messages"][:1]}),
    )
    digests = {digest_of(read_text(write(tmp_path, *records))) for records in changed}
    assert len(digests | {digest}) == len(changed) + 1
