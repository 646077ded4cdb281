"""release.toml: its defaults, and all of its mistakes in one error."""

import os
from pathlib import Path
from typing import Any

import pytest
from tagship.formats.protocol import ExportPolicy
from tagship.naming.parsing import read_as
from tagship.policy.config import EMBEDDED, Config, load_config, parse_config
from tagship.policy.verify import OwnLimits
from tagship.policy.versions import CHECKS
from tagship.system.errors import UsageError

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
    assert str(config.runs) == str(tmp_path / "adapters" / "*")
    own = ("exports", "dist", ".tagship", "results/units", "results/failures")
    assert config.own_folders == tuple(tmp_path / name for name in own)
    assert config.endpoint == EMBEDDED
    assert config.private is False
    assert [(stream.name, stream.pattern.text, stream.does) for stream in config.streams] == [
        ("semantic", "v{version}", ("export", "publish")),
        ("model", "model-v{version}", ("export", "publish")),
        ("export", "export-v{version}", ("export",)),
    ]
    assert config.verify.prompts
    assert config.verify.max_tokens == 64
    assert (config.verify.limits, config.verify.required, config.verify.text) == ({}, True, None)
    assert (config.card.language, config.card.tags) == ((), ())
    assert (config.bases, config.naming.short_names, config.naming.own_fields) == ({}, {}, {})
    versions = config.versions
    assert (versions.first, versions.branch, versions.remote, versions.changelog) == (
        "0.1.0",
        None,
        "origin",
        "CHANGELOG.md",
    )
    assert versions.aliases == {"feature": "feat", "bugfix": "fix", "hotfix": "fix"}
    assert versions.data == ("data", "datasets")
    assert config.checks.said == {}
    assert config.migrate == {}
    (vllm,) = config.formats
    assert (vllm.stream, vllm.paths) == (None, ())


def test_default_names(tmp_path: Path) -> None:
    """Without [naming] every name is made as the guide makes it."""
    config = load(tmp_path, MINIMAL)
    names = config.formats[0].names
    assert config.naming.run.text == "{base}-{dataset}-r{rank}-a{alpha}-e{epochs}-{trained:%Y%m%d-%H%M%S}"
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
        [naming.fields]
        size = "word"
        [versions]
        first = "1.0.0-rc.1"
        branch = "trunk"
        remote = "upstream"
        changelog = "docs/CHANGES.md"
        data = ["corpus"]
        aliases = { Model = "feat", feature = "docs" }
        [checks]
        clean = "warn"
        pushed = "off"
        [migrate]
        "acme/old-name" = "new-name"
        [bases."org/Big-Model"]
        path = "models/big"
        revision = "abc"
        license = "mit"
        publish = true
        quantized = ["org/big-bnb-4bit"]
        trust_remote_code = true
        [formats.ollama]
        quants = ["q8_0", "q4_k_m"]
        stream = "gguf-v{version}"
        paths = ["templates/ollama"]
        changelog = "docs/GGUF.md"
        [verify]
        prompts = ["Hi"]
        max_tokens = 8
        kl = { q8_0 = 0.5, q4_k_m = 1 }
        required = false
        [verify.limits.q2_k]
        top1 = 0.4
        [card]
        language = ["en"]
        tags = ["avro"]
        """,
    )
    assert str(config.runs) == str(tmp_path / "trained" / "*")
    assert (config.exports, config.artifacts) == (Path("/big/exports"), tmp_path / "out" / "dist")
    assert (config.endpoint, config.private) == ("https://hub.example.org", True)
    assert [(stream.name, stream.does, stream.format) for stream in config.streams] == [
        ("nightly", ("export",), None),
        ("ollama", ("export", "publish"), "ollama"),
    ]
    (ollama,) = config.formats
    assert (ollama.stream, ollama.paths, ollama.changelog) == (
        config.streams[1],
        ("templates/ollama",),
        "docs/GGUF.md",
    )
    assert config.naming.own_fields == {"size": "word"}
    assert (config.versions.first, config.versions.branch) == ("1.0.0-rc.1", "trunk")
    assert (config.versions.remote, config.versions.changelog) == ("upstream", "docs/CHANGES.md")
    assert config.versions.aliases == {"feature": "docs", "bugfix": "fix", "hotfix": "fix", "model": "feat"}
    assert config.versions.data == ("corpus",)
    assert config.checks.said == {"clean": "warn", "pushed": "off"}
    assert config.migrate == {"acme/old-name": "new-name"}
    assert config.naming.run.text == "{base}-{dataset}"
    assert config.naming.short_names == {"org/Big-Model": "big"}
    base = config.bases["org/Big-Model"]
    assert (base.path, base.revision, base.license, base.publish) == (tmp_path / "models" / "big", "abc", "mit", True)
    assert base.quantized == ("org/big-bnb-4bit",)
    assert base.trust_remote_code
    assert config.formats[0].settings.quants == ("q8_0", "q4_k_m")
    assert (config.verify.prompts, config.verify.max_tokens) == (("Hi",), 8)
    assert config.verify.limits == {"q8_0": OwnLimits(kl=0.5), "q4_k_m": OwnLimits(kl=1.0), "q2_k": OwnLimits(top1=0.4)}
    assert not config.verify.required
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


def test_streams_of_formats(tmp_path: Path) -> None:
    """A format's own stream comes after those of all formats, versions that format, and exports and publishes."""
    config = load(
        tmp_path,
        """
        [project]
        namespace = "acme"
        [formats.vllm]
        [formats.ollama]
        stream = "ollama-v{version}"
        paths = ["templates", "models/gguf"]
        [formats.lora]
        stream = "adapter/{version}"
        changelog = "adapters.md"
        """,
    )
    assert [(stream.name, stream.format) for stream in config.streams] == [
        ("semantic", None),
        ("model", None),
        ("export", None),
        ("ollama", "ollama"),
        ("lora", "lora"),
    ]
    vllm, ollama, lora = config.formats
    assert (vllm.stream, ollama.stream, lora.stream) == (None, *config.streams[3:])
    assert ollama.stream is not None
    assert ollama.stream.does == ("export", "publish")
    assert (ollama.paths, ollama.changelog) == (("templates", "models/gguf"), "CHANGELOG-ollama.md")
    assert (lora.paths, lora.changelog) == ((), "adapters.md")
    assert lora.stream is not None
    assert lora.stream.version_of("adapter/1.2.3") == "1.2.3"


