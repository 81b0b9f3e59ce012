"""The licences that a voice can be given away under, as Kaggle and Hugging Face call them."""

from dataclasses import dataclass

from orchestrator.errors import UsageError


@dataclass(frozen=True, slots=True)
class KnownLicence:
    """A licence: its SPDX name, Kaggle's and Hugging Face's names for it, and where its text is."""

    name: str
    kaggle: str
    hugging_face: str
    url: str


# Kaggle: docs/models_metadata.md of the official client. Hugging Face: docs/hub/repositories-licenses.
LICENCES = (
    KnownLicence("Apache-2.0", "Apache 2.0", "apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    KnownLicence("MIT", "MIT", "mit", "https://opensource.org/license/mit"),
    KnownLicence(
        "CC0-1.0", "CC0: Public Domain", "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"
    ),
    KnownLicence("CC-BY-4.0", "CC BY 4.0", "cc-by-4.0", "https://creativecommons.org/licenses/by/4.0/"),
    KnownLicence(
        "CC-BY-SA-4.0", "CC BY-SA 4.0", "cc-by-sa-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"
    ),
    KnownLicence(
        "CC-BY-NC-4.0", "CC BY-NC 4.0", "cc-by-nc-4.0", "https://creativecommons.org/licenses/by-nc/4.0/"
    ),
    KnownLicence(
        "CC-BY-NC-SA-4.0",
        "CC BY-NC-SA 4.0",
        "cc-by-nc-sa-4.0",
        "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    ),
    KnownLicence("other", "Other", "other", ""),
)
NAMES = tuple(item.name for item in LICENCES)


def licence(name: str) -> KnownLicence:
    """Find a licence by its SPDX name, or as Kaggle calls it, in any case.

    Raises:
        UsageError: it is none of `LICENCES`.
    """
    wanted = name.strip().casefold().replace(" ", "-")
    for item in LICENCES:
        if wanted in (item.name.casefold(), item.kaggle.casefold().replace(" ", "-")):
            return item
    raise UsageError(f"{name!r} is not a licence that kgtts knows.", hint=f"one of {', '.join(NAMES)}")
