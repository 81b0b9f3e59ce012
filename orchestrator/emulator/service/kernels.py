"""The kernels of one account with their versions: values, look-ups, changes, and the files behind them."""

import threading
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.emulator.service.exceptions import ApiError, absent, not_found, permission_denied
from orchestrator.emulator.service.files import write_bytes_atomically
from orchestrator.emulator.service.outputs import StoredOutput, read_outputs
from orchestrator.emulator.service.state import StateFolder, VersionPaths
from orchestrator.files import remove_tree
from orchestrator.models import SessionState

_ACTIVE = frozenset({SessionState.QUEUED, SessionState.RUNNING, SessionState.CANCEL_REQUESTED})


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a kernel, and the session that runs it.

    `session` is None for a quick save, which never runs and stays NEW_SCRIPT. `limit_s` is the session's
    time limit in seconds. Times carry the UTC zone.
    """

    number: int
    state: SessionState
    pushed_at: datetime
    session: int | None
    limit_s: float
    language: str
    kernel_type: str
    machine_shape: str | None
    internet: bool
    dataset_sources: tuple[str, ...] = ()
    model_sources: tuple[str, ...] = ()
    kernel_sources: tuple[str, ...] = ()
    docker_image: str | None = None
    started_at: datetime | None = None
    saving_since: datetime | None = None  # Set while its outputs are being saved.
    ended_at: datetime | None = None
    failure_message: str | None = None
    exit_code: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether its session is queued, running or still being stopped."""
        return self.state in _ACTIVE

    def state_at(self, moment: datetime) -> SessionState:
        """The state of its session at an earlier moment; CANCEL_REQUESTED is not remembered."""
        if self.ended_at is not None and self.ended_at <= moment:
            return self.state
        if self.started_at is not None and self.started_at <= moment:
            return SessionState.RUNNING
        return SessionState.QUEUED

    @property
    def label(self) -> str:
        """How requests name it: `v3`."""
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel with all its versions, oldest first. `key` is Kaggle's numeric id."""

    key: int
    owner: str
    slug: str
    title: str
    private: bool
    versions: tuple[Version, ...] = ()

    @property
    def ref(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"

    @property
    def latest(self) -> Version:
        """The newest version, run or not; a kernel has at least one."""
        return self.versions[-1]

    @property
    def latest_run(self) -> Version | None:
        """The newest version that has a session: the one that the API answers for."""
        return next((v for v in reversed(self.versions) if v.session is not None), None)

    @property
    def latest_complete(self) -> Version | None:
        """The newest COMPLETE version: the one that other kernels mount."""
        return next((v for v in reversed(self.versions) if v.state is SessionState.COMPLETE), None)


_KERNEL = TypeAdapter(Kernel)


class Kernels:
    """All kernels of an account, in memory and on disk. Thread-safe; the rules are in `backend`.

    Args:
        state: the emulator's folder.
        username: the owner of the account.
        absent: the HTTP status for an unknown kernel, 403 or 404.
    """

    def __init__(self, state: StateFolder, username: str, *, absent: int) -> None:
        self.lock = threading.RLock()
        self._absent = absent
        self._state = state
        self._username = username
        stored = [
            _KERNEL.validate_json(path.read_bytes())
            for path in sorted(state.root.glob("kernels/*/*/kernel.json"))
        ]
        self._kernels = {(kernel.owner.lower(), kernel.slug): kernel for kernel in stored}

    def all(self) -> list[Kernel]:
        """All kernels, the last pushed first."""
        with self.lock:
            return sorted(self._kernels.values(), key=lambda kernel: kernel.latest.pushed_at, reverse=True)

    def active(self) -> list[Version]:
        """Every version whose session is active."""
        with self.lock:
            return [v for kernel in self._kernels.values() for v in kernel.versions if v.is_active]

    def find(self, owner: str, slug: str) -> Kernel | None:
        """A kernel by its name; None if there is none."""
        with self.lock:
            return self._kernels.get((owner.lower(), slug.lower()))

    def find_key(self, key: int | None) -> Kernel | None:
        """A kernel by its numeric id; None if there is none."""
        with self.lock:
            return next((kernel for kernel in self._kernels.values() if kernel.key == key), None)

    def get(self, owner: str, slug: str) -> Kernel:
        """A kernel of this account.

        Raises:
            ApiError: 403 for another owner's kernel, 403 or 404 for an unknown one.
        """
        found = self.find(owner, slug)
        if owner.lower() != self._username.lower():
            raise permission_denied("kernels.get")
        if self.is_shell(slug):
            raise not_found(f"Kernel {owner}/{slug}")
        if found is None:
            raise absent(self._absent, "kernels.get", f"Kernel {owner}/{slug}")
        return found

    def is_shell(self, slug: str) -> bool:
        """Whether Kaggle keeps only an empty shell of a kernel: its first push was refused."""
        return slug.lower() in self._state.shells()

    def get_version(self, owner: str, slug: str, label: str | None = None) -> tuple[Kernel, Version]:
        """The version labelled `v3`; without a label the newest that has a session, if any has one.

        Raises:
            ApiError: 403 or 404 as for `get`; 404 if there is no such label.
        """
        kernel = self.get(owner, slug)
        version = kernel.latest_run or kernel.latest
        if label:
            labelled = next((v for v in kernel.versions if v.label == label), None)
            if labelled is None:
                raise not_found(f"Version {label} of kernel {kernel.ref}")
            version = labelled
        return kernel, version

    def get_run(self, owner: str, slug: str, label: str | None = None) -> tuple[Kernel, Version]:
        """A version that has a session: the one labelled `v3`, or the newest that has one.

        Raises:
            ApiError: 403 or 404 as for `get_version`; 404 if the version never ran.
        """
        kernel, version = self.get_version(owner, slug, label)
        if version.session is None:
            raise ApiError(404, "No runs found for this kernel")
        return kernel, version

    def get_session(self, number: int) -> tuple[Kernel, Version]:
        """The kernel and version that a session belongs to.

        Raises:
            ApiError: 404, there is no such session.
        """
        for kernel in self.all():
            for version in kernel.versions:
                if version.session == number:
                    return kernel, version
        raise not_found(f"Session {number}")

    def paths(self, kernel: Kernel, number: int) -> VersionPaths:
        """The files of one version."""
        return VersionPaths(self._state.kernel_folder(kernel.owner, kernel.slug) / str(number))

    def source(self, kernel: Kernel, number: int) -> str:
        """The code of a version, as it was pushed.

        Raises:
            ApiError: 404, the kernel was deleted meanwhile.
        """
        try:
            return self.paths(kernel, number).source.read_bytes().decode()
        except FileNotFoundError as error:
            raise not_found(f"Version {number} of kernel {kernel.ref}") from error

    def outputs(self, kernel: Kernel, version: Version) -> tuple[StoredOutput, ...]:
        """The output files of a version; none until its session ends and they are being saved."""
        if version.is_active and version.saving_since is None:
            return ()
        return read_outputs(self.paths(kernel, version.number))

    def output_file(
        self, owner: str, slug: str, number: int, name: str
    ) -> tuple[Path, StoredOutput, Version]:
        """The file behind an output's name. The name is looked up and never joined to a path unchecked.

        Raises:
            ApiError: 404, there is no such file.
        """
        kernel = self.get(owner, slug)
        version = next((v for v in kernel.versions if v.number == number), None)
        for output in () if version is None else self.outputs(kernel, version):
            if output.name == name and version is not None:
                return self.paths(kernel, number).output / name, output, version
        raise not_found(f"The file {name}")

    def stored_log(self, kernel: Kernel, version: Version) -> str:
        """The log of an ended session as a JSON array; empty while the session is active."""
        path = self.paths(kernel, version.number).log
        return path.read_text(encoding="utf-8") if not version.is_active and path.exists() else ""

    def save(self, kernel: Kernel) -> None:
        """Add a kernel, or replace its older record."""
        path = self._state.kernel_folder(kernel.owner, kernel.slug) / "kernel.json"
        with self.lock:
            self._kernels[(kernel.owner.lower(), kernel.slug)] = kernel
            write_bytes_atomically(path, _KERNEL.dump_json(kernel, indent=1))

    def delete(self, kernel: Kernel) -> None:
        """Delete a kernel with all its files."""
        folder = self._state.kernel_folder(kernel.owner, kernel.slug)
        with self.lock:
            if self._kernels.pop((kernel.owner.lower(), kernel.slug), None) is not None:
                # The record goes first: half a kernel must not come back after a crash.
                (folder / "kernel.json").unlink(missing_ok=True)
                remove_tree(folder)

    def update(self, session: int, **changes: Any) -> None:
        """Change fields of the version that a session belongs to.

        Raises:
            ApiError: 404, there is no such session.
        """
        with self.lock:
            kernel, version = self.get_session(session)
            changed = replace(version, **changes)
            versions = tuple(changed if v.number == version.number else v for v in kernel.versions)
            self.save(replace(kernel, versions=versions))
