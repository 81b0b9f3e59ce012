"""A kernel's first push that Kaggle refuses at a limit, which leaves half a kernel under its name."""

from collections.abc import Callable
from dataclasses import replace

from orchestrator.emulator import Emulator
from tests.cli.conftest import SLUG
from tests.cli.test_bad_inputs import fails
from tests.support import USER, Cli


def test_half_a_kernel_of_another_tool_stands_in_nobodys_way(cli: Cli, account: Emulator) -> None:
    """The account's list shows it without a name; a run begins all the same."""
    account.backend.state.add_shell("somebody-elses")
    assert cli("list", "--all", "--json").json == []
    assert cli("sync", "--json").json["pushed"] is True
    assert [kernel["kernel"] for kernel in cli("list", "--all", "--json").json] == [f"{USER}/{SLUG}"]


def test_a_name_that_a_refused_push_took_is_given_back(
    cli: Cli, open_account: Callable[..., Emulator], python: str
) -> None:
    """Commands say which kernel to delete; the deletion says that nothing is lost, and the run begins."""
    account = open_account(python=python, max_cpu_sessions=0)
    assert cli("sync", "--json").json["state"] == "waiting"
    account.backend.options = replace(account.backend.options, max_cpu_sessions=5)
    for command in ("sync", "push"):
        fails(cli(command), 4, "Notebook not found", f"`kgtts delete {USER}/{SLUG}`")
    deleted = cli("delete", f"{USER}/{SLUG}", "--yes")
    assert deleted.code == 0, deleted.said
    assert f"Kaggle has no version of {USER}/{SLUG}" in deleted.out
    assert "checkpoints included" not in deleted.said
    assert cli("sync", "--json").json["pushed"] is True
