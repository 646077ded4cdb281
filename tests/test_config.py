"""release.toml: its defaults, and all of its mistakes in one error."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import EMBEDDED, Config, load_config
from pipeline.errors import UsageError

MINIMAL = '[project]\nnamespace = "acme"\n[formats.vllm]\n'


def load(folder: Path, text: str, **environment: str) -> Config:
    (folder / "release.toml").write_text(text, encoding="utf-8")
    return load_config(folder / "release.toml", environment)


def mistakes(folder: Path, text: str, **environment: str) -> list[str]:
    """The lines of the error that a policy gives."""
    with pytest.raises(UsageError) as caught:
        load(folder, text, **environment)
    title, *lines = str(caught.value).splitlines()
    assert title.startswith(f"release.toml has {len(lines)} mistake")
    return [line.removeprefix("  ") for line in lines]


def test_defaults(tmp_path: Path) -> None:
    """Tables that are left out have the defaults of the guide."""
    config = load(tmp_path, MINIMAL)
    assert config.namespace == "acme"
    assert (config.root, config.file) == (tmp_path, tmp_path / "release.toml")
    assert config.runs == tmp_path / "adapters"
    assert config.own_folders == (tmp_path / "exports", tmp_path / "dist", tmp_path / ".tagship")
    assert config.endpoint == EMBEDDED
    assert config.private is False
    assert [(stream.name, stream.pattern.text, stream.does) for stream in config.streams] == [
        ("semantic", "v{version}", ("export", "publish")),
        ("model", "model-v{version}", ("export", "publish")),
        ("export", "export-v{version}", ("export",)),
    ]
    assert config.verify.prompts
    assert config.verify.max_tokens == 64
    assert config.verify.kl == {}
    assert (config.card.language, config.card.tags) == ((), ())
    assert (config.bases, config.short_names) == ({}, {})


def test_default_names(tmp_path: Path) -> None:
    """Without [naming] every name is made as the guide makes it."""
    config = load(tmp_path, MINIMAL)
    names = config.formats[0].names
    assert config.run_pattern.text == "{base}-{dataset}-r{rank}-a{alpha}-e{epochs}-{trained:%Y%m%d-%H%M%S}"
    assert [pair.tagged.text for pair in (names.export, names.artifact, names.repo)] == [
        "{run}-{kind}-v{version}",
        "{prefix}-{run}-v{version}",
        "{base}-{dataset}-{label}-v{version}",
    ]
    assert [pair.untagged.text for pair in (names.export, names.artifact, names.repo)] == [
        "{run}-{kind}-{exported:%Y%m%d-%H%M%S}",
        "{prefix}-{run}",
        "{run}-{label}-{exported:%Y%m%d-%H%M%S}",
    ]


def test_everything_said(tmp_path: Path) -> None:
    """Every table says what is in it."""
    config = load(
        tmp_path,
        """
        [project]
        namespace = "acme"
        runs = "trained"
        exports = "/big/exports"
        artifacts = "out/dist"
        [hub]
        endpoint = "https://hub.example.org/"
        private = true
        [tags]
        nightly = { pattern = "nightly-{version}", does = ["export"] }
        [naming]
        run = "{base}-{dataset}"
        [naming.bases]
        "org/Big-Model" = "big"
        [bases."org/Big-Model"]
        path = "models/big"
        revision = "abc"
        license = "mit"
        publish = true
        [formats.ollama]
        quants = ["q8_0", "q4_k_m"]
        [verify]
        prompts = ["Hi"]
        max_tokens = 8
        kl = { q8_0 = 0.5, q4_k_m = 1 }
        [card]
        language = ["en"]
        tags = ["avro"]
        """,
    )
    assert config.runs == tmp_path / "trained"
    assert (config.exports, config.artifacts) == (Path("/big/exports"), tmp_path / "out" / "dist")
    assert (config.endpoint, config.private) == ("https://hub.example.org", True)
    assert [(stream.name, stream.does) for stream in config.streams] == [("nightly", ("export",))]
    assert config.run_pattern.text == "{base}-{dataset}"
    assert config.short_names == {"org/Big-Model": "big"}
    base = config.bases["org/Big-Model"]
    assert (base.path, base.revision, base.license, base.publish) == (tmp_path / "models" / "big", "abc", "mit", True)
    assert config.formats[0].settings.quants == ("q8_0", "q4_k_m")
    assert (config.verify.prompts, config.verify.max_tokens) == (("Hi",), 8)
    assert config.verify.kl == {"q8_0": 0.5, "q4_k_m": 1.0}
    assert (config.card.language, config.card.tags) == (("en",), ("avro",))


def test_format_names_go_before_general_ones(tmp_path: Path) -> None:
    """A format's own pattern replaces the general one, part by part."""
    config = load(
        tmp_path,
        """
        [project]
        namespace = "acme"
        [naming]
        repo = { tagged = "{run}-{label}-{version}" }
        [formats.vllm]
        [formats.lora]
        repo = { untagged = "{run}-lora" }
        """,
    )
    vllm, lora = (policy.names.repo for policy in config.formats)
    assert (vllm.tagged.text, vllm.untagged.text) == (
        "{run}-{label}-{version}",
        "{run}-{label}-{exported:%Y%m%d-%H%M%S}",
    )
    assert (lora.tagged.text, lora.untagged.text) == ("{run}-{label}-{version}", "{run}-lora")
    assert lora.at("1.0.0") == lora.tagged
    assert lora.at(None) == lora.untagged


