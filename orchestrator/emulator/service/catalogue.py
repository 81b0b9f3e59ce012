"""The kernels of one account: looked up, changed, written down. Thread-safe; rules live in `backend`."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.emulator.service.outputs import Output, read_outputs
from orchestrator.emulator.service.records import Kernel, Version
from orchestrator.emulator.service.refusals import denied, not_found
from orchestrator.emulator.service.store import Store


class Catalogue:
    """All kernels with their versions, in memory and on disk.

    Args:
        store: the emulator's folder.
        username: whose account it is.
    """

    def __init__(self, store: Store, username: str) -> None:
        self.lock = threading.RLock()
        self._store = store
        self._username = username
        self._kernels = {(kernel.owner.lower(), kernel.slug): kernel for kernel in store.kernels()}

    def find(self, owner: str, slug: str) -> Kernel | None:
        """A kernel by its name; None when there is none."""
        with self.lock:
            return self._kernels.get((owner.lower(), slug.lower()))

    def find_key(self, key: int | None) -> Kernel | None:
        """A kernel by its numeric id; None when there is none."""
        with self.lock:
            return next((kernel for kernel in self._kernels.values() if kernel.key == key), None)

    def active(self) -> list[Version]:
        """Every version whose session is not over."""
        with self.lock:
            return [v for kernel in self._kernels.values() for v in kernel.versions if v.is_active]

    def kernel(self, owner: str, slug: str) -> Kernel:
        """A kernel of this account.

        Raises:
            FaultError: 403 for another owner's, 404 for an unknown one.
        """
        if owner.lower() != self._username.lower():
            raise denied("kernels.get")
        found = self.find(owner, slug)
        if found is None:
            raise not_found(f"Kernel {owner}/{slug}")
        return found

    def kernels(self) -> list[Kernel]:
        """All kernels, the last pushed first."""
        with self.lock:
            return sorted(self._kernels.values(), key=lambda kernel: kernel.latest.pushed_at, reverse=True)

    def version_run(self, owner: str, slug: str, label: str | None = None) -> tuple[Kernel, Version]:
        """A version that has a session: the one labelled `v3`, or the last one that ran.

        Raises:
            FaultError: 403 or 404 as for `kernel`; 404 if it never ran, or if the label is not `v<N>`.
        """
        kernel = self.kernel(owner, slug)
        version = kernel.latest_run
        if label:
            version = next((v for v in kernel.versions if v.label == label), None)
        if version is None or version.session is None:
            raise not_found(f"A session of kernel {owner}/{slug}")
        return kernel, version

    def version_of_session(self, number: int) -> tuple[Kernel, Version]:
        """The kernel and version that a session belongs to.

        Raises:
            FaultError: 404, there is none.
        """
        for kernel in self.kernels():
            for version in kernel.versions:
                if version.session == number:
                    return kernel, version
        raise not_found(f"Session {number}")

    def source(self, kernel: Kernel, number: int) -> str:
        """The code of a version, as pushed.

        Raises:
            FaultError: 404, the kernel was deleted meanwhile.
        """
        try:
            return self._store.version(kernel, number).source.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise not_found(f"Version {number} of kernel {kernel.ref}") from error

    def outputs(self, kernel: Kernel, version: Version) -> tuple[Output, ...]:
        """The files that a version left; none while its session is active."""
        return () if version.is_active else read_outputs(self._store.version(kernel, version.number))

    def output_file(self, owner: str, slug: str, number: int, name: str) -> tuple[Path, Output, Version]:
        """The file behind an output's name. The name is looked up, never joined to a path unseen.

        Raises:
            FaultError: 404, there is no such file.
        """
        kernel = self.kernel(owner, slug)
        version = next((v for v in kernel.versions if v.number == number), None)
        for output in () if version is None else self.outputs(kernel, version):
            if output.name == name and version is not None:
                return self._store.version(kernel, number).output / name, output, version
        raise not_found(f"The file {name}")

    def stored_log(self, kernel: Kernel, version: Version) -> str:
        """The log of an ended session as a JSON array; empty while it is active."""
        path = self._store.version(kernel, version.number).log
        return path.read_text(encoding="utf-8") if not version.is_active and path.exists() else ""

    def remember(self, kernel: Kernel) -> None:
        """Add a kernel, or put it in the place of its older record."""
        with self.lock:
            self._kernels[(kernel.owner.lower(), kernel.slug)] = kernel
            self._store.save_kernel(kernel)

    def forget(self, kernel: Kernel) -> None:
        """Delete a kernel with all its files."""
        with self.lock:
            if self._kernels.pop((kernel.owner.lower(), kernel.slug), None) is not None:
                self._store.delete_kernel(kernel)

    def update(self, session: int, **changes: Any) -> None:
        """Change fields of the version that a session belongs to.

        Raises:
            FaultError: 404, there is none.
        """
        with self.lock:
            kernel, version = self.version_of_session(session)
            changed = replace(version, **changes)
            versions = tuple(changed if v.number == version.number else v for v in kernel.versions)
            self.remember(replace(kernel, versions=versions))
