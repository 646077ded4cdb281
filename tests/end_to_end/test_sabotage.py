"""Exports that were spoilt on purpose: none passes verification, and each refusal names what was done.

One release of the example, with a chat template that knows tools and a rope scaling, is exported once and its answers
are known; each test spoils a copy. The steps are those that `invoke release` runs before anything is public.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace
from tagship.artifacts.manifest import list_files, read_manifest
from tagship.formats.ollama.mixes import MixAim
from tagship.formats.shared_parts import FoundTypes
from tagship.policy.config import load_config
from tagship.policy.verify import QUICK, OwnLimits
from tagship.release import steps
from tagship.release.jobs import job_of
from tagship.release.native import ask_natively, check_free, native_findings, natively, predicted_natively
from tagship.release.options import Options
from tagship.release.plan import Plan, make_plan
from tagship.release.results import Exported, Fetched, Results, Verified
from tagship.release.runner import run_steps
from tagship.release.step import Tools, open_tools
from tagship.release.targets import Target
from tagship.release.verifying import limits_of, verify_export
from tagship.runs.base_folder import BaseFolder
from tagship.system.console import Console
from tagship.system.errors import ReleaseError, ToolError
from tagship.system.git import Repository
from tagship.system.progress import silent
from tagship.verify.evidence import Evidence, Native
from tagship.verify.questions import Limits
from tagship.verify.runtimes.protocol import Subject
from tagship.verify.runtimes.registry import find_runtime

from tests import tiny
from tests.conftest import InstallPackage
from tests.end_to_end import spoiling
from tests.end_to_end.conftest import Project
from tests.end_to_end.spoiling import Spoil

NOW = datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC)
TOOLS_BRANCH = "{% if tools %}{{ '<|system|>\\n' + (tools | tojson) + '<|end|>\\n' }}{% endif %}"
SECOND_SHARD = "model-00002-of-00002.safetensors"
TEMPLATE, TOKENIZER = "chat_template.jinja", "tokenizer.json"
LAYER = "model.layers.{}.mlp.down_proj.weight"
QKV = "model.layers.1.self_attn.qkv_proj.weight"
# The mildest way to scale: nothing of it shows in a short answer, but for the scale of attention.
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "short_factor": [1.0] * 32,
    "long_factor": [4.0] * 32,
}
Copy = Callable[[str], Path]


class Release(Struct, frozen=True, kw_only=True):
    """A release whose exports are made and whose reference has answered."""

    plan: Plan
    tools: Tools
    done: Results

    @property
    def base(self) -> BaseFolder:
        return self.done.one(Fetched).base

    def target(self, form: str) -> Target:
        return next(target for target in self.plan.targets if target.policy.name == form)

    def state(self, form: str) -> Path:
        return self.plan.config.state / "exports" / f"{self.target(form).export_dir.name}.json"

    def export(self, form: str, folder: Path, *, base: Path | None = None, **job: Any) -> Path:
        """An export in another folder, of another base, run or variant."""
        target = self.target(form)
        given = job_of(self.plan, target, replace(self.base, path=base or self.base.path), self.tools.templates)
        folder.mkdir()
        target.policy.format.export([(replace(given, **job), folder)], silent)
        return folder

    def exported(self, form: str, folder: Path) -> Exported:
        target = self.target(form)
        return Exported(target=target, folder=folder, manifest=read_manifest(target.export_dir))

    def verify(self, form: str, folder: Path) -> Verified:
        done = self.done.plus([self.exported(form, folder)])
        *_, verified = verify_export(self.plan, self.target(form), done, self.tools)
        assert isinstance(verified, Verified)
        return verified

    def natively(self, native: bool) -> "Release":
        """With `[verify] native`."""
        config = self.plan.config
        verify = replace(config.verify, native=native)
        return replace(self, plan=replace(self.plan, config=replace(config, verify=verify)))

    def refusal(self, form: str, folder: Path) -> str:
        """Why a spoilt export is refused; the next command makes it anew. What is kept of the good one is put back."""
        kept = self.state(form).read_bytes()
        try:
            with pytest.raises(ReleaseError) as caught:
                self.verify(form, folder)
            assert not self.state(form).exists(), "the next command would keep it"
        finally:
            self.state(form).write_bytes(kept)
        assert "export it again" in str(caught.value.remedy)
        assert list(folder.parent.glob(".again*")) == []
        return str(caught.value)


@pytest.fixture(scope="module")
def release(make_project: Callable[[], Project], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    project = make_project()
    base = project.folder / "examples/avro/base"
    (base / TEMPLATE).write_text(TOOLS_BRANCH + (base / TEMPLATE).read_text())
    tiny.edit_json(base / "config.json", rope_parameters=LONGROPE, max_position_embeddings=2048)
    project.git("commit", "--quiet", "--all", "--message=feat: know tools")
    with pytest.MonkeyPatch.context() as patch, Repository(project.folder) as repository:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        plan = make_plan(load_config(project.folder / "release.toml", {}), Options(), repository, NOW)
        with open_tools(plan, repository, Console(interactive=False)) as tools:
            known = (steps.BASE, steps.FIT, steps.EXPORT, steps.REFERENCE)
            yield Release(plan=plan, tools=tools, done=run_steps(known, plan, tools).results)


@pytest.fixture
def copied(release: Release, tmp_path: Path) -> Copy:
    """A function that copies an export, to be spoilt."""

    def copy(form: str) -> Path:
        good = release.target(form).export_dir
        return Path(shutil.copytree(good, tmp_path / good.name))

    return copy


def case(name: str, spoil: Spoil, words: str) -> Any:
    """How an export is spoilt, and what its refusal says."""
    return pytest.param(spoil, words, id=name)


def test_nothing_spoilt(release: Release, copied: Copy) -> None:
    """Exports as they are made pass, also with what tests put into them."""
    for form in ("vllm", "ollama", "lora"):
        assert release.verify(form, copied(form)).evidence.outcome == "passed"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        case("zeroed tensor", spoiling.zeroed(LAYER.format(1)), f"{LAYER.format(1)} is all zero in model-0000"),
        case(
            "swapped layers",
            spoiling.swapped(LAYER.format(0), LAYER.format(2)),
            f"{LAYER.format(0)} has the numbers of {LAYER.format(2)}; {LAYER.format(2)} has the numbers of "
            f"{LAYER.format(0)}",
        ),
        case("other base", spoiling.shifted(QKV), f"{QKV} has other numbers"),
        case("lost head", spoiling.without_tensor("lm_head.weight"), "lm_head.weight"),
        case("truncated shard", spoiling.truncated, f"{SECOND_SHARD} is not a whole safetensors file"),
        case("lost shard", spoiling.removed(SECOND_SHARD), f"{SECOND_SHARD} is missing"),
        case("no template", spoiling.removed(TEMPLATE), f"{TEMPLATE} is missing"),
        case("other template", spoiling.replaced(TEMPLATE, "<|end|>", "<|End|>"), f"{TEMPLATE} is another"),
        case("no tools branch", spoiling.replaced(TEMPLATE, TOOLS_BRANCH, ""), f"{TEMPLATE} is another"),
        case("other tokenizer", spoiling.replaced(TOKENIZER, '"▁C"', '"▁Ç"'), f"merges is another in {TOKENIZER}"),
        case(
            "lost rope",
            spoiling.without_key("config.json", "rope_parameters"),
            "rope_parameters is missing in config.json",
        ),
        case(
            "lost stop token",
            spoiling.without_key("generation_config.json", "eos_token_id"),
            "eos_token_id is missing in generation_config.json",
        ),
    ],
)
def test_merged_model(release: Release, copied: Copy, spoil: Spoil, words: str) -> None:
    """A merged model with a tensor, a file or a key that is not the trained model's is refused by that."""
    spoil(folder := copied("vllm"))
    assert words in release.refusal("vllm", folder)