def test_formats_keep_their_order(tmp_path: Path) -> None:
    """Formats are released in the order of release.toml."""
    config = load(tmp_path, '[project]\nnamespace = "acme"\n[formats.vllm]\n[formats.lora]\n[formats.ollama]\n')
    assert [policy.name for policy in config.formats] == ["vllm", "lora", "ollama"]


def test_folders_outside_are_normal_paths(tmp_path: Path) -> None:
    """A folder beside the project is an absolute path without `..` in it."""
    config = load(tmp_path, MINIMAL.replace("[formats", 'exports = "../exports"\n[formats'))
    assert config.exports == tmp_path.parent / "exports"


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """All mistakes are in one error, each with its dotted key and, where a word is near, a hint."""
    found = mistakes(
        tmp_path,
        """
        [project]
        namspace = "acme"
        runs = 3
        [hub]
        endpoint = "huggingface.co"
        privat = true
        [tags.semantic]
        pattern = "v{versoin}"
        does = ["export", "publsh"]
        [naming]
        run = "{bse}"
        exports = { tagged = "x" }
        export = { taged = "x" }
        artifact = "x"
        [naming.bases]
        "org/name" = 3
        [bases."org/name"]
        licence = "mit"
        publish = "yes"
        [formats.vlm]
        [formats.lora]
        quants = ["q8_0"]
        repo = { untagged = "{run}-{exported}" }
        [formats.ollama]
        quants = ["q4_km"]
        [verify]
        prompts = []
        max_tokens = 0
        kl = { q4_k_mm = 1, q8_0 = "x" }
        [card]
        tag = ["x"]
        language = "en"
        [verfy]
        """,
    )
    expected = {
        "project.namespace": "is missing: your user or organisation on the Hub",
        "project.runs": "must be a string, not 3",
        "project.namspace": "did you mean 'namespace'?",
        "hub.endpoint": "must be 'embedded' or a URL",
        "hub.privat": "did you mean 'private'?",
        "tags.semantic.pattern": "unknown field {versoin}",
        "tags.semantic.does": "unknown 'publsh': did you mean 'publish'?",
        "naming.run": "unknown field {bse}",
        "naming.exports": "did you mean 'export'?",
        "naming.export.taged": "did you mean 'tagged'?",
        "naming.artifact": "must be a table",
        'naming.bases."org/name"': "must be a string, not 3",
        'bases."org/name".licence': "did you mean 'license'?",
        'bases."org/name".publish': "must be true or false, not 'yes'",
        "formats.vlm": "is no format: did you mean 'vllm'?",
        "formats.lora.quants": "is unknown",
        "formats.lora.repo.untagged": "{exported} is a date",
        "formats.ollama.quants": "unknown 'q4_km': did you mean 'q4_k_m'?",
        "verify.prompts": "is empty",
        "verify.max_tokens": "must be a whole number above zero, not 0",
        "verify.kl.q4_k_mm": "did you mean 'q4_k_m'?",
        "verify.kl.q8_0": "must be a number above zero, not 'x'",
        "card.tag": "did you mean 'tags'?",
        "card.language": "must be a list of strings, not 'en'",
        "verfy": "did you mean 'verify'?",
    }
    assert {line.split(" ", 1)[0] for line in found} == expected.keys()
    assert len(found) == len(expected)
    for line in found:
        key, problem = line.split(" ", 1)
        assert expected[key] in problem, line


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ('[project]\nnamespace = ""\n[formats.vllm]', "project.namespace is empty"),
        ('[project]\nnamespace = "a b"\n[formats.vllm]', "project.namespace may only have letters"),
        ('[project]\nnamespace = "acme/team"\n[formats.vllm]', "project.namespace may only have letters"),
        ('[project]\nnamespace = "acme"', "formats is missing: add [formats.X]"),
        (f'{MINIMAL}[tags.nightly]\ndoes = ["export"]', "tags.nightly.pattern is missing"),
        (f'{MINIMAL}[tags]\nmodel = {{ pattern = "model" }}', "tags.model.pattern must have {version}"),
        (f'{MINIMAL}[tags]\nmodel = {{ pattern = "{{run}}-v{{version}}" }}', "tags.model.pattern must have {version}"),
        (f"{MINIMAL}[verify]\nkl = {{ q4_k_m = 0.1 }}", "verify.kl.q4_k_m is unknown"),
        (f'{MINIMAL}[naming.bases]\n"org/phi-3" = "phi-3"', 'naming.bases."org/phi-3" '),
        (f'{MINIMAL}[hub]\nendpoint = "http://"', "hub.endpoint must be 'embedded' or a URL"),
        (f"hub = 3\n{MINIMAL}", "hub must be a table, not 3"),
        ('[project]\nnamespace = "acme"\n[formats]\nvllm = true', "formats.vllm must be a table, not True"),
    ],
)
def test_one_mistake(tmp_path: Path, policy: str, problem: str) -> None:
    """Each mistake is told by its dotted key, and nothing else is told with it."""
    (found,) = mistakes(tmp_path, policy)
    assert found.startswith(problem)


