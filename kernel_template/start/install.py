"""Installs Coqui TTS if it cannot be imported, without changing the image's GPU stack.

`pip install TTS`, as the guide says, needs Python below 3.12, and in a real run it replaced 1.9 GB of the
image's CUDA libraries. Here a constraints file pins torch and the packages around it to the image's own
releases, which are compared afterwards. uv installs if the image has it, else pip; if uv fails, pip is tried.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel_template.context import SessionContext
from kernel_template.contract import EndReason
from kernel_template.start.install_failures import disk_was_full, install_failure, last_error
from kernel_template.start.packages import (
    Installed,
    SitePackages,
    Wheelhouse,
    lacks,
    required_name,
    unsatisfied,
    wheelhouse_finder,
)
from kernel_template.start.probe import Probe, probe_tts
from kernel_template.tools.files import human_seconds, human_size, write_atomic
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import Capture, ChildPlan, RunChild, StopCause, child_environment
from kernel_template.tools.report import MessageSink

# What an installation must not change.
FROZEN = ("torch", "torchaudio", "torchvision", "torchcodec", "triton", "numpy")
_PIP_LIMIT_S = 1800.0
_UV_TIMEOUT_S = 30.0
_GRACE_S = 15.0  # For pip to restore what it has half replaced.
_KEPT_LINES = 200
_MAX_CHANGED = 8
# uv ignores pip's variables: hand a proxy or mirror that is set for pip on to it.
_PIP_TO_UV = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}


@dataclass(frozen=True, slots=True)
class _Source:
    """Where packages come from: the arguments for it, and the dataset if nothing else is asked."""

    arguments: tuple[str, ...] = ()
    wheelhouse: str | None = None


@dataclass(slots=True)
class _LineTail:
    """Prints the lines of an installation as they come, and keeps the last ones."""

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
        versions: the installed versions of distributions, by name.
        programs: the programs of this package, and the interpreter that the training will use.
        temp: a folder for the constraints file.
        report: prints messages.
        site: the packages that this interpreter has.
        wait_until_allowed: returns once something may be installed; raises KernelFailure if nothing may.
        limit_s: seconds for one attempt.
    """

    capture: Capture
    run: RunChild
    env: Mapping[str, str]
    versions: Callable[[tuple[str, ...]], dict[str, str]]
    programs: PackagePrograms
    temp: Path
    report: MessageSink
    site: SitePackages = field(default_factory=SitePackages)
    wait_until_allowed: Callable[[], None] = lambda: None
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
        """Install `packages` if TTS cannot be imported, and check that it can be afterwards.

        Args:
            packages: requirements as pip takes them.
            internet: whether the package index can be reached.
            wheelhouse: finds the dataset of wheels, which is tried first; None if there is none.

        Raises:
            KernelFailure: TTS cannot be installed or imported, or the image's GPU stack was changed.
        """
        before = self.probe()
        if before.ok:
            return self._adjust(before, packages, internet=internet, wheelhouse=wheelhouse)
        self.wait_until_allowed()
        self.report.say(f"TTS cannot be imported yet ({before.error})")
        sources = self._sources(wheelhouse() if wheelhouse else None, internet=internet)
        if not sources:
            unfit = (
                " The dataset in install.wheelhouse is not mounted or holds no wheels." if wheelhouse else ""
            )
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"Coqui TTS cannot be imported ({before.error}), and the session has no internet to install "
                f"it from.{unfit} Set kernel.internet = true, for which Kaggle asks you to verify your "
                "phone number. Or set install.wheelhouse to a dataset of wheels, or use an image with it. On "
                'your own machine: pip install "kgtts[train]".',
            )
        self._install(packages, sources)
        after = self.probe()
        if not after.ok:
            hint = ""
            if after.details.get("missing"):
                hint = f' Add "{after.details["missing"]}", or the package that has it, to install.packages.'
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{', '.join(packages)} was installed, but Coqui TTS still cannot be imported: "
                f"{after.error}.{hint}",
            )
        self.report.say(f"✓ TTS {after.details.get('TTS')} was installed and can be imported")
        return after

    def _adjust(
        self,
        before: Probe,
        packages: Sequence[str],
        *,
        internet: bool,
        wheelhouse: Callable[[], Wheelhouse | None] | None,
    ) -> Probe:
        """Install what is missing or of another release, although TTS can be imported; for `ensure`."""
        wanted = unsatisfied(packages, self.site.found())
        version = before.details.get("TTS")
        if not wanted:
            self.report.say(f"✓ TTS {version} can be imported: nothing to install")
            return before
        self.report.say(
            f"TTS {version} can be imported, but install.packages also asks for {', '.join(wanted)}"
        )
        self.wait_until_allowed()
        sources = self._sources(wheelhouse() if wheelhouse else None, internet=internet)
        if not sources:
            self.report.warn(
                f"{', '.join(wanted)} of install.packages is not installed, and the session has no "
                f"internet to "
                f"install it from: it trains with what there is (TTS {version}). Set kernel.internet = "
                f"true, or "
                "add it to the dataset in install.wheelhouse."
            )
            return before
        self._install(wanted, sources)
        after = self.probe()
        if not after.ok:
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{', '.join(wanted)} was installed, and since then Coqui TTS cannot be imported: "
                f"{after.error}.",
            )
        self.report.say(f"✓ TTS {after.details.get('TTS')} can be imported")
        return after

    def add(
        self,
        packages: Sequence[str],
        *,
        internet: bool,
        wheelhouse: Callable[[], Wheelhouse | None] | None = None,
        alone: bool = False,
    ) -> None:
        """Install those of `packages` that are missing or lack something; arguments as those of `ensure`.

        With `alone`, nothing that they depend on is installed.

        Raises:
            KernelFailure: they cannot be installed, or the image's GPU stack was changed.
        """
        if not packages:
            return
        there = self.site.found()
        missing = [item for item in packages if required_name(item) not in there]
        present = () if alone else [item for item in packages if item not in missing]
        unfit = {item: lack for item in present if (lack := lacks(there[required_name(item)], there))}
        if not missing and not unfit:
            return
        for item, lack in unfit.items():
            found = there[required_name(item)]
            self.report.say(f"{found.name} {found.version} is there, but needs {', '.join(lack)}")
        sources = self._sources(wheelhouse() if wheelhouse else None, internet=internet)
        if not sources and not missing:
            return  # It may work all the same.
        if not sources:
            raise KernelFailure(
                EndReason.INSTALL_FAILED,
                f"{', '.join(missing)} is not installed, and the session has no internet to install from. "
                "Set kernel.internet = true, or add it to the dataset in install.wheelhouse.",
            )
        self._install([*missing, *unfit], sources, *(("--no-deps",) if alone else ()))

    def _sources(self, wheels: Wheelhouse | None, *, internet: bool) -> list[_Source]:
        """Where to install from: the wheelhouse first, which needs no network; then the package index."""
        links: tuple[str, ...] = ()
        sources = []
        if wheels is not None and wheels.count:
            links = tuple(part for folder in wheels.folders for part in ("--find-links", str(folder)))
            sources.append(_Source(("--no-index", *links), wheels.source))
            self.report.say(f"Wheels: {wheels.count} in {wheels.source}, {human_size(wheels.size)}")
        if internet:
            sources.append(_Source(links))
        return sources

    def _install(self, packages: Sequence[str], sources: Sequence[_Source], *options: str) -> None:
        """Install under constraints from the first source that has everything, and report what came."""
        frozen = self.versions(FROZEN)
        constraints = self.temp / "constraints.txt"
        write_atomic(
            constraints, "".join(f"{name}=={version}\n" for name, version in frozen.items()).encode()
        )
        self.report.say(
            f"Installing {', '.join(packages)}; not to be changed: " + (", ".join(frozen) or "nothing")
        )
        before = self.site.found()
        wanted = (*options, "--constraint", str(constraints), *packages)
        seconds = 0.0
        for source, following in zip(sources, (*sources[1:], None), strict=True):
            tool, spent, failure = self._install_from(source, wanted, packages)
            seconds += spent
            if failure is None:
                break
            if following is None or failure.reason is not EndReason.INSTALL_FAILED:
                raise failure
            self.report.warn(f"{failure.message} Trying the package index instead.")
        self._report_changes(before, tool, seconds)
        self._compare(frozen)

    def _install_from(
        self, source: _Source, wanted: Sequence[str], packages: Sequence[str]
    ) -> tuple[str, float, KernelFailure | None]:
        """Try each tool. Returns the last one, the seconds of all, and why it failed; None if it did not."""
        seconds = 0.0
        failure: KernelFailure | None = None
        for tool, command, env in self._tools():
            output = _LineTail(self.report.say)
            plan = ChildPlan([*command, *source.arguments, *wanted], env, None, self.limit_s, _GRACE_S)
            try:
                end = self.run(plan, output)
            except OSError as error:
                failure = KernelFailure(EndReason.INSTALL_FAILED, f"{tool} could not be started: {error}.")
                continue
            seconds += end.seconds
            if end.stop_cause is StopCause.INTERRUPTED:
                failure = KernelFailure(
                    EndReason.INTERRUPTED,
                    f"The session was stopped while {', '.join(packages)} was being installed.",
                )
                return tool, seconds, failure
            if end.returncode == 0 and end.stop_cause is None:
                return tool, seconds, None
            ended = f"ended with exit code {end.returncode}"
            if end.stop_cause is not None:
                ended = f"was not done after {human_seconds(self.limit_s)}"
            failure = install_failure(packages, output.lines, f"{tool} {ended}", source.wheelhouse)
            if disk_was_full(output.lines):
                break
            if tool == "uv":
                self.report.say(f"  uv failed ({last_error(output.lines)}); trying pip.")
        return "pip", seconds, failure

    def _tools(self) -> list[tuple[str, list[str], dict[str, str]]]:
        """The name, command and environment of each tool: uv if the image has it, then pip."""
        env = child_environment(self.env, {"PIP_ROOT_USER_ACTION": "ignore"})
        pip = [self.programs.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        # Python compiles what it imports; compiling 90 packages would take longer than downloading them.
        tools = [("pip", [*pip, "--progress-bar", "off", "--no-compile"], env)]
        answer = self.capture(("uv", "--version"), env, _UV_TIMEOUT_S)
        if answer is not None and answer.returncode == 0:
            mirrors = {uv: env[pip] for pip, uv in _PIP_TO_UV.items() if pip in env and uv not in env}
            uv_env = {**env, **mirrors, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
            tools.insert(0, ("uv", ["uv", "pip", "install", "--python", self.programs.python], uv_env))
        return tools

    def _report_changes(self, before: Mapping[str, Installed], tool: str, seconds: float) -> None:
        """Report size and time, and which of the image's other packages were replaced."""
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
                f"  It replaced these packages of the image: {', '.join(changed[:_MAX_CHANGED])}{more}"
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
                f"The installation changed packages of the image that the GPU needs ({', '.join(changed)}). "
                "Choose releases in install.packages that work with the image's own.",
            )
        self.report.say(
            "✓ Unchanged: " + (", ".join(f"{name} {version}" for name, version in frozen.items()) or "-")
        )


def add_packages(
    context: SessionContext, packages: Sequence[str], *, limit_s: float = _PIP_LIMIT_S, alone: bool = False
) -> None:
    """Install those of `packages` that are missing, from where the session's settings allow.

    Args:
        context: the session.
        packages: requirements as pip takes them.
        limit_s: seconds for one attempt.
        alone: whether nothing that they depend on is installed.

    Raises:
        KernelFailure: they cannot be installed, or the image's GPU stack was changed.
    """
    tools, settings = context.tools, context.settings
    installer = Installer(
        capture=tools.capture,
        run=context.run_child,
        env=tools.env,
        versions=tools.versions,
        programs=tools.programs,
        temp=context.paths.temp,
        report=context.report,
        limit_s=limit_s,
    )
    finder = wheelhouse_finder(settings["install"], context.paths.input)
    installer.add(packages, internet=settings["internet"], wheelhouse=finder, alone=alone)