def test_what_streams_release(tmp_path: Path) -> None:
    """A format's own stream releases that format alone; a shared one those that have none; no stream, all."""
    own = 'stream = "{}-v{{version}}"\n'
    config = load(tmp_path, MINIMAL + own.format("vllm") + "[formats.ollama]\n[formats.lora]\n" + own.format("lora"))
    released = {
        stream.name if stream else None: [policy.name for policy in config.released_by(stream)]
        for stream in (None, *config.streams)
    }
    assert released == {
        None: ["vllm", "ollama", "lora"],
        "semantic": ["ollama"],
        "model": ["ollama"],
        "export": ["ollama"],
        "vllm": ["vllm"],
        "lora": ["lora"],
    }


def test_checks_by_default(tmp_path: Path) -> None:
    """Before tagging, what the guide asks is required; on a tag that is there, only that the tree is clean."""
    checks = load(tmp_path, MINIMAL).checks
    assert {name: (checks.when_tagging(name), checks.when_releasing(name)) for name in CHECKS} == {
        "clean": ("required", "required"),
        "branch": ("required", "warn"),
        "changelog": ("required", "warn"),
        "order": ("required", "warn"),
        "annotated": ("warn", "warn"),
        "pushed": ("warn", "warn"),
    }


@pytest.mark.parametrize("level", ["required", "warn", "off"])
@pytest.mark.parametrize("name", ["clean", "order", "pushed"])
def test_checks_as_the_policy_says(tmp_path: Path, name: str, level: str) -> None:
    """What the policy says of a check counts before tagging and when releasing."""
    checks = load(tmp_path, f'{MINIMAL}[checks]\n{name} = "{level}"').checks
    assert (checks.when_tagging(name), checks.when_releasing(name)) == (level, level)