@pytest.mark.parametrize(
    ("factor", "words"),
    [(2.0, "the adapter's change is 2 times in"), (0.5, "is 0.5 times in"), (0.001, "the adapter's change is not in")],
)
def test_wrong_scale(release: Release, tmp_path: Path, factor: float, words: str) -> None:
    """A merge by another lora_alpha is told by how many times the adapter is in it."""
    run = release.plan.run
    other = spoiling.with_alpha(run, tmp_path / run.name, run.adapter.alpha * factor)
    assert words in release.refusal("vllm", release.export("vllm", tmp_path / "made", run=other))


def test_merged_twice(release: Release, tmp_path: Path) -> None:
    """So is an adapter that was merged into a base that had it already."""
    spoilt = release.export("vllm", tmp_path / "made", base=release.target("vllm").export_dir)
    assert "the adapter's change is 2 times in model.layers" in release.refusal("vllm", spoilt)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        case("zeroed tensor", spoiling.zeroed_in_gguf("blk.1.ffn_down.weight"), "blk.1.ffn_down.weight is all zero"),
        case(
            "swapped layers",
            spoiling.swapped_in_gguf("blk.0.ffn_up.weight", "blk.1.ffn_up.weight"),
            "blk.0.ffn_up.weight has the numbers of blk.1.ffn_up.weight",
        ),
        case("truncated", spoiling.truncated, "is not a whole GGUF file"),
        case("lost head", spoiling.renamed(("output.weight", "outfut.weight")), "output.weight, its head, is missing"),
        case("no template", spoiling.renamed(("chat_template", "chat_templete")), "its chat template is missing"),
        case("no tools branch", spoiling.renamed(("{% if tools %}", "{% if toold %}")), "its chat template is another"),
        case(
            "lost rope",
            spoiling.renamed(
                ("rope_factors_long", "nope_factors_long"),
                ("rope_factors_short", "nope_factors_short"),
                (".rope.scaling.attn_factor", ".nope.scaling.attn_factor"),
            ),
            "the rope scaling (longrope) is missing",
        ),
        case(
            "lost stop token", spoiling.renamed(("ggml.eos_token_id", "ggml.eos_token_no")), "eos_token_id, the token"
        ),
        case("no stop for Ollama", spoiling.without_key("params", "stop"), "params is another"),
        case("other tokenizer", spoiling.renamed(("▁schema", "▁achems")), "tokenizer.ggml.tokens is another"),
        case("other file type", spoiling.with_file_type(7), "general.file_type says Q8_0"),
        case("Go template", spoiling.written("template", "{{ .Prompt }}"), "a template that nothing made"),
    ],
)
def test_gguf(release: Release, copied: Copy, spoil: Spoil, words: str) -> None:
    """So is a GGUF, by its tensors, its keys, its types, and what Ollama runs it by."""
    spoil(folder := copied("ollama"))
    assert words in release.refusal("ollama", folder)


