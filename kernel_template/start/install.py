"""Coqui TTS: installed only when it cannot be imported, and never at the cost of the image's GPU stack.

`pip install TTS`, as the guide has it, needs Python below 3.12 and in a real run replaced 1.9 GB of the
image's CUDA libraries. Here the image's torch and its kin are frozen by a constraints file and compared
afterwards. uv does the work where the image has it, pip where it has not or where uv fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel_template.start.install_failures import disk_was_full, install_failure, last_error
from kernel_template.start.packages import Installed, SitePackages, Wheelhouse, required_name
from kernel_template.start.probe import Probe, probe_tts
from kernel_template.tools.failure import EndReason, KernelFailure
from kernel_template.tools.files import human_seconds, human_size, write_atomic
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import Capture, ChildPlan, Cut, RunChild, child_environment
from kernel_template.tools.report import Voice

# What an installation must leave as it is.
FROZEN = ("torch", "torchaudio", "torchvision", "torchcodec", "triton", "numpy")
_PIP_LIMIT_S = 1800.0
_UV_TIMEOUT_S = 30.0
_GRACE_S = 15.0  # For pip to put back what it has half replaced.
_KEPT_LINES = 200
_MAX_CHANGED = 8
# uv knows none of pip's variables: a proxy or mirror that is set for pip counts for it too.
_PIP_TO_UV = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}


@dataclass(frozen=True, slots=True)
class _Source:
    """Where packages come from: the arguments that say so, and the dataset if it is asked alone."""

    arguments: tuple[str, ...] = ()
    wheelhouse: str | None = None


@dataclass(slots=True)
class _Heard:
    """The last lines of an installation, said as they come."""

    say: Callable[[str], None]
    lines: list[str] = field(default_factory=list)

    def __call__(self, text: str, *, is_bar: bool) -> None:
        if text and not is_bar:
            self.say(f"  {text}")
            self.lines.append(text)
            del self.lines[:-_KEPT_LINES]


@dataclass(frozen=True, slots=True)
class Installer:
    """Makes sure that TTS can be imported.

    Args:
        capture: runs the probe, and asks for uv.
        run: runs pip and uv.
        env: the environment of all of them.
        versions: the installed versions of the distributions named.
        programs: the programs of this package, and the interpreter that the training will use.
        temp: a folder for the constraints file.
        report: where all is said.
        site: what is installed for it.
        gate: returns once something may be installed; raises KernelFailure if nothing may.
        limit_s: seconds that one try may take.
    """

    capture: Capture
    run: RunChild
    env: Mapping[str, str]
    versions: Callable[[tuple[str, ...]], dict[str, str]]
    programs: PackagePrograms
    temp: Path
    report: Voice
    site: SitePackages = field(default_factory=SitePackages)
    gate: Callable[[], None] = lambda: None
    limit_s: float = _PIP_LIMIT_S

    def probe(self) -> Probe:
        """Import TTS and torch in a process of their own."""
        return probe_tts(self.capture, self.programs, self.env)

    def ensure(
        self,
        packages: Sequence[str],
        *,
        internet: bool,
        wheelhouse: Callable[[], Wheelhouse | None] | None = None,
    ) -> Probe:
        """Install `packages` when TTS cannot be imported, and prove that it can be afterwards.

        Args:
            packages: requirements as pip takes them.
            internet: whether the package index may be asked.
            wheelhouse: finds the dataset of wheels that is asked first; None when none is set.

        Raises:
            KernelFailure: it cannot be installed or imported, or the image's GPU stack was changed.
        """
        before = self.probe()
        if before.ok:
            self.report.say(f"✓ TTS {before.details.get('TTS')} can be imported: nothing to install")
            return before
        self.gate()
        self.report.say(f"TTS cannot be imported yet ({before.error})")
        sources = self._sources(wheelhouse() if wheelhouse else None, internet=internet)
        if not sources:
            unfit = " Its wheelhouse is not mounted or holds no wheels." if wheelhouse else ""
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"Coqui TTS cannot be imported ({before.error}) and the session has no internet "
                f"to install it.{unfit} Set kernel.internet = true (the account must be phone-verified), or "
                "install.wheelhouse to a dataset of wheels, or use an image that has it.",
            )
        self._install(packages, sources)
        after = self.probe()
        if not after.ok:
            hint = ""
            if after.details.get("missing"):
                hint = (
                    f' Add "{after.details["missing"]}" (or the package that brings it) to install.packages.'
                )
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{', '.join(packages)} was installed, but TTS still cannot be imported: "
                f"{after.error}.{hint}",
            )
        self.report.say(f"✓ TTS {after.details.get('TTS')} was installed and can be imported")
        return after

    def add(
        self,
        packages: Sequence[str],
        *,
        internet: bool,
        wheelhouse: Callable[[], Wheelhouse | None] | None = None,
    ) -> None:
        """Install those of `packages` that are missing altogether; for the arguments see `ensure`.

        Raises:
            KernelFailure: they cannot be installed, or the image's GPU stack was changed.
        """
        there = self.site.found()
        missing = [item for item in packages if required_name(item) not in there]
        if not missing:
            return
        sources = self._sources(wheelhouse() if wheelhouse else None, internet=internet)
        if not sources:
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{', '.join(missing)} is not there, and the session has no internet to install it: set "
                "kernel.internet = true, or have it in install.wheelhouse.",
            )
        self._install(missing, sources)

    def _sources(self, wheels: Wheelhouse | None, *, internet: bool) -> list[_Source]:
        """The wheelhouse first, as it needs no network; then the index."""
        links: tuple[str, ...] = ()
        sources = []
        if wheels is not None and wheels.count:
            links = tuple(part for folder in wheels.folders for part in ("--find-links", str(folder)))
            sources.append(_Source(("--no-index", *links), wheels.source))
            self.report.say(f"Wheels: {wheels.count} in {wheels.source}, {human_size(wheels.size)}")
        if internet:
            sources.append(_Source(links))
        return sources

    def _install(self, packages: Sequence[str], sources: Sequence[_Source]) -> None:
        """Install under constraints, from the first source that has all; what came is said."""
        frozen = self.versions(FROZEN)
        constraints = self.temp / "constraints.txt"
        write_atomic(
            constraints, "".join(f"{name}=={version}\n" for name, version in frozen.items()).encode()
        )
        self.report.say(f"Installing {', '.join(packages)}; kept: " + (", ".join(frozen) or "nothing"))
        before = self.site.found()
        wanted = ("--constraint", str(constraints), *packages)
        seconds = 0.0
        for source, following in zip(sources, (*sources[1:], None), strict=True):
            tool, spent, failure = self._from(source, wanted, packages)
            seconds += spent
            if failure is None:
                break
            if following is None or failure.reason is not EndReason.INSTALL_FAILED:
                raise failure
            self.report.warn(f"{failure.message} The package index is asked instead.")
        self._say_what_came(before, tool, seconds)
        self._compare(frozen)

    def _from(
        self, source: _Source, wanted: Sequence[str], packages: Sequence[str]
    ) -> tuple[str, float, KernelFailure | None]:
        """The tool that did it, the seconds of all, and why the last one could not."""
        seconds = 0.0
        failure: KernelFailure | None = None
        for tool, command, env in self._tools():
            heard = _Heard(self.report.say)
            plan = ChildPlan([*command, *source.arguments, *wanted], env, None, self.limit_s, _GRACE_S)
            try:
                end = self.run(plan, heard)
            except OSError as error:
                failure = KernelFailure(EndReason.INSTALL_FAILED, f"{tool} could not be started: {error}.")
                continue
            seconds += end.seconds
            if end.cut is Cut.INTERRUPTED:
                failure = KernelFailure(
                    EndReason.INTERRUPTED,
                    f"The session was stopped while {', '.join(packages)} was being installed.",
                )
                return tool, seconds, failure
            if end.returncode == 0 and end.cut is None:
                return tool, seconds, None
            ended = f"ended with exit code {end.returncode}"
            if end.cut is not None:
                ended = f"was not done after {human_seconds(self.limit_s)}"
            failure = install_failure(packages, heard.lines, f"{tool} {ended}", source.wheelhouse)
            if disk_was_full(heard.lines):
                break
            if tool == "uv":
                self.report.say(f"  uv could not do it ({last_error(heard.lines)}); pip is asked.")
        return "pip", seconds, failure

    def _tools(self) -> list[tuple[str, list[str], dict[str, str]]]:
        """Name, command and environment of what can install: uv where there is one, and pip."""
        env = child_environment(self.env, {"PIP_ROOT_USER_ACTION": "ignore"})
        pip = [self.programs.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        # Python compiles what it imports; compiling all of 90 packages would take longer than bringing them.
        tools = [("pip", [*pip, "--progress-bar", "off", "--no-compile"], env)]
        answer = self.capture(("uv", "--version"), env, _UV_TIMEOUT_S)
        if answer is not None and answer.returncode == 0:
            told = {uv: env[pip] for pip, uv in _PIP_TO_UV.items() if pip in env and uv not in env}
            uv_env = {**env, **told, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
            tools.insert(0, ("uv", ["uv", "pip", "install", "--python", self.programs.python], uv_env))
        return tools

    def _say_what_came(self, before: Mapping[str, Installed], tool: str, seconds: float) -> None:
        """Bytes and seconds, and which of the image's other packages were replaced."""
        now = self.site.found()
        came = [item for name, item in now.items() if name not in before or before[name] != item]
        size = sum(item.size for item in came)
        self.report.say(
            f"{tool} installed {len(came)} packages, {human_size(size)}, in {human_seconds(seconds)}"
        )
        changed = [
            f"{item.name} {before[item.name].version} → {item.version}"
            for item in came
            if item.name in before and before[item.name].version != item.version
        ]
        if changed:
            more = f" and {len(changed) - _MAX_CHANGED} more" if len(changed) > _MAX_CHANGED else ""
            self.report.say(
                f"  Of the image's packages it replaced {', '.join(changed[:_MAX_CHANGED])}{more}"
            )

    def _compare(self, frozen: Mapping[str, str]) -> None:
        now = self.versions(FROZEN)
        changed = [
            f"{name} {version} → {now.get(name, 'gone')}"
            for name, version in frozen.items()
            if now.get(name) != version
        ]
        if changed:
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"The installation changed the image's own packages ({', '.join(changed)}), which the GPU "
                "needs as they were. Name releases in install.packages that fit the image.",
            )
        self.report.say(
            "✓ Unchanged: " + (", ".join(f"{name} {version}" for name, version in frozen.items()) or "-")
        )
