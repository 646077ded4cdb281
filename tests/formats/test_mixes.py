"""Mixes of types that are found for a model: what may be asked for, what is found, and making the same again."""

from pathlib import Path

import pytest
import tomli
from msgspec.structs import replace
from tagship.formats.ollama.format import FORMAT
from tagship.formats.ollama.mix_search import NEARER, as_toml, patterns_of, record_of, within_bits, within_limit
from tagship.formats.ollama.mixes import MixAim, problem_of_name
from tagship.formats.ollama.settings import OllamaSettings, read_tensors
from tagship.formats.ollama.tensor_costs import Part, TensorCosts, parts_of, tokens_for
from tagship.formats.protocol import ExportJob
from tagship.gguf.header import read_gguf_header
from tagship.gguf.kl_search import Tried
from tagship.gguf.quant_mix import GgufTensor, Mix, ModelFacts, tensor_types
from tagship.gguf.tensor_categories import may_be_quantized
from tagship.gguf.tensor_errors import Coded
from tagship.policy.config import load_config
from tagship.system.errors import ReleaseError, UsageError
from tagship.system.progress import silent
from tagship.system.toml_reader import Reader

from tests import tiny
from tests.formats import jobs

SMALL, CLOSE = MixAim(name="small", bpw=4.5), MixAim(name="close", kl=0.02)
POLICY = '[project]\nnamespace = "acme"\n[formats.ollama]\n'
KINDS = {"Q2_K": (26, 0.1), "Q4_K": (45, 0.01), "Q8_0": (85, 0.001)}


def costs(*names: str) -> TensorCosts:
    """Tensors of 8,000 numbers that lose alike, each a part by itself, in a file that has nothing else."""
    return TensorCosts(
        table={
            name: tuple(Coded(type=kind, size=100 * bits, loss=loss) for kind, (bits, loss) in KINDS.items())
            for name in names
        },
        parts=tuple(Part(names=(name,), losses=0.1, kl=0.1 * 4**place) for place, name in enumerate(names, 1)),
        tokens=64,
        others=0,
        elements=8000 * len(names),
    )


NAMES = ("token_embd.weight", *(f"blk.{layer}.{part}.weight" for layer in range(3) for part in ("attn_q", "ffn_down")))


def mistakes(folder: Path, text: str) -> str:
    (folder / "release.toml").write_text(POLICY + text)
    with pytest.raises(UsageError) as caught:
        load_config(folder / "release.toml", {})
    return str(caught.value)


def test_what_a_policy_may_ask_for(tmp_path: Path) -> None:
    """A mix has bits or a divergence, each above zero, and not both; what else its table says is a mistake."""
    said = mistakes(
        tmp_path,
        "[formats.ollama.mixes]\nboth = { bpw = 4, kl = 0.1 }\nnone = {}\nword = { bpw = 'x' }\nzero = { kl = 0 }\n"
        "more = { bpw = 4, bits = 3 }\nplain = 4\n",
    )
    assert said.startswith("release.toml has 6 mistakes")
    assert "formats.ollama.mixes.both.kl is asked for beside bpw" in said
    assert "formats.ollama.mixes.none.bpw is missing: say bpw = 4.5" in said
    assert "formats.ollama.mixes.word.bpw must be a number above zero" in said
    assert "formats.ollama.mixes.zero.kl must be a number above zero" in said
    assert "formats.ollama.mixes.more.bits" in said
    assert "formats.ollama.mixes.plain must be a table" in said


@pytest.mark.parametrize(
    "name",
    [
        "q4",
        "q4_k_m",
        "iq3",
        "f16",
        "xf16",
        "bf16",
        "4bit",
        "int4",
        "Small",
        "a",
        "my-mix",
        "gguf",
        "small.gguf",
        "v2.safetensors",
    ],
)
def test_names_that_would_be_misread(name: str, tmp_path: Path) -> None:
    """No mix is called what somebody would take for a type of llama.cpp's, or what is in names already."""
    assert problem_of_name(name)
    key = name if "." not in name else f'"{name}"'
    assert f"formats.ollama.mixes.{key}" in mistakes(tmp_path, f"[formats.ollama.mixes.{key}]\nbpw = 4\n")