@pytest.mark.parametrize("level", ["required", "warn", "off"])
def test_how_strict_names_are_held(tmp_path: Path, level: str) -> None:
    """Names that say what is not so refuse a release, unless the policy says otherwise."""
    assert load(tmp_path, MINIMAL).checks.names == "required"
    assert load(tmp_path, f'{MINIMAL}[checks]\nnames = "{level}"').checks.names == level


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
        text = "none.txt"
        limits = { vlm = { kl = 1 }, iq2_xs = {}, q4_kk = { kl = 1 }, q4_k_m = { top = 1 }, q8_0 = { top1 = 2 } }
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
        "verify.text": "which is no file",
        "verify.limits.q4_kk": "did you mean 'q4_k_s'?",
        "verify.limits.q4_k_m.top": "did you mean 'top1'?",
        "verify.limits.q8_0.top1": "must be a number from 0 to 1, not 2",
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
        ('[project]\nnamespace = "acme"', "formats is missing: add a table in it for each format"),
        (f'{MINIMAL}[tags.nightly]\ndoes = ["export"]', "tags.nightly.pattern is missing"),
        (f'{MINIMAL}[tags]\nmodel = {{ pattern = "model" }}', "tags.model.pattern must have {version}"),
        (f'{MINIMAL}[tags]\nmodel = {{ pattern = "{{run}}-v{{version}}" }}', "tags.model.pattern unknown field {run}"),
        (f'{MINIMAL}[tags]\nmodel = {{ pattern = "{{base}}-v{{version}}" }}', "tags.model.pattern must have {version}"),
        (f'{MINIMAL}[tags]\nmodel = {{ pattern = "m v{{version}}" }}', "tags.model.pattern makes no tags: git would"),
        (
            f'{MINIMAL}[tags]\nmodel = {{ pattern = "v{{version}}.lock" }}',
            "tags.model.pattern makes no tags: git would",
        ),
        (f'{MINIMAL}[tags]\nmodel = {{ does = ["publish"] }}', "tags.model.does must name 'export'"),
        (f"{MINIMAL}[tags]\nmodel = {{ does = [] }}", "tags.model.does must name 'export'"),
        (f'{MINIMAL}[tags]\nmodel = {{ prefix = "m" }}', "tags.model.prefix is unknown"),
        (f"{MINIMAL}[tags]\nmodel = 3", "tags.model must be a table, not 3"),
        (f'{MINIMAL}stream = "vllm"', "formats.vllm.stream must have {version} and no other field"),
        (f'{MINIMAL}stream = "{{kind}}-v{{version}}"', "formats.vllm.stream unknown field {kind}"),
        (f'{MINIMAL}stream = "{{version}}-r{{rank}}"', "formats.vllm.stream must have {version} and no other field"),
        (f'{MINIMAL}stream = "-v{{version}}"', "formats.vllm.stream makes no tags: git would refuse the tag '-v1.0.0'"),
        (f"{MINIMAL}stream = 3", "formats.vllm.stream must be a string, not 3"),
        (f'{MINIMAL}stream = "v{{version}}"', "formats.vllm.stream has tags of the stream 'semantic', v{version}: "),
        (
            f'{MINIMAL}stream = "v{{version}}-vllm"',
            "formats.vllm.stream has tags of the stream 'semantic', v{version}: v1.0.0-vllm is one",
        ),
        (
            f'{MINIMAL}stream = "x-v{{version}}"\n[formats.lora]\nstream = "x-v{{version}}"',
            "formats.lora.stream has tags of the stream 'vllm', x-v{version}: x-v1.0.0 is one",
        ),
        (
            f'{MINIMAL}stream = "x-v{{version}}"\n[tags]\nvllm = {{ pattern = "v{{version}}" }}',
            "formats.vllm.stream has the name of another stream, 'vllm': rename that in [tags]",
        ),
        (
            f'{MINIMAL}paths = ["a"]',
            'formats.vllm.paths needs versions of the format\'s own: add stream = "vllm-v{version}"',
        ),
        (f'{MINIMAL}changelog = "a"', "formats.vllm.changelog needs versions of the format's own"),
        (f'{MINIMAL}stream = "x-v{{version}}"\npaths = "a"', "formats.vllm.paths must be a list of strings, not 'a'"),
        (f'{MINIMAL}[versions]\nfirst = "1.0"', "versions.first must be a SemVer version such as 0.1.0, not '1.0'"),
        (f'{MINIMAL}[versions]\nfirst = "v1.0.0"', "versions.first must be a SemVer version"),
        (
            f'{MINIMAL}[naming]\nrepo = {{ tagged = "{{base}}{{dataset}}" }}',
            "naming.repo.tagged '{base}{dataset}' makes",
        ),
        (
            f'{MINIMAL}repo = {{ untagged = "{{run}}" }}\n[naming]\nrepo = {{ tagged = "{{base}}{{dataset}}" }}',
            "naming.repo.tagged '{base}{dataset}' makes names that cannot be read back: ",
        ),
        (
            f'{MINIMAL}[versions.aliases]\nmodel = "feats"',
            "versions.aliases.model unknown 'feats': did you mean 'feat'?",
        ),
        (f'{MINIMAL}[versions.aliases]\nDocs = "feat"', "versions.aliases.Docs is a type itself"),
        (f'{MINIMAL}[versions.aliases]\n"a b" = "feat"', 'versions.aliases."a b" cannot be the type of a commit'),
        (f"{MINIMAL}[versions]\nfirst = 1", "versions.first must be a string, not 1"),
        (f"{MINIMAL}[versions]\nbranch = true", "versions.branch must be a string, not True"),
        (f"{MINIMAL}[versions]\nremote = []", "versions.remote must be a string, not []"),
        (f'{MINIMAL}[versions]\nchangelogs = "x"', "versions.changelogs is unknown: did you mean 'changelog'?"),
        (f'{MINIMAL}[checks]\nclean = "require"', "checks.clean unknown 'require': did you mean 'required'?"),
        (f"{MINIMAL}[checks]\norder = false", "checks.order must be a string, not False"),
        (f'{MINIMAL}[checks]\nanotated = "off"', "checks.anotated is unknown: did you mean 'annotated'?"),
        (f'{MINIMAL}[migrate]\n"acme/old" = 3', 'migrate."acme/old" must be a string, not 3'),
        (f"migrate = 3\n{MINIMAL}", "migrate must be a table, not 3"),
        (f'{MINIMAL}[naming.fields]\nrank = "number"', "naming.fields.rank cannot be the name of a field"),
        (
            f'{MINIMAL}[naming]\nrun = "{{base}}_{{dataset}}"',
            "naming.run '{base}_{dataset}' makes names that cannot be read",
        ),
        (f'{MINIMAL}[naming]\nolder = {{ repo = [{{ tagged = "x" }}] }}', "naming.older.repo[1].untagged is missing: "),
        (
            f'{MINIMAL}repo = {{ tagged = "{{base}}{{label}}" }}\n[formats.lora]\nrepo = "x"',
            "formats.lora.repo must be a table",
        ),
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


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", ExportPolicy()),
        ('dtype = "f16"', ExportPolicy(dtype="F16")),
        ('max_shard = "5GB"', ExportPolicy(max_shard=5_000_000_000)),
        ('max_shard = "0.5 MiB"', ExportPolicy(max_shard=1 << 19)),
    ],
)
def test_export_policy(tmp_path: Path, said: str, expected: ExportPolicy) -> None:
    """How weights are written, by [export]."""
    assert load(tmp_path, f"{MINIMAL}[export]\n{said}\n").export == expected


