"""Models as values, and what Kaggle would not accept of one."""

import re
import zlib
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.emulator.service.bundles import BundleVersion
from orchestrator.emulator.service.exceptions import RejectedError

_LENGTHS = range(3, 51)
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)  # Client 2.2.5, _validate_slug_syntax.
# From the client's documentation (docs/models_metadata.md, 2026); the service takes the name in
# parentheses as well (kaggle-cli #609, which also speaks of "Other").
_LONG_LICENSES = (
    "Apache 2.0",
    "Attribution 3.0 IGO (CC BY 3.0 IGO)",
    "Attribution 3.0 Unported (CC BY 3.0)",
    "Attribution 4.0 International (CC BY 4.0)",
    "Attribution-NoDerivatives 4.0 International (CC BY-ND 4.0)",
    "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)",
    "Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)",
    "Attribution-NonCommercial-ShareAlike 3.0 IGO (CC BY-NC-SA 3.0 IGO)",
    "BSD-3-Clause",
    "CC BY-NC-SA 4.0",
    "CC BY-SA 3.0",
    "CC BY-SA 4.0",
    "CC0: Public Domain",
    "Community Data License Agreement - Permissive - Version 1.0",
    "Community Data License Agreement - Sharing - Version 1.0",
    "GNU Affero General Public License 3.0",
    "GNU Free Documentation License 1.3",
    "GNU Lesser General Public License 3.0",
    "GPL 2",
    "GPL 3",
    "MIT",
    "ODC Attribution License (ODC-By)",
    "ODC Public Domain Dedication and Licence (PDDL)",
    "Other",
    "Other (specified in description)",
)
LICENSES = frozenset(
    name for long in _LONG_LICENSES for name in (long, long.partition(" (")[2].removesuffix(")")) if name
)


@dataclass(frozen=True, slots=True)
class VariationRef:
    """The name of a variation."""

    owner: str
    model: str
    framework: str
    slug: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.model}/{plain(self.framework)}/{self.slug}"


@dataclass(frozen=True, slots=True)
class Variation:
    """One variation of a model, of one framework, with its versions, oldest first.

    `framework` is spelt as in a mount path, `transformers`; `last_number` is the highest number that a
    version ever had, since none is given twice.
    """

    framework: str
    slug: str
    license: str = ""
    overview: str = ""
    usage: str = ""
    fine_tunable: bool = False
    training_data: tuple[str, ...] = ()
    kind: str = ""  # The wire's word for what it is made from.
    base: str = ""
    base_url: str = ""
    versions: tuple[BundleVersion, ...] = ()
    last_number: int = 0

    @property
    def name(self) -> tuple[str, str]:
        """What identifies it within its model: framework and slug."""
        return plain(self.framework), self.slug


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its variations."""

    owner: str
    slug: str
    title: str
    private: bool
    created_at: datetime
    updated_at: datetime
    subtitle: str = ""
    description: str = ""
    published_at: datetime | None = None
    provenance: str = ""
    variations: tuple[Variation, ...] = ()

    @property
    def ref(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"


def plain(framework: str) -> str:
    """The name of a framework, however it is spelt: `pyTorch`, `PY_TORCH`."""
    return framework.replace("_", "").replace("-", "").lower()


def key_of(*names: object) -> int:
    """The numeric id of the model or variation with these names."""
    return zlib.crc32("/".join(map(str, names)).lower().encode())


def find_variation(model: Model, ref: VariationRef) -> Variation | None:
    """The variation of a model that `ref` names; None if there is none."""
    wanted = plain(ref.framework), ref.slug
    return next((item for item in model.variations if item.name == wanted), None)


def with_variation(model: Model, variation: Variation) -> Model:
    """The model with this variation in the place of the one of its name."""
    others = {item.name: item for item in model.variations} | {variation.name: variation}
    return replace(model, variations=tuple(others.values()))


def check_slug(what: str, slug: str, least: int = _LENGTHS.start) -> None:
    """Check a slug's length and letters.

    Raises:
        RejectedError: Kaggle would refuse it; so for the other checks.
    """
    if not least <= len(slug) < _LENGTHS.stop:
        raise RejectedError(f"The {what} slug must be between {least} and {_LENGTHS.stop - 1} characters")
    if not _SLUG.fullmatch(slug):
        raise RejectedError('Slug can only contain alphanumeric or "-" characters')


def check_title(model: Model) -> None:
    """Check the length of a model's title."""
    if len(model.title) not in _LENGTHS:
        raise RejectedError(
            f"The model title must be between {_LENGTHS.start} and {_LENGTHS.stop - 1} characters"
        )


def check_license(name: str) -> None:
    """Check that Kaggle has this license, if one is named."""
    if name and name not in LICENSES:
        raise RejectedError(f"The license {name!r} is not valid.")


def check_public(model: Model) -> None:
    """Check that every variation of a public model has a license (kagglehub #62)."""
    if not model.private and not all(item.license for item in model.variations):
        raise RejectedError("A public model needs a license for each variation.")