@pytest.mark.parametrize("name", ["small", "laptop", "v2", "phone8gb", "bpw4.5"])
def test_names_of_mixes(name: str) -> None:
    """Words with digits and dots are fine."""
    assert problem_of_name(name) is None


def test_mixes_beside_types(tmp_path: Path) -> None:
    """Mixes are exports beside the types that are named, and no type is made where none is; `--quant` and limits know
    them by their names."""
    text = "[formats.ollama.mixes]\nsmall = { bpw = 4.5 }\nclose = { kl = 0.02 }\n[verify.limits.close]\nkl = 1\n"
    (tmp_path / "release.toml").write_text(POLICY + text)
    config = load_config(tmp_path / "release.toml", {})
    (policy,) = config.formats
    assert [each.kind for each in FORMAT.variants(policy.settings, ())] == ["ollama", "ollama_close"]
    assert policy.settings.exports == ("small", "close")
    assert {"small", "close", "q4_k_m"} <= set(FORMAT.quants_of(policy.settings))
    assert config.verify.limits["close"].kl == 1
    both = load_of(tmp_path, 'quants = ["q8_0"]\n' + text)
    assert [each.kind for each in FORMAT.variants(both, ())] == ["ollama", "ollama_small", "ollama_close"]
    assert both.mix("q8_0") is None
    assert load_of(tmp_path, "quants = []\n" + text).exports == ("small", "close")
    assert "formats.ollama.quants is empty" in mistakes(tmp_path, "quants = []\n")


def test_types_of_tensors_beside_mixes_alone(tmp_path: Path) -> None:
    """Types that are chosen for tensors are for quantization types: where there is none, that is told."""
    text = "[formats.ollama.mixes]\nsmall = { bpw = 4.5 }\n[formats.ollama.tensors]\noutput = 'q8_0'\n"
    said = mistakes(tmp_path, text)
    assert "formats.ollama.tensors chooses types in quantization types, of which there is none beside the mixes" in said
    assert load_of(tmp_path, 'quants = ["q4_k_m"]\n' + text).tensors


def test_what_an_export_is_made_by(tmp_path: Path) -> None:
    """Another type, another mix and what is chosen in those change nothing of an export; what is chosen in its own
    type does."""
    mixes = "[formats.ollama.mixes]\nsmall = { bpw = 4.5 }\n"
    tensors = "[formats.ollama.tensors]\noutput = 'q8_0'\n[formats.ollama.tensors.q5_k_m]\nffn_down = 'q6_k'\n"
    one = load_of(tmp_path, 'quants = ["q4_k_m", "q5_k_m"]\n' + tensors)
    other = load_of(tmp_path, 'quants = ["q8_0", "q4_k_m"]\n' + mixes + tensors.replace("q6_k", "q5_k"))
    changed = load_of(tmp_path, 'quants = ["q4_k_m"]\n' + mixes.replace("4.5", "5") + tensors.replace("q8_0", "q6_k"))
    assert one.of("q4_k_m") == other.of("q4_k_m") != changed.of("q4_k_m")
    assert one.of("q5_k_m") != other.of("q5_k_m")
    assert other.of("small") != changed.of("small")
    assert other.of("small").mix("small") == MixAim(name="small", bpw=4.5)


def load_of(folder: Path, text: str) -> OllamaSettings:
    (folder / "release.toml").write_text(POLICY + text)
    settings: OllamaSettings = load_config(folder / "release.toml", {}).formats[0].settings
    return settings


def test_limits() -> None:
    """A mix for a divergence is held to that; one of so many bits to llama.cpp's type of as many."""
    settings = OllamaSettings(quants=(), template=None, imatrix=None, mixes=(SMALL, CLOSE, MixAim(name="big", bpw=6.7)))
    small, close, big = (FORMAT.limits_of(settings, variant) for variant in FORMAT.variants(settings, ()))
    assert close.kl == 0.02 and close.key == "[verify.limits.close]"
    assert (small.kl, big.kl) == (0.3, 0.06)
    assert big.top1 == 0.85