def test_wrong_mix_of_types(release: Release, tmp_path: Path) -> None:
    """A GGUF whose tensors are of a better type than its name and its file type say answers well, and is refused."""
    policy = release.target("ollama").policy
    (variant,) = policy.format.variants(policy.settings, ("q8_0",))
    made = release.export("ollama", tmp_path / "made", variant=variant)
    folder = release.export("ollama", tmp_path / "named")
    spoiling.gguf_of(made).rename(spoiling.gguf_of(folder))
    spoiling.with_file_type(15)(folder)
    told = release.refusal("ollama", folder)
    assert "is not the q4_k_m GGUF of this model: token_embd.weight is Q8_0 and not Q4_K" in told


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        case(
            "wrong scale",
            spoiling.replaced("adapter_config.json", '"lora_alpha": 32', '"lora_alpha": 64'),
            "lora_alpha is 64 and not 32",
        ),
        case("flipped bit", lambda folder: spoiling.flip(folder / "adapter_model.safetensors", -1), "is not the run's"),
        case("truncated", spoiling.truncated, "adapter_model.safetensors is not the run's"),
        case("no tools branch", spoiling.replaced(TEMPLATE, TOOLS_BRANCH, ""), f"{TEMPLATE} is another"),
        case("other tokenizer", spoiling.replaced(TOKENIZER, '"▁C"', '"▁Ç"'), f"merges is another in {TOKENIZER}"),
    ],
)
def test_adapter(release: Release, copied: Copy, spoil: Spoil, words: str) -> None:
    """The adapter is the run's, with the files that it is published with."""
    spoil(folder := copied("lora"))
    assert words in release.refusal("lora", folder)


