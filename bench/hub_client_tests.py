"""huggingface_hub's own tests against the embedded Hub: `python -m bench.hub_client_tests [pytest's options]`.

The tests are in the client's source distribution, which pip fetches; they run in a virtual environment of their own
(both stay in `--folder`), with users, tokens and the repositories that they expect (bench/hub_client). Printed is, for
each class, how many of the tests that made a request to the Hub passed, then what failed and why. Status 1 says that a
failure is not explained in bench/hub_client/left.toml, or that an explained one passes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from tagship.hub_server.app import EmbeddedHub

from bench.hub_client.fixtures import make_fixtures
from bench.hub_client.report import outcomes, print_report
from bench.hub_client.users import DIRECTORY, OPERATOR_TOKEN

_CLIENT = "2.4.0"
_NEEDS = (f"huggingface_hub=={_CLIENT}", "pytest", "pytest-mock", "pytest-asyncio", "pytest-xdist", "pytest-timeout")
# In which a Hub for models has a part; the others are about inference, jobs, spaces, buckets or the client alone.
_FILES = (
    *("test_hf_api", "test_cli_discussions", "test_repocard", "test_snapshot_download", "test_cache_layout"),
    *("test_file_download", "test_hf_file_system", "test_hub_mixin", "test_commit_scheduler", "test_commit_api"),
    *("test_xet_upload", "test_xet_download", "test_copy_files", "test_cache_no_symlinks", "test_utils_cache"),
    *("test_utils_http", "test_kernels", "test_lfs", "test_cli", "test_auth", "test_verification"),
)
_HERE = Path(__file__).parent / "hub_client"


def _tests(folder: Path) -> Path:
    """The folder of the client's tests, fetched once."""
    unpacked = folder / f"huggingface_hub-{_CLIENT}"
    if not unpacked.exists():
        sdist = f"huggingface_hub=={_CLIENT}"
        fetch = ("download", "--quiet", "--no-binary", ":all:", "--no-deps", "--dest", str(folder), sdist)
        subprocess.run([sys.executable, "-m", "pip", *fetch], check=True)
        with tarfile.open(folder / f"huggingface_hub-{_CLIENT}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return unpacked / "tests"


def _python(folder: Path) -> Path:
    """The interpreter of a virtual environment that has what the tests import."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        extras = ("pytest-vcr", "Jinja2", "numpy", "Pillow", "fastapi")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_NEEDS, *extras], check=True)
    return python


def _place(tests: Path, place: Path, constants: dict[str, str], literals: dict[str, str]) -> None:
    """A copy of the tests with our fixtures, with constants that lead to our Hub, and ids that things have there."""
    shutil.copytree(tests, place / "tests")
    for path in (place / "tests").glob("*.py"):
        text = path.read_text()
        for theirs, ours in literals.items():
            text = text.replace(theirs, ours)
        path.write_text(text)
    shutil.copy(_HERE / "conftest.py", place / "tests")
    shutil.copytree(_HERE / "cards", place / "tests" / "fixtures" / "cards")
    (place / "tests" / "__init__.py").touch()
    (place / "pytest.ini").write_text((_HERE / "pytest.ini").read_text())
    with (place / "tests" / "testing_constants.py").open("a") as file:
        file.writelines(f"\n{name} = {value!r}" for name, value in constants.items())


def _constants(url: str) -> dict[str, str]:
    scheme = url + "/{repo_id}/resolve/{revision}/{filename}"
    return {"ENDPOINT_STAGING": url, "ENDPOINT_PRODUCTION": url, "ENDPOINT_PRODUCTION_URL_SCHEME": scheme}


def _run(python: Path, place: Path, url: str, options: list[str]) -> Path:
    """Run the tests; the file with a line for each phase of each test."""
    report = place / "report.jsonl"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
    environment |= {"HF_ENDPOINT": url, "HUB_CLIENT_REPORT": str(report), "HOME": str(place)}
    files = [f"tests/{name}.py" for name in _FILES]
    chosen = options if any("test_" in option for option in options) else [*files, *options]
    subprocess.run([python, "-m", "pytest", *chosen], cwd=place, env=environment)
    return report


def main() -> int:
    """Fetch, serve, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "hub-client-tests"))
    arguments, options = parser.parse_known_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    tests, python = _tests(arguments.folder), _python(arguments.folder)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        with EmbeddedHub(root=place / "hub", directory=DIRECTORY) as hub:
            literals = make_fixtures(HfApi(endpoint=hub.url, token=OPERATOR_TOKEN))
            _place(tests, place, _constants(hub.url), literals)
            report = _run(python, place, hub.url, options)
        found = outcomes(report)
    return 0 if print_report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
