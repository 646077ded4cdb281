"""Runs a workflow of GitHub Actions as far as ours go: jobs by what they need, a checkout as actions/checkout makes it,
steps in order with the variables that GitHub sets, artifacts, matrices, called workflows.

What installs is left out: the tests' own environment is what it would make.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct, field

from tests.system.test_actions import read_outputs

SUCCESS, FAILURE, SKIPPED = "success", "failure", "skipped"
_TOKEN = re.compile(r"'(?:[^']|'')*'|&&|\|\||[=!]=|!|[()]|[\w.-]+|\s+")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


class Event(Struct, frozen=True, kw_only=True, dict=True):
    """What starts a run: a push of a tag, or somebody by hand on a branch or a tag, with inputs."""

    name: str
    ref: str
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref_type(self) -> str:
        return "tag" if self.ref.startswith("refs/tags/") else "branch"


class Job(Struct, kw_only=True, dict=True):
    """How a job ended: `result`, its outputs, its log, and the folder that it was done in."""

    result: str
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    workspace: Path = Path()


def matches(event: Event, workflow: Path) -> bool:
    """Whether a push of a tag starts a workflow: GitHub's globs, as far as `*`, which stops at a slash."""
    patterns = (_read(workflow)[True].get("push") or {}).get("tags", [])
    name = event.ref.removeprefix("refs/tags/")
    return any(re.fullmatch("[^/]*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns)


class Runner:
    """A run of one workflow of a repository on a remote; every job has a folder of its own below `folder`."""

    def __init__(self, remote: Path, event: Event, folder: Path, environment: Mapping[str, str]) -> None:
        self.remote, self.event, self.folder = remote, event, folder
        self.artifacts = folder / "artifacts"
        self.jobs: dict[str, Job] = {}
        self.rows: dict[str, Job] = {}  # those of a matrix each by itself
        self.attempt = 0
        self.sha = self._git(remote, "rev-parse", f"{event.ref}^{{commit}}")
        self.environment = {**environment, "PATH": f"{self._programs()}:{environment['PATH']}"}

    def run(self, workflow: Path) -> dict[str, Job]:
        """Run it; a called workflow's jobs are called `CALLER / JOB`. Run once more it is "Re-run failed jobs": what
        succeeded is not done again, nor are its artifacts."""
        self.attempt += 1
        given = {name: each.get("default", "") for name, each in _inputs(_read(workflow), self.event.name).items()}
        self._run_jobs(workflow, {**given, **self.event.inputs}, "")
        return self.jobs

    def _run_jobs(self, workflow: Path, inputs: Mapping[str, Any], prefix: str) -> dict[str, Job]:
        document, done = _read(workflow), dict[str, Job]()
        for name, job in document["jobs"].items():
            needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            context: dict[str, Any] = {
                "inputs": inputs,
                "needs": {each: {"outputs": done[each].outputs, "result": done[each].result} for each in needs},
            }
            done[name] = self._job(workflow, name, job, context, prefix, [done[each].result for each in needs])
            self.jobs[prefix + name] = done[name]
        return done

    def _job(
        self, workflow: Path, name: str, job: Mapping[str, Any], context: dict[str, Any], prefix: str, before: list[str]
    ) -> Job:
        # Without a function of status a condition has `success()` before it.
        condition = str(job.get("if", "")).removeprefix("${{").removesuffix("}}").strip()
        succeeded = all(result == SUCCESS for result in before)
        if not (succeeded or "cancelled()" in condition) or (condition and not self._value(condition, context)):
            return Job(result=SKIPPED)
        if "uses" in job:
            return self._call(workflow, name, job, context, prefix)
        matrix = self._filled(job["strategy"]["matrix"], context)["include"] if "strategy" in job else [None]
        ended = [self._row(f"{prefix}{name}-{n}", job, {**context, "matrix": row}) for n, row in enumerate(matrix)]
        result = SUCCESS if all(each.result == SUCCESS for each in ended) else FAILURE
        last = ended[-1]
        return Job(result=result, outputs=last.outputs, log="".join(j.log for j in ended), workspace=last.workspace)

    def _call(self, workflow: Path, name: str, job: Mapping[str, Any], context: dict[str, Any], prefix: str) -> Job:
        called = workflow.parents[2] / job["uses"].removeprefix("./")
        declared = _read(called)[True]["workflow_call"]
        inputs = {key: each.get("default", "") for key, each in declared["inputs"].items()}
        inputs |= {key: self._filled(value, context) for key, value in job["with"].items()}
        done = self._run_jobs(called, inputs, f"{prefix}{name} / ")
        outputs = {"jobs": {key: {"outputs": each.outputs} for key, each in done.items()}}
        failed = any(each.result == FAILURE for each in done.values())
        return Job(
            result=FAILURE if failed else SUCCESS,
            outputs={key: self._filled(each["value"], outputs) for key, each in declared.get("outputs", {}).items()},
        )

    def _row(self, name: str, job: Mapping[str, Any], context: dict[str, Any]) -> Job:
        if name not in self.rows or self.rows[name].result == FAILURE:
            self.rows[name] = self._steps(f"{name}-{self.attempt}", job, context)
        return self.rows[name]

    def _steps(self, name: str, job: Mapping[str, Any], context: dict[str, Any]) -> Job:
        machine = self.folder / re.sub(r"[^\w-]", "_", name)
        done = Job(result=SUCCESS, workspace=machine / "work")
        done.workspace.mkdir(parents=True)
        steps: dict[str, Any] = {}
        context = {**context, "steps": steps}
        for step in job["steps"]:
            condition = str(step.get("if", "")).removeprefix("${{").removesuffix("}}").strip()
            goes_on = done.result == SUCCESS or "cancelled()" in condition
            if not goes_on or (condition and not self._value(condition, context)):
                continue
            outputs: dict[str, str] = {}
            try:
                outputs = self._step(step, context, done)
            except subprocess.CalledProcessError as error:
                done.log += error.stdout
                done.result = FAILURE
            if "id" in step:
                steps[step["id"]] = {"outputs": outputs}
        done.outputs = {key: str(self._filled(value, context)) for key, value in job.get("outputs", {}).items()}
        return done

    def _step(self, step: Mapping[str, Any], context: dict[str, Any], done: Job) -> dict[str, str]:
        if "run" in step:
            return self._shell(step, context, done)
        given = {key: self._filled(value, context) for key, value in step.get("with", {}).items()}
        match step["uses"].partition("@")[0]:
            case "actions/checkout":
                self._checkout(done.workspace, whole=given.get("fetch-depth") == 0)
            case "actions/upload-artifact":
                self._upload(given, done.workspace)
            case "actions/download-artifact":
                self._download(given, done.workspace)
            case "actions/setup-python" | "actions/cache/restore" | "actions/cache/save":
                pass
            case other:
                raise AssertionError(f"no runner for {other}")
        return {}

    def _shell(self, step: Mapping[str, Any], context: dict[str, Any], done: Job) -> dict[str, str]:
        if step.get("name") == "Install":
            assert step["run"].startswith("pip install ")
            return {}
        machine, workspace = done.workspace.parent, done.workspace
        files = {"GITHUB_OUTPUT": machine / "output", "GITHUB_STEP_SUMMARY": machine / "summary"}
        files["GITHUB_OUTPUT"].write_text("")
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": self.event.name,
            "GITHUB_REF": self.event.ref,
            "GITHUB_REF_NAME": self.event.ref.split("/", 2)[2],
            "GITHUB_REF_TYPE": self.event.ref_type,
            "GITHUB_SHA": self.sha,
            "GITHUB_WORKSPACE": str(workspace),
            "HF_HOME": str(machine / "hf"),
            **{key: str(path) for key, path in files.items()},
            **{key: str(self._filled(value, context)) for key, value in step.get("env", {}).items()},
        }
        ran = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=workspace,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        done.log += ran.stdout
        return read_outputs(_with_blocks(files["GITHUB_OUTPUT"]))

    def _checkout(self, workspace: Path, *, whole: bool) -> None:
        """As actions/checkout 5 does it: detached at a tag, which is a name of the commit afterwards."""
        git = ("init", "--quiet", "."), ("remote", "add", "origin", f"file://{self.remote}")
        for arguments in git:
            self._git(workspace, *arguments)
        if whole:
            heads, tags = "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"
            self._git(workspace, "fetch", "--quiet", "--prune", "origin", heads, tags)
        depth = () if whole else ("--depth=1",)
        if self.event.ref_type == "tag":
            self._git(workspace, "fetch", "--quiet", "--no-tags", *depth, "origin", f"+{self.sha}:{self.event.ref}")
            self._git(workspace, "checkout", "--quiet", "--force", self.event.ref)
        else:
            branch = self.event.ref.removeprefix("refs/heads/")
            place = f"refs/remotes/origin/{branch}"
            self._git(workspace, "fetch", "--quiet", "--no-tags", *depth, "origin", f"+{self.sha}:{place}")
            self._git(workspace, "checkout", "--quiet", "--force", "-B", branch, place)

    def _upload(self, given: Mapping[str, Any], workspace: Path) -> None:
        target = self.artifacts / given["name"]
        assert given.get("overwrite") or not target.exists()  # else it is refused when failed jobs are run again
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        hidden = None if given.get("include-hidden-files") else shutil.ignore_patterns(".*")
        for path in (workspace / line for line in given["path"].splitlines() if line):
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True, ignore=hidden)
            elif path.exists():
                shutil.copy(path, target)

    def _download(self, given: Mapping[str, Any], workspace: Path) -> None:
        found = [self.artifacts / given["name"]] if "name" in given else sorted(self.artifacts.glob(given["pattern"]))
        assert "name" in given or given["merge-multiple"]
        for artifact in found:
            shutil.copytree(artifact, workspace / given.get("path", "."), dirs_exist_ok=True)

    def _filled(self, value: Any, context: Mapping[str, Any]) -> Any:
        """A value of the workflow with its expressions evaluated; one that is an expression alone keeps its type."""
        if not isinstance(value, str):
            return value
        if found := re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", value, re.DOTALL):
            return self._value(found[1], context)
        return _EXPRESSION.sub(lambda found: str(self._value(found[1], context)), value)

    def _value(self, expression: str, context: Mapping[str, Any]) -> Any:
        """The value of an expression: GitHub's operators are Python's by other names; what is not there is empty."""
        github = {"ref": self.event.ref, "ref_type": self.event.ref_type, "event_name": self.event.name}
        values = {"github": github, "secrets": {}, **context}
        python = "".join(_python_of(_TOKEN.findall(expression)))
        return eval(python, {"look_up": lambda path: _look_up(values, path), "fromJSON": json.loads, "cancelled": bool})

    def _programs(self) -> Path:
        """A folder with the `invoke` that these tests run by."""
        folder = self.folder / "bin"
        folder.mkdir(parents=True)
        (folder / "invoke").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m invoke "$@"\n')
        (folder / "invoke").chmod(0o755)
        return folder

    def _git(self, folder: Path, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()


def _read(workflow: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return document


def _inputs(document: Mapping[Any, Any], event: str) -> Mapping[str, Any]:
    trigger = document[True].get(event) or {}
    inputs: Mapping[str, Any] = trigger.get("inputs") or {}
    return inputs


def _python_of(tokens: list[str]) -> Iterator[str]:
    operators = {"&&": " and ", "||": " or ", "!": " not "}
    for number, token in enumerate(tokens):
        if token.startswith("'"):
            yield repr(token[1:-1].replace("''", "'"))
        elif re.fullmatch(r"[A-Za-z_][\w.-]*", token) and tokens[number + 1 : number + 2] != ["("]:
            yield token.title() if token in ("true", "false") else f"look_up({token!r})"
        else:
            yield operators.get(token, token)


def _look_up(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values.get(part, "") if isinstance(values, Mapping) else ""
    return "" if values is None else values


def _with_blocks(file: Path) -> Path:
    """A file of outputs in which each line `name=value` is written as a value of several lines would be."""
    lines = file.read_text(encoding="utf-8").splitlines()
    inside, text = "", []
    for line in lines:
        if not inside and "<<" not in line and "=" in line:
            name, _, value = line.partition("=")
            text += [f"{name}<<end", value, "end"]
            continue
        inside = "" if line == inside else inside or line.partition("<<")[2]
        text.append(line)
    file.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    return file
