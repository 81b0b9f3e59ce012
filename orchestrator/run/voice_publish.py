"""Publish a voice package as a version of the account's Kaggle Model."""

import re
from dataclasses import dataclass

from orchestrator.errors import ServiceError, UsageError
from orchestrator.models import InputDetails, Sending
from orchestrator.ports import Clock, Kaggle
from orchestrator.run.voice_upload import UploadedVoice, VoiceUpload
from orchestrator.settings.fields import title_from
from orchestrator.untrusted import one_line
from orchestrator.voice.licences import licence
from orchestrator.voice.package import Package

_FRAMEWORK, _VARIATION = "onnx", "default"
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_LENGTHS = range(5, 51)  # Of a model's slug, as Kaggle takes it.
_LONGEST_DESCRIPTION = 20_000
_HEADER = re.compile(r"\A---\n.*?\n---\n\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KagglePlan:
    """What publishing would do: the variation, and the version that has the package already, if one does."""

    variation: str
    current: str | None


def variation_named(text: str | None, owner: str, slug: str) -> str:
    """Give the variation that a person means: [OWNER/]MODEL, or with /FRAMEWORK/VARIATION behind it.

    Args:
        text: what the person wrote; None for the run's own, SLUG-voice.
        owner: the account.
        slug: the run's slug.

    Raises:
        UsageError: it names no model.
    """
    parts = (text or f"{slug[: _LENGTHS.stop - 7]}-voice").split("/")
    if len(parts) in (1, 3):
        parts = [owner, *parts]
    if len(parts) == 2:  # noqa: PLR2004 - the owner and the model.
        parts += [_FRAMEWORK, _VARIATION]
    if len(parts) != 4 or not all(_SLUG.fullmatch(part) for part in parts[1:]) or not parts[0]:  # noqa: PLR2004
        raise UsageError(
            f"{text!r} does not name a Kaggle Model.",
            hint="MODEL, OWNER/MODEL or OWNER/MODEL/FRAMEWORK/VARIATION: small letters, digits, hyphens",
        )
    if len(parts[1]) not in _LENGTHS:
        raise UsageError(
            f"The name of a Kaggle Model has 5 to 50 characters; {parts[1]!r} has {len(parts[1])}."
        )
    return "/".join(parts)


class KagglePublication:
    """Publishes packages as versions of a variation.

    Args:
        kaggle: the account.
        clock: time.
        variation: `owner/model/framework/variation`.
        public: whether a model that is made now is seen by everybody.
    """

    def __init__(self, kaggle: Kaggle, clock: Clock, variation: str, *, public: bool = False) -> None:
        self._kaggle = kaggle
        self._clock = clock
        self._variation = variation
        self._public = public

    def plan(self, package: Package) -> KagglePlan:
        """Find out whether Kaggle has the package already.

        Raises:
            UsageError: the package names no licence.
            ServiceError: Kaggle could not be read.
        """
        _licence_of(package)
        return KagglePlan(self._variation, self._upload(package).current(package.paths))

    def publish(self, package: Package, *, sending: Sending) -> UploadedVoice:
        """Make a version of the package, if the newest does not hold it, and wait until it is ready.

        Raises:
            UsageError: the package names no licence.
            RefusedError, ServiceError, LocalError: as `VoiceUpload.bring`; giving the command again goes on.
        """
        name = _licence_of(package)
        uploaded = self._upload(package).bring(
            package.paths,
            license_name=licence(name).kaggle,
            notes=f"kgtts, package {package.identity[:12]}",
            sending=sending,
        )
        wanted = {name: path.stat().st_size for name, path in package.paths.items()}
        there = {file.name: file.size for file in self._kaggle.model_files(uploaded.source)}
        if wrong := [name for name, size in wanted.items() if there.get(name) != size]:
            raise ServiceError(
                f"Kaggle lists {one_line(wrong[0], 100)} of {uploaded.source} with another size.",
                hint=f"see https://www.kaggle.com/models/{uploaded.source}",
            )
        return uploaded

    def _upload(self, package: Package) -> VoiceUpload:
        text = _HEADER.sub("", (package.folder / "README.md").read_text(encoding="utf-8"))
        details = InputDetails(
            title_from(self._variation.split("/")[1]),
            private=not self._public,
            subtitle="A voice for text to speech",
            description=text[:_LONGEST_DESCRIPTION],
        )
        return VoiceUpload(self._kaggle, self._clock, self._variation, details=details)


def _licence_of(package: Package) -> str:
    name = package.about.licence
    if name is None:
        raise UsageError(
            "The package does not say under which licence the voice is, and Kaggle wants to know.",
            hint="give --license NAME, here or at `kgtts voice package`",
        )
    return name
