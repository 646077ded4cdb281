"""Products of float32 with bfloat16 as it is, by each of the loops that this processor can run."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tagship.weights import tiles, vectors
from tagship.weights.compiled import library_of
from tagship.weights.product_loops import ProductLoops
from tagship.weights.scratch import Array

FIND: dict[str, Callable[[Path], ProductLoops | None]] = {"tiles": tiles.find_tiles, "vectors": vectors.find_vectors}
FOUND = {name: find(library_of(name)) for name, find in FIND.items()}
COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="there is no C compiler")


@pytest.fixture(params=FIND)
def loops(request: pytest.FixtureRequest) -> ProductLoops:
    if (found := FOUND[request.param]) is None:
        pytest.skip(f"this processor has no {request.param}, or nothing was compiled")
    return found


def drawn(tokens: int, width: int, rows: int) -> tuple[Array, Array]:
    numbers = np.random.default_rng(tokens + width + rows)
    values = numbers.standard_normal((tokens, width), np.float32)
    return values, numbers.standard_normal((rows, width), np.float32).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize(
    ("tokens", "width", "rows"),
    [
        *((1, 2, 1), (1, 576, 96), (16, 32, 16), (33, 70, 17), (32, 1024, 32), (31, 3000, 300), (513, 64, 257)),
        *((0, 64, 8), (1025, 520, 260), (120, 256, 256), (123, 257, 777)),
    ],
)
def test_as_near_as_float32_comes(loops: ProductLoops, tokens: int, width: int, rows: int) -> None:
    """Of any shape, what is made is no farther from the exact products than a BLAS is."""
    values, weights = drawn(tokens, width, rows)
    made = loops.multiply(values, weights.view(np.uint16))
    exact = values.astype(np.float64) @ weights.astype(np.float64).T
    theirs = values @ weights.astype(np.float32).T
    assert made.dtype == np.float32
    assert made.shape == (tokens, rows)
    assert np.linalg.norm(made - exact) <= 2 * np.linalg.norm(theirs - exact) + 1e-7 * np.linalg.norm(exact)


def test_a_row_is_the_same_beside_others(loops: ProductLoops) -> None:
    """What a token's products are is not told by which tokens and rows there are beside."""
    values, weights = drawn(45, 800, 70)
    whole = loops.multiply(values, weights.view(np.uint16))
    some = loops.multiply(values[32:].copy(), weights[:40].view(np.uint16))
    assert (some == whole[32:, :40]).all()


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so(loops: ProductLoops, number: float) -> None:
    """It spoils the token that it is in, and no other."""
    values, weights = drawn(40, 64, 48)
    values[7, 3] = number
    made = loops.multiply(values, weights.view(np.uint16))
    assert (~np.isfinite(made)).any(axis=1).tolist() == [token == 7 for token in range(40)]


@needs_compiler
@pytest.mark.parametrize(
    ("name", "change", "right"),
    [
        ("tiles", ("", ""), True),
        ("tiles", ("#define TERMS 3", "#define TERMS 2"), False),
        ("tiles", ("    if (goes_on) {", "    if (0) {"), False),
        ("tiles", ("here - some, both)", "here - some, both) - 1"), False),
        ("vectors", ("", ""), True),
        ("vectors", ("depth, to, count, from == 0)", "depth, to, count, 1)"), False),
        ("vectors", ("for (; column < to; column++)", "for (; 0;)"), False),
        (
            "vectors",
            ("token < tokens; token++)\n        memcpy(made", "token < 1; token++)\n        memcpy(made"),
            False,
        ),
        ("vectors", ("!first && token < tokens", "0"), False),
        ("vectors", ("arranged + from * padded", "arranged + from * tokens"), False),
        ("vectors", ("_mm_unpacklo_epi64(a[i], a[i + 4])", "_mm_unpacklo_epi64(a[i + 4], a[i])"), False),
    ],
    ids=lambda value: value[0] or "as it is" if isinstance(value, tuple) else str(value),
)
def test_a_loop_that_is_wrong(tmp_path: Path, name: str, change: tuple[str, str], right: bool) -> None:
    """A loop that makes something else on this machine is not used."""
    if FOUND[name] is None:
        pytest.skip(f"this processor has no {name}, or nothing was compiled")
    text = library_of(name).with_name(f"{name}.c").read_text()
    assert change[0] in text
    (tmp_path / "changed.c").write_text(text.replace(*change) if change[0] else text)
    compiled = tmp_path / "changed.so"
    subprocess.run(["cc", "-O1", "-std=c11", "-shared", "-fPIC", "-o", compiled, tmp_path / "changed.c"], check=True)
    assert (FIND[name](compiled) is not None) == right


@needs_compiler
@pytest.mark.parametrize("name", FIND)
def test_without_the_loop(tmp_path: Path, name: str) -> None:
    """A library that is not there, is none, or is not for this processor is not used."""
    find, library = FIND[name], tmp_path / "none.so"
    assert find(library) is None
    library.write_bytes(b"for another machine")
    assert find(library) is None
    (tmp_path / "none.c").write_text(f"int tagship_{name}_begin(void) {{ return 0; }}")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "made.so", tmp_path / "none.c"], check=True)
    assert find(tmp_path / "made.so") is None