def test_parts() -> None:
    """Tensors are measured one by one where they are few; else those called alike in layers beside each other."""
    names = [f"blk.{layer}.{part}.weight" for layer in range(6) for part in ("attn_q", "ffn_up")]
    assert parts_of([*names, "output.weight"]) == [(name,) for name in [*names, "output.weight"]]
    assert parts_of(names, most=6) == [
        (f"blk.{first}.{part}.weight", f"blk.{first + 1}.{part}.weight")
        for first in (0, 2, 4)
        for part in ("attn_q", "ffn_up")
    ]
    assert sum(map(len, parts_of(names, most=1))) == 12
    assert parts_of([]) == []
    assert (tokens_for(1), tokens_for(200), tokens_for(10_000)) == (1024, 81, 64)


def test_bits_that_a_model_has() -> None:
    """A mix is within the bits that are asked for; bits that none has are refused with what there is."""
    known = costs(*NAMES)
    found = within_bits(SMALL, known)
    assert sum(each.size for each in found.values()) * 8 <= 4.5 * known.elements
    assert found["blk.2.ffn_down.weight"].size > found["token_embd.weight"].size  # whose errors do less
    for bits, nearest in ((1.0, "2.60"), (9.0, "8.49")):
        with pytest.raises(ReleaseError, match=r"from 2\.60 to 8\.50 bits") as caught:
            within_bits(replace(SMALL, bpw=bits), known)
        assert nearest[:3] in str(caught.value.remedy)


def test_bits_that_shapes_tell(tmp_path: Path) -> None:
    """Bits that no mix of a model has are refused by its shapes, before what types cost is measured."""
    base = tiny.tokenizer(tiny.llama(tmp_path / "base", hidden=256))
    for bits, fits in ((0.5, False), (4.5, True), (8.4, True), (9.5, False)):
        settings = OllamaSettings(
            quants=(), template=None, imatrix=None, calibration=calibration(tmp_path), mixes=(replace(SMALL, bpw=bits),)
        )
        run = tmp_path / "run" if (tmp_path / "run").exists() else tiny.adapter(base, tmp_path / "run")
        made = jobs.job_of(base, run, variant=FORMAT.variants(settings, ())[0], settings=settings)
        if fits:
            assert FORMAT.footprint(made).disk > 0
        else:
            with pytest.raises(ReleaseError, match=r"the mixes of this model have from 2\.\d\d to 8\.\d\d bits"):
                FORMAT.footprint(made)


def test_what_was_searched_for() -> None:
    """Of what was tried the smallest is taken that is a little nearer than asked, else one that is just within; none
    is refused with the divergence of the best."""
    known = costs(*NAMES)

    def tried(size: int, measured: float) -> Tried:
        return Tried(found={}, size=size, predicted=0.01, measured=measured)

    near, just, beyond = tried(500, 0.02 * NEARER), tried(400, 0.0199), tried(300, 0.03)
    assert within_limit(CLOSE, known, [beyond, near, just]) is near
    assert within_limit(CLOSE, known, [beyond, just]) is just
    with pytest.raises(ReleaseError, match=r"kl = 0\.02: no mix of this model is within it.* 0\.03 nats") as caught:
        within_limit(CLOSE, known, [beyond, tried(100, 0.5)])
    assert "kl = 0.033" in str(caught.value.remedy)


def test_a_mix_that_is_pasted() -> None:
    """What is printed for release.toml comes to the very types that were found."""
    known = costs(*NAMES)
    found = within_bits(SMALL, known)
    recorded = record_of(SMALL, known, found, [], None)
    tables = tomli.loads(as_toml(recorded))["formats"]["ollama"]["tensors"]
    pasted = OllamaSettings(
        quants=(), template=None, imatrix=None, tensors=read_tensors(Reader(tables, "formats.ollama.tensors", []))
    )
    (quant,) = tables
    tensors = [GgufTensor(name=name, shape=(8, 256), type="F16") for name in NAMES]
    facts = ModelFacts(architecture="llama", layers=3, experts=0, gqa=1)
    types = tensor_types(Mix(quant=quant, choices=pasted.choices(quant)), tensors, facts)
    assert types == {name: coded.type for name, coded in found.items()}
    assert len(patterns_of(found)) < len(found)