def test_importance_matrix_is_beside_the_policy(tmp_path: Path) -> None:
    """A relative path is one of the folder that release.toml is in."""
    config = load(tmp_path, f'{MINIMAL}[formats.ollama]\n[export]\nimatrix = "texts/m.gguf"\n')
    assert settings_of_ollama(config).imatrix == tmp_path / "texts/m.gguf"


def settings_of_ollama(config: Config) -> Any:
    (ollama,) = (policy for policy in config.formats if policy.name == "ollama")
    return ollama.settings


def test_keys_of_formats_that_are_not_released(tmp_path: Path) -> None:
    """What `[export]` says for a format that the policy does not release is no mistake."""
    assert load(tmp_path, f'{MINIMAL}[export]\nimatrix = "m.gguf"\n').export == ExportPolicy()


def test_imatrix_is_made(tmp_path: Path) -> None:
    """ "make" is no file: a matrix is made of the text that ships, or of another one; that text alone says nothing."""
    made = '[formats.ollama]\n[export]\nimatrix = "make"\n'
    settings = settings_of_ollama(load(tmp_path, MINIMAL + made))
    assert settings.imatrix is None
    assert settings.calibration.name == "calibration.jsonl"
    own = settings_of_ollama(load(tmp_path, f'{MINIMAL}{made}imatrix_text = "a.txt"\n'))
    assert own.calibration == tmp_path / "a.txt"
    with pytest.raises(UsageError, match=r"export\.imatrix_text is what an importance matrix is made of"):
        load(tmp_path, f'{MINIMAL}[formats.ollama]\n[export]\nimatrix_text = "a.txt"\n')


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('dtype = "fp16"', "export.dtype"),
        ('max_shard = "5"', "export.max_shard must be a size such as 5GB"),
        ('max_shard = "0GB"', "export.max_shard must be a size such as 5GB"),
        ("imatrix = 1", "export.imatrix"),
        ('shard = "5GB"', "export.shard"),
    ],
)
def test_mistakes_in_the_export_policy(tmp_path: Path, said: str, problem: str) -> None:
    """Mistakes of [export] are told with their key."""
    (mistake,) = mistakes(tmp_path, f"{MINIMAL}[export]\n{said}\n")
    assert problem in mistake


