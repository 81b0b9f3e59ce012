"""A runner of composite actions, as far as action.yml needs one: inputs, conditions, outputs, shell steps."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\b(?:inputs|steps|github|runner)(?:\.[\w-]+)+")
BASH = shutil.which("bash") or "bash"
_FRAMED = re.compile(r"([\w-]+)<<(.+)\n((?:.*\n)*?)\2\n|([\w-]+)=(.*)\n")
Uses = Callable[[str, Mapping[str, str]], bool]


@dataclass
class Job:
    """One run of the action: its outputs, log, summary and end."""

    ok: bool = True
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Runner:
    """Runs an action.

    Attributes:
        action: the folder with action.yml.
        workspace: the checkout that the job works in.
        temp: the runner's own folder.
        environment: what steps see besides GitHub's variables.
        uses: stands for the steps that use another action: gets its name and inputs, says whether it went
            well.
        done: outputs of steps that need not run, by id.
    """

    action: Path
    workspace: Path
    temp: Path
    environment: Mapping[str, str]
    uses: Uses
    done: Mapping[str, dict[str, str]] = field(default_factory=dict)

    def run(self, **given: str) -> Job:
        """Run all steps in order like GitHub: after a failure only those that ask for it."""
        wanted = yaml.safe_load((self.action / "action.yml").read_text(encoding="utf-8"))
        inputs = {name: str(item.get("default", "")) for name, item in wanted["inputs"].items()}
        unknown = given.keys() - inputs.keys()
        assert not unknown, unknown
        job = Job()
        known = {"inputs": {**inputs, **given}, "steps": job.steps, "runner": {"temp": str(self.temp)}}
        known["github"] = {"run_id": self.workspace.name, "run_attempt": "1"}
        for number, step in enumerate(wanted["runs"]["steps"]):
            name = step.get("id", str(number))
            condition = str(step.get("if", "success()"))
            if "cancelled()" not in condition:
                condition = f"success() && ({condition})"
            if not _true(condition, known, ok=job.ok):
                job.steps[name] = {"outcome": "skipped", "outputs": {}}
                continue
            filled = {key: _fill(step.get(key, {}), known) for key in ("env", "with")}
            if name in self.done:
                went, outputs = True, dict(self.done[name])
            elif "uses" in step:
                went, outputs = self.uses(step["uses"], filled["with"]), {}
            else:
                place = self.workspace / _fill({"": step.get("working-directory", ".")}, known)[""]
                went, outputs = self._shell(step, filled["env"], place, job)
            job.steps[name] = {"outcome": "success" if went else "failure", "outputs": outputs}
            job.ok = job.ok and went
        job.outputs = _fill({name: item["value"] for name, item in wanted["outputs"].items()}, known)
        return job

    def _shell(
        self, step: Mapping[str, Any], env: Mapping[str, str], place: Path, job: Job
    ) -> tuple[bool, dict[str, str]]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an expression in a script is an injection"
        folder = Path(tempfile.mkdtemp(dir=self.temp))
        files = {
            name: folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")
        }
        for file in files.values():
            file.touch()
        script = folder / "script.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            [BASH, "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=place,
            env={
                **self.environment,
                **{name: str(file) for name, file in files.items()},
                "CI": "true",
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTION_PATH": str(self.action),
                "GITHUB_WORKSPACE": str(self.workspace),
                "RUNNER_TEMP": str(self.temp),
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        job.log += done.stdout
        job.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        return done.returncode == 0, read_outputs(files["GITHUB_OUTPUT"].read_text(encoding="utf-8"))


def read_outputs(text: str) -> dict[str, str]:
    """Read a GITHUB_OUTPUT file as GitHub does; the last of a name counts."""
    found, at = {}, 0
    while at < len(text):
        match = _FRAMED.match(text, at)
        assert match is not None, text[at:]
        at = match.end()
        name, value = (match[1], match[3].removesuffix("\n")) if match[1] else (match[4], match[5])
        found[name] = value
    return found


def _look_up(path: str, known: Mapping[str, Any]) -> str:
    value: Any = known
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return str(value)


def _fill(texts: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, str]:
    """Replace the expressions in texts, which are plain names, by their values."""
    return {
        key: _EXPRESSION.sub(lambda match: _look_up(match[1].strip(), known), str(text))
        for key, text in texts.items()
    }


def _true(condition: str, known: Mapping[str, Any], *, ok: bool) -> bool:
    """Evaluate a condition of names, texts, `==`, `!=`, `&&` and status functions."""
    inner = _EXPRESSION.fullmatch(condition.strip())
    text = inner[1] if inner else condition
    text = _NAME.sub(lambda match: repr(_look_up(match[0], known)), text)
    text = text.replace("!cancelled()", "True").replace("success()", repr(ok)).replace("&&", " and ")
    return bool(eval(text.strip(), {"__builtins__": {}}))  # noqa: S307  # Of this repository's own action.yml.


def copy_matching(root: Path, patterns: str, target: Path) -> None:
    """Copy the files that match, by their place below `root`, as actions/cache does."""
    for pattern in patterns.split():
        for file in root.glob(os.path.normpath(pattern)):
            kept = target / file.relative_to(root)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, kept)
