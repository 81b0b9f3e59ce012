"""The definitions of the action and of the workflows."""

import re
import tomllib
from typing import Any

import yaml

from tests.action.machines import PINNED
from tests.support import REPOSITORY


def test_definitions_hold_to_the_rules() -> None:
    """No script has an expression; all actions are pinned by SHA with their version beside it."""
    files = [REPOSITORY / "action.yml", *sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))]
    for file in files:
        text = file.read_text(encoding="utf-8")
        content: Any = yaml.safe_load(text)
        jobs = [content["runs"]] if "runs" in content else content["jobs"].values()
        for step in (step for job in jobs for step in job["steps"]):
            assert "${{" not in step.get("run", ""), file
            if "uses" in step and step["uses"] != "./":
                action, _, revision = step["uses"].partition("@")
                assert len(revision) == PINNED, (file, action)
                assert f"{revision} # v" in text, (file, action)
        if "jobs" in content:
            assert content["permissions"] == {"contents": "read"}, file


def test_the_oldest_releases_are_tested() -> None:
    """A job installs them on the oldest Python, with every extra that works without torch."""
    workflow: Any = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    steps = workflow["jobs"]["lowest"]["steps"]
    assert {"run": "make test-lowest"} in steps
    pythons = [step["with"]["python-version"] for step in steps if "python-version" in step.get("with", {})]
    assert [f">={python}" for python in pythons] == [project["requires-python"]]
    recipe = makefile.partition("\ntest-lowest:\n")[2].partition("\n\n")[0]
    assert "--resolution lowest-direct" in recipe
    extras = re.findall(r"'\.\[(.+)\]'", recipe)[0].split(",")
    assert set(extras) == set(project["optional-dependencies"]) - {"local", "train", "dev"}