@pytest.mark.parametrize("said", ["", '[hub]\nendpoint = "https://other.example.org"\n'])
def test_environment_goes_before_the_policy(tmp_path: Path, said: str) -> None:
    """HF_ENDPOINT overrides the policy's endpoint, whether or not it names one."""
    config = load(tmp_path, MINIMAL + said, HF_ENDPOINT="http://127.0.0.1:8765/")
    assert config.endpoint == "http://127.0.0.1:8765"


def test_environment_does_not_hide_a_mistake(tmp_path: Path) -> None:
    """A policy's endpoint that is no URL is told, even where HF_ENDPOINT overrides it."""
    (found,) = mistakes(tmp_path, f'{MINIMAL}[hub]\nendpoint = "hub"', HF_ENDPOINT="https://huggingface.co")
    assert found.startswith("hub.endpoint ")


def test_environment_that_is_no_url(tmp_path: Path) -> None:
    """HF_ENDPOINT that is no URL is a mistake, told under its own name."""
    with pytest.raises(UsageError, match=r"HF_ENDPOINT must be .* a URL .*, not 'huggingface\.co'"):
        load(tmp_path, MINIMAL, HF_ENDPOINT="huggingface.co")


def test_empty_environment_variable_says_nothing(tmp_path: Path) -> None:
    """An empty HF_ENDPOINT is as good as none."""
    assert load(tmp_path, MINIMAL, HF_ENDPOINT="").endpoint == EMBEDDED


def test_real_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment given, the process's own counts, at the time of reading."""
    (tmp_path / "release.toml").write_text(MINIMAL, encoding="utf-8")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.org")
    assert load_config(tmp_path / "release.toml").endpoint == "https://mirror.example.org"


def test_invalid_toml(tmp_path: Path) -> None:
    """A file that is no TOML is refused with the place of the mistake."""
    with pytest.raises(UsageError, match=r"release\.toml is not valid TOML: .*line 2"):
        load(tmp_path, "[project]\nnamespace = acme\n")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is no TOML either."""
    (tmp_path / "release.toml").write_bytes(b"\xff\xfe[project]")
    with pytest.raises(UsageError, match=r"release\.toml is not valid TOML"):
        load_config(tmp_path / "release.toml", {})


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is told with its folder and the option that names another."""
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "release.toml", {})
    assert str(caught.value) == f"no release.toml in {tmp_path}"
    assert "--config" in str(caught.value.remedy)
    assert caught.value.exit_code == 2


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """A folder, or any other path that cannot be read, is a mistake in the options."""
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path, {})


def test_config_is_frozen(tmp_path: Path) -> None:
    """What was parsed cannot be changed."""
    config: Any = load(tmp_path, MINIMAL)
    with pytest.raises(AttributeError):
        config.namespace = "other"


def test_symlinked_project(tmp_path: Path) -> None:
    """A project that is reached through a link has its real paths."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    os.symlink(real, link)
    assert load(link, MINIMAL).root == real