def test_base_of_another_revision(release: Release, copied: Copy, tmp_path: Path) -> None:
    """Where the base has changed since the export, that is named."""
    held = Path(shutil.copytree(release.base.path, tmp_path / "base"))
    spoilt = release.export("vllm", tmp_path / "made", base=held)
    spoiling.zeroed(QKV)(spoilt)
    try:
        spoiling.shifted(QKV)(release.base.path)
        with pytest.raises(ReleaseError, match=r"since vllm was exported .*base/model.*safetensors"):
            release.verify("vllm", spoilt)
    finally:
        shutil.copytree(held, release.base.path, dirs_exist_ok=True)


def test_a_limit_is_no_damage(release: Release, copied: Copy) -> None:
    """An export that is what exporting makes, and is refused, is said to be undamaged, and is kept."""
    verify = replace(release.plan.config.verify, limits={"q4_k_m": OwnLimits(kl=1e-9)})
    strict = replace(release, plan=replace(release.plan, config=replace(release.plan.config, verify=verify)))
    with pytest.raises(ReleaseError, match="exported once more it is the same, byte by byte") as caught:
        strict.verify("ollama", copied("ollama"))
    assert "[verify.limits.q4_k_m]" in str(caught.value.remedy)
    assert release.state("ollama").exists()


def test_a_mix_of_another_policy_is_made_as_it_was(release: Release, tmp_path: Path) -> None:
    """A mix whose policy asks for less divergence than it was found for is refused, after its own types made the same
    bytes once more: nothing is searched for."""
    target = release.target("ollama")
    settings = replace(target.policy.settings, quants=(), mixes=(MixAim(name="near", kl=1e-9),))
    (variant,) = target.policy.format.variants(settings, ())
    target = replace(target, policy=replace(target.policy, settings=settings), variant=variant)
    found = FoundTypes(tensors={"attn_qkv": "q5_k"}, record={"aim": {"kl": 0.02}, "file_type": "q4_k_m"})
    folder = release.export("ollama", tmp_path / "made", settings=settings, variant=variant, found=found)
    manifest = replace(
        read_manifest(target.export_dir),
        quant="near",
        tensors=found.tensors,
        mix=found.record,
        files=list_files(folder),
    )
    exported = Exported(target=target, folder=folder, manifest=manifest)
    with pytest.raises(ReleaseError, match="exported once more it is the same, byte by byte"):
        list(verify_export(release.plan, target, release.done.plus([exported]), release.tools))


@pytest.fixture
def vllm(install_package: InstallPackage) -> None:
    """Something that is asked as vLLM is."""
    install_package("vllm", Path(__file__).with_name("stub_vllm.py").read_text(), {})


@pytest.mark.usefixtures("vllm")
def test_vllm_itself_is_asked_where_it_is_there(release: Release, copied: Copy) -> None:
    """What it answers is held against base + adapter, too, and recorded beside the evidence."""
    evidence = release.verify("vllm", copied("vllm")).evidence
    native = evidence.native
    assert native and native.answers and native.limits
    assert (native.runtime, native.why) == ("vllm (vllm 1.0)", None)
    assert 0 < native.answers.kl < 0.02 < native.limits.kl and native.answers.tokens == evidence.answers.tokens
    assert f"in vllm (vllm 1.0), which people run it by, {native.same} equal" in evidence.summary
    assert Evidence.of(json.loads(json.dumps(evidence.document()))) == evidence