# Layouts

PER_MODEL = '[project]\nnamespace = "acme"\n[hub]\nlayout = "repo-per-model"\n[formats.vllm]\n[formats.ollama]\n'


def test_layouts(tmp_path: Path) -> None:
    """By default each version of each export has a repo; with one repo for a model its name has no version, and the
    quantization types are together, unless the policy says otherwise."""
    config = load(tmp_path, MINIMAL + "[formats.ollama]\n")
    assert (config.layout, config.tags_versions) == ("repo-per-release", False)
    assert [policy.together for policy in config.formats] == [False, False]
    config = load(tmp_path, PER_MODEL)
    assert config.tags_versions
    assert [policy.together for policy in config.formats] == [False, True]
    for policy in config.formats:
        assert policy.names.repo.tagged.text == "{base}-{dataset}-{label}"
        assert policy.names.repo.untagged.text == "{run}-{label}-{exported:%Y%m%d-%H%M%S}"
    assert not load(tmp_path, PER_MODEL + "together = false\n").formats[1].together
    assert load(tmp_path, MINIMAL + "[formats.ollama]\ntogether = true\n").formats[1].together


def test_layout_that_is_none(tmp_path: Path) -> None:
    """Mistakes of the layout have their keys."""
    text = PER_MODEL.replace("repo-per-model", "repo-per-modal") + "together = 1\n"
    assert mistakes(tmp_path, text.replace("[formats.vllm]\n", "[formats.vllm]\ntogether = true\n")) == [
        "hub.layout unknown 'repo-per-modal': did you mean 'repo-per-model'?",
        "formats.vllm.together is of formats that make several files of one model, which this one does not",
        "formats.ollama.together must be true or false, not 1",
    ]


def test_version_in_the_name_of_all_versions(tmp_path: Path) -> None:
    """With one repo for a model, a pattern of repos with a version or a date of the export contradicts it."""
    naming = '[naming]\nrepo = { tagged = "{base}-{label}-v{version}" }\n'
    told = "but with [hub] layout = 'repo-per-model' a repo has all versions"
    assert mistakes(tmp_path, PER_MODEL + naming) == [f"naming.repo.tagged has {{version}}, {told}"]
    own = 'repo = { tagged = "{base}-{label}-{exported:%Y%m%d}", untagged = "{run}-{exported:%Y%m%d}" }\n'
    assert mistakes(tmp_path, PER_MODEL + own) == [f"formats.ollama.repo.tagged has {{exported}}, {told}"]
    assert load(tmp_path, PER_MODEL + 'repo = { untagged = "{run}-{exported:%Y%m%d}" }\n')
    assert load(tmp_path, MINIMAL + naming)


def test_names_of_shared_repos_are_read(tmp_path: Path) -> None:
    """A repo of all quantization types is read as one of its format, and names of former days still are."""
    config = load(tmp_path, PER_MODEL)
    for name, style, quant in (
        ("phi3-minimal-gguf", "policy", None),
        ("phi3-minimal-q8_0-gguf-v1.0.0", "older", "q8_0"),
    ):
        (reading,) = read_as("repo", f"acme/{name}", config)
        assert reading.format is not None
        assert (reading.format.name, reading.style, reading.quant, reading.tagged) == ("ollama", style, quant, True)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_port_of_a_registry(tmp_path: Path, port: str) -> None:
    """A port that is none is a mistake in release.toml, and not something to be found at the end of a release."""
    text = f'[project]\nnamespace = "acme"\n[formats.lora]\n[publish]\noci = "localhost:{port}/models"\n'
    with pytest.raises(UsageError, match=f"publish.oci has {port} as its port, which is none: they are 1 to 65535"):
        parse_config(text, tmp_path / "release.toml", {})
    parse_config(text.replace(port, "65535"), tmp_path / "release.toml", {})