# Found, exported, and made again


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ExportJob:
    """A Llama whose rows take all types, with all that its mixes are made from."""
    pytest.importorskip("conversion")
    pytest.importorskip("xllamacpp")
    folder = tmp_path_factory.mktemp("mixes")
    base = tiny.tokenizer(tiny.llama(folder / "base", hidden=256))
    settings = OllamaSettings(
        quants=(), template=None, imatrix=None, calibration=calibration(folder), mixes=(SMALL, CLOSE)
    )
    made = jobs.job_of(
        base, tiny.adapter(base, folder / "run"), variant=FORMAT.variants(settings, ())[0], settings=settings
    )
    shared: dict[str, Path] = {}
    for part in FORMAT.shares(settings, made.variant):
        shared[part.what] = folder / part.what
        shared[part.what].mkdir()
        FORMAT.share(replace(made, shared=shared), part, shared[part.what], silent)
    return replace(made, shared=shared)


def calibration(folder: Path) -> Path:
    path = folder / "text.txt"
    path.write_text("\n\n".join(f"The quick brown fox jumps over {number} lazy dogs." for number in range(400)))
    return path


def exported(job: ExportJob, folder: Path) -> Path:
    folder.mkdir()
    FORMAT.export([(job, folder)], silent)
    (path,) = (path for path in folder.glob("*.gguf") if path.name != "imatrix.gguf")
    return path


@pytest.mark.slow
def test_a_mix_is_found_exported_and_made_again(job: ExportJob, tmp_path: Path) -> None:
    """A mix has the bits that were asked for and the types that are recorded, is called by its name, and is made again
    from its record alone, byte for byte."""
    path = exported(job, tmp_path / "first")
    assert path.name == "title-SMALL.gguf"
    found = FORMAT.found(job)
    assert found is not None
    tensors = read_gguf_header(path).tensors
    assert 8 * sum(each.nbytes for each in tensors) / sum(each.elements for each in tensors) <= 4.5
    assert found.record["bits"] <= 4.5
    chosen = {each.name: each.type_name for each in tensors if may_be_quantized(each.name, each.shape[::-1])}
    assert len(set(chosen.values())) > 1
    assert sum(found.record["types"].values()) == len(chosen)
    known = replace(job, found=found, shared={"importance matrix": job.shared["importance matrix"]})
    assert exported(known, tmp_path / "again").read_bytes() == path.read_bytes()
    for wrong in (replace(found, tensors={"^(a+)+$": "q4_k"}), replace(found, tensors={"attn": "q4_k_m"})):
        with pytest.raises(ReleaseError, match="names types or patterns that are none"):
            FORMAT.export([(replace(known, found=wrong), tmp_path)], silent)
    assert FORMAT.footprint(known).shared.keys() == {"importance matrix"}
    assert len(FORMAT.footprint(replace(job, found=None)).shared) == 3


@pytest.mark.slow
def test_a_divergence_is_measured(job: ExportJob, tmp_path: Path) -> None:
    """A mix for a divergence is within it as measured, and smaller ones that were tried are not; the same inputs give
    the same mix."""
    settings = replace(job.settings, mixes=(aim := replace(CLOSE, kl=2e-4),))
    mine = replace(job, settings=settings, variant=FORMAT.variants(settings, ())[0])
    part = FORMAT.shares(settings, mine.variant)[-1]
    records = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        FORMAT.share(mine, part, folder, silent)
        assert [each.name for each in folder.iterdir()] == ["mix.json"]
        found = FORMAT.found(replace(mine, shared=mine.shared | {aim.part: folder}))
        assert found is not None
        records.append((found.record, found.tensors))
    assert records[0] == records[1]
    record = records[0][0]
    assert record["measured"] <= aim.kl
    assert all(each["measured"] > aim.kl * NEARER for each in record["tried"] if each["bits"] < record["bits"])
    too_near = replace(aim, kl=1e-9)
    settings = replace(settings, mixes=(too_near,))
    with pytest.raises(ReleaseError, match="no mix of this model is within it"):
        FORMAT.share(replace(mine, settings=settings), FORMAT.shares(settings, mine.variant)[-1], tmp_path, silent)


@pytest.mark.slow
def test_no_mix_without_an_importance_matrix(job: ExportJob) -> None:
    """A mix is refused before anything is exported where nothing tells which columns matter."""
    with pytest.raises(ReleaseError, match=r"mixes\.small\] is found by an importance matrix") as caught:
        FORMAT.footprint(replace(job, settings=replace(job.settings, calibration=None)))
    assert "--imatrix make" in str(caught.value.remedy)
