"""The page of the matrix in a browser, as wide as a phone and as a screen."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tagship.policy.config import load_config
from tagship.published.matrix import document, matrices
from tagship.release.step import templates_of

from tests.published.conftest import Releases
from tests.published.test_matrix import POLICY, SHOWN

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to look at the page"),
]

# The page in a frame, and what a script beside it sees: its width, what it shows, and what it asked for.
LOOKING = """<!doctype html>
<iframe id="page" src="matrix.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<pre id="seen"></pre><script>
document.getElementById("page").onload = event => {{
  const page = event.target.contentDocument
  const heads = [...page.querySelectorAll("thead")].filter(each => each.getClientRects().length)
  const asked = event.target.contentWindow.performance.getEntriesByType("resource").length
  document.getElementById("seen").textContent = [page.documentElement.scrollWidth, heads.length, asked].join(" ")
}}
</script>
"""


@pytest.fixture
def page(releases: Releases, tmp_path: Path) -> Path:
    """The page of two models in several formats and versions."""
    (tmp_path / "release.toml").write_text(POLICY)
    config = load_config(tmp_path / "release.toml", {})
    for tag in ("v1.0.0", "v2.0.0", "v2.1.0-rc.1"):
        releases.put(f"acme/phi3-minimal-vllm-{tag}", tag)
        gguf = {"format": "ollama", "quant": "q4_k_m", "evidence": SHOWN}
        releases.put(f"acme/phi3-minimal-q4_k_m-gguf-{tag}", tag, **gguf)
    by_time = "acme/phi3-minimal-r32-a64-e20-20250914-132416-vllm-20250915-124051"
    releases.put(by_time, None)
    models = [document(each, "https://hub.example.org") for each in matrices(releases.hub, config)]
    path = tmp_path / "matrix.html"
    path.write_text(templates_of(config).render("matrix.html.j2", namespace="acme", models=models))
    return path


@pytest.mark.parametrize(("width", "heads"), [(390, False), (1280, True)])
def test_matrix_page(page: Path, width: int, heads: bool) -> None:
    """Nothing is wider than the screen, tables have their heads where there is room, and nothing is loaded from
    elsewhere."""
    assert BROWSER is not None
    (page.parent / "looking.html").write_text(LOOKING.format(width=width))
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"),
            *(f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"),
            (page.parent / "looking.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = re.search(r'<pre id="seen">(\d+) (\d+) (\d+)</pre>', done.stdout)
    assert seen, done.stdout[-2000:] + done.stderr[-2000:]
    assert int(seen[1]) <= width
    assert (int(seen[2]) > 0) is heads
    assert int(seen[3]) == 0