@pytest.mark.usefixtures("vllm")
def test_vllm_that_answers_otherwise(release: Release, copied: Copy) -> None:
    """The export is refused, and kept: its numbers are right. So it is where what is told is no distribution, or not
    what was asked for: another version may have another interface."""
    folder = copied("vllm")
    unlike = r"^the vllm export in vllm \(vllm 1\.0\) does not answer like base"
    (folder / "how.txt").write_text("otherwise")
    with pytest.raises(ReleaseError, match=unlike) as caught:
        release.verify("vllm", folder)
    assert "[verify] native = false" in str(caught.value.remedy)
    assert release.state("vllm").exists()
    target = release.target("vllm")
    done = release.done.plus([release.exported("vllm", folder)])
    for how, words in {
        "logits": unlike,
        "unknown": r"^vLLM tells otherwise than asked of place \d+: it is another version",
        "few": r"^vLLM tells otherwise than asked of place \d+: it is another version",
        "places": r"^vLLM tells of \d+ of \d+ places: it is another version",
    }.items():
        (folder / "how.txt").write_text(how)
        with pytest.raises(ReleaseError, match=words) as caught:
            ask_natively(release.plan, target, done, release.tools, limits_of(release.plan, target))
        assert "[verify] native = false" in str(caught.value.remedy)
    assert release.natively(False).verify("vllm", folder).evidence.native is None
    quick = replace(release, plan=replace(release.plan, extent=QUICK))
    assert quick.verify("vllm", folder).evidence.native is None


@pytest.mark.usefixtures("vllm")
def test_vllm_that_cannot_run_here(release: Release, copied: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no fault of the export, which passes, and is told; where the policy asks for vLLM, it is refused."""
    folder = copied("vllm")
    (folder / "how.txt").write_text("no kernel")
    evidence = release.verify("vllm", folder).evidence
    assert evidence.native == Native(runtime="vllm (vllm 1.0)", why="vllm could not run it on that machine")
    assert Evidence.of(json.loads(json.dumps(evidence.document()))) == evidence
    told = "vLLM does not load it: RuntimeError: no kernel for this machine and more"
    assert told in " ".join(capsys.readouterr().err.split())
    wanted = release.natively(True)
    with pytest.raises(ToolError, match=f"^the vllm export: {told}$"):
        wanted.verify("vllm", folder)
    lenient = replace(wanted.plan.config, verify=replace(wanted.plan.config.verify, required=False))
    kept = replace(wanted, plan=replace(wanted.plan, config=lenient)).verify("vllm", folder).evidence
    assert (kept.outcome, kept.why) == ("untested", "vllm could not run it on that machine")
    assert kept.answers == evidence.answers, "what was seen of its numbers is lost"
    assert f"untested: the vllm export: {told}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("vllm")
def test_where_exports_are_asked_is_told(release: Release) -> None:
    """`doctor` says in which programs a release would ask exports, and in which it would not."""
    told = [finding.what for finding in native_findings(release.plan)]
    assert told[0] == "exports of vllm are asked in vllm (vllm 1.0), too"
    assert all(each.endswith("as mlx_lm is not installed here") for each in told[1:])
    assert "not asked in vllm, as [verify] native says" in next(native_findings(release.natively(False).plan)).what
    # And what comparing takes by it.
    assert predicted_natively(release.plan) == "asking 1 export in vllm, which starts for each, comes to that"
    assert predicted_natively(release.natively(False).plan) is None


def test_vllm_that_is_not_there(release: Release, copied: Copy) -> None:
    """Where the policy asks for it, that is refused, also by what has no gates before it."""
    told = r"^the vllm export: not asked in vllm, which is not installed, and \[verify\] native asks for it$"
    with pytest.raises(ToolError, match=told):
        release.natively(True).verify("vllm", copied("vllm"))


def test_room_for_a_native_runtime(release: Release) -> None:
    """What takes more memory than there is is not tried."""
    runtime, subject = find_runtime("vllm"), Subject(what="it", model=release.target("vllm").export_dir)
    check_free(runtime, subject, runtime.memory_for(subject.model))
    with pytest.raises(ToolError, match=r"^not asked in vllm, which takes 4\.\d GB of memory, of which 1 B is"):
        check_free(runtime, subject, 1)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(kl=0.01, same_tokens=True), Limits(kl=0.06, top1=0.9, same_tokens=False)),
        (Limits(kl=0.3, top1=0.7, same_tokens=False), Limits(kl=0.35, top1=0.6, same_tokens=False)),
        (Limits(kl=1, top1=0, same_tokens=False), Limits(kl=1.05, top1=0, same_tokens=False)),
    ],
)
def test_limits_in_16_bits(limits: Limits, expected: Limits) -> None:
    """A little more is allowed than in 32 bits, and nothing is asked that was not."""
    assert natively(limits) == expected
