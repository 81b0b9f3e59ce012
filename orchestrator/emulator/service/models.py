"""Models with their variations ("instances" in the API) and their versions, filled by hand or uploaded.

A folder ROOT/models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION is a version and always ready. Uploaded versions
lie in ROOT/uploaded-models and become ready as datasets do. `[?]` Guesses: how refusals are worded, the
lengths of slugs and titles, and what a session sees of a version that is still processed (here: nothing).
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.emulator.service.bundles import ALWAYS, Bundles, BundleVersion, NewFile
from orchestrator.emulator.service.exceptions import (
    ApiError,
    RejectedError,
    absent,
    permission_denied,
)
from orchestrator.emulator.service.files import is_safe_name, write_bytes_atomically
from orchestrator.emulator.service.model_records import (
    Model,
    Variation,
    VariationRef,
    check_license,
    check_public,
    check_slug,
    check_title,
    find_variation,
    plain,
    with_variation,
)
from orchestrator.emulator.service.uploads import UploadKind
from orchestrator.files import remove_tree

_MODEL = TypeAdapter(Model)


class Models:
    """All models of an emulator. Thread-safe.

    Args:
        root: the emulator's folder.
        bundles: makes versions of uploads, and knows which are ready.
        username: the owner of the account.
        absent: the HTTP status for what does not exist, 403 or 404.
    """

    def __init__(self, root: Path, bundles: Bundles, username: str, absent: int) -> None:
        self._by_hand = root / "models"
        self._uploaded = root / "uploaded-models"
        self.bundles = bundles
        self._username = username
        self._absent = absent
        self._lock = threading.RLock()

    # Looking

    def all(self) -> list[Model]:
        """Every model, the last changed first."""
        places = {
            (path.parent.name, path.name)
            for folder in (self._by_hand, self._uploaded)
            for path in folder.glob("*/*")
        }
        found = [model for owner, slug in places if (model := self.find(owner, slug))]
        return sorted(found, key=lambda item: (item.updated_at, item.ref), reverse=True)

    def find(self, owner: str, slug: str) -> Model | None:
        """A model by its name; None if there is none."""
        if not is_safe_name(owner) or not is_safe_name(slug):
            return None
        folder = self._by_hand / owner / slug
        record = self._uploaded / owner / slug / "model.json"
        with self._lock:
            if record.is_file():
                found = _MODEL.validate_json(record.read_bytes())
            elif folder.is_dir():
                changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
                found = Model(owner, slug, slug, private=True, created_at=changed, updated_at=changed)
            else:
                return None
        variations = {variation.name: variation for variation in found.variations}
        for variation in self._variations_by_hand(folder):
            uploaded = variations.get(variation.name)
            if uploaded is not None:
                own = {version.number for version in uploaded.versions}
                kept = [version for version in variation.versions if version.number not in own]
                versions = sorted((*kept, *uploaded.versions), key=lambda version: version.number)
                last = max(uploaded.last_number, variation.last_number)
                variations[variation.name] = replace(uploaded, versions=tuple(versions), last_number=last)
            else:
                variations[variation.name] = variation
        return replace(found, variations=tuple(variations.values()))

    def get(self, owner: str, slug: str) -> Model:
        """A model.

        Raises:
            ApiError: 403 or 404, there is none.
        """
        found = self.find(owner, slug)
        if found is None:
            raise absent(self._absent, "models.get", f"Model {owner}/{slug}")
        return found

    def get_variation(self, ref: VariationRef) -> tuple[Model, Variation]:
        """A variation, and its model.

        Raises:
            ApiError: 403 or 404, there is none.
        """
        model = self.get(ref.owner, ref.model)
        variation = find_variation(model, ref)
        if variation is None:
            raise absent(self._absent, "models.get", f"Model {ref}")
        return model, variation

    def get_version(self, ref: VariationRef, number: int = 0) -> tuple[Model, Variation, BundleVersion]:
        """A version with its variation and model; 0 is the newest.

        Raises:
            ApiError: 403 or 404 if there is no such variation, 404 if it has no such version.
        """
        model, variation = self.get_variation(ref)
        versions = [version for version in variation.versions if number in (0, version.number)]
        if not versions:
            raise ApiError(404, f"Version {number or 1} of model {ref} was not found")
        return model, variation, versions[-1]

    def folder(self, model: Model, variation: Variation, number: int) -> Path:
        """The folder of a version's files."""
        uploaded = self._folder(model, variation) / str(number)
        return uploaded if uploaded.is_dir() else self._folder_by_hand(model, variation, number)

    def archive(self, model: Model, variation: Variation, number: int) -> Path:
        """A compressed TAR archive of a version's files."""
        name = f"{model.ref}/{plain(variation.framework)}/{variation.slug}/{number}"
        return self.bundles.archive(self.folder(model, variation, number), name, ".tar.gz")

    # Changing

    def create(self, model: Model) -> Model:
        """Create a model without variations.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was created.
        """
        with self._lock:
            if model.owner.lower() != self._username.lower():
                raise RejectedError("You do not have permission to create a model for another user.", 403)
            model = replace(model, owner=self._username)
            check_slug("model", model.slug)
            check_title(model)
            if self.find(model.owner, model.slug) is not None:
                raise RejectedError(f"A model with the slug {model.slug!r} already exists.", 409)
            self._save(model)
            return model

    def update(self, model: Model, **changes: Any) -> Model:
        """Change a model's metadata.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was changed.
            ApiError: 403, it is another account's.
        """
        with self._lock:
            self._check_mine(model)
            changed = replace(model, **changes, updated_at=self.bundles.clock.now())
            check_title(changed)
            check_public(changed)
            self._save(changed)
            return changed

    def create_variation(
        self, owner: str, slug: str, variation: Variation, files: Sequence[NewFile]
    ) -> tuple[Model, Variation]:
        """Create a variation with its first version.

        Args:
            owner: the model's owner.
            slug: the model's slug.
            variation: the variation, without versions.
            files: what becomes version 1.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was created.
        """
        with self._lock:
            model = self._mine(owner, slug)
            check_slug("variation", variation.slug, 1)
            check_license(variation.license)
            if not variation.framework:
                raise RejectedError("A framework is required.")
            if variation.name in [item.name for item in model.variations]:
                raise RejectedError(f"The variation {variation.slug!r} already exists.", 409)
            changed = replace(model, variations=(*model.variations, variation))
            check_public(changed)
            return self._add(changed, variation, files, "")

    def add_version(self, ref: VariationRef, files: Sequence[NewFile], notes: str) -> tuple[Model, Variation]:
        """Create a version of a variation that holds the uploaded files and no others.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was created.
            ApiError: 403, the newest version is still processed.
        """
        with self._lock:
            model = self._mine(ref.owner, ref.model)
            variation = find_variation(model, ref)
            if variation is None:
                raise RejectedError(f"Model {ref} was not found", 404)
            newest = variation.versions[-1:]
            if self.bundles.processing.exclusive and not all(map(self.bundles.is_ready, newest)):
                raise permission_denied("models.update")
            return self._add(model, variation, files, notes)

    def update_variation(self, model: Model, variation: Variation, **changes: Any) -> Variation:
        """Change a variation's metadata.

        Raises:
            RejectedError: Kaggle would refuse it; nothing was changed.
            ApiError: 403, it is another account's.
        """
        with self._lock:
            self._check_mine(model)
            changed = replace(variation, **changes)
            check_license(changed.license)
            self._save(with_variation(model, changed))
            return changed

    def delete(self, model: Model) -> None:
        """Delete a model with all its variations.

        Raises:
            ApiError: 403, it is another account's; 400, a folder of it was filled by hand.
        """
        with self._lock:
            self._check_mine(model)
            _check_not_by_hand(self._by_hand / model.owner / model.slug)
            folder = self._uploaded / model.owner / model.slug
            # The record goes first: half a model must not come back after a crash.
            (folder / "model.json").unlink(missing_ok=True)
            remove_tree(folder)

    def delete_variation(self, model: Model, variation: Variation) -> None:
        """Delete a variation with all its versions.

        Raises:
            ApiError: as for `delete`.
        """
        with self._lock:
            self._check_mine(model)
            for version in variation.versions:
                _check_not_by_hand(self._folder_by_hand(model, variation, version.number))
            kept = tuple(item for item in model.variations if item.name != variation.name)
            self._save(replace(model, variations=kept))
            remove_tree(self._folder(model, variation))

    def delete_version(self, model: Model, variation: Variation, version: BundleVersion) -> None:
        """Delete one version; its number is not given again.

        Raises:
            ApiError: as for `delete`.
        """
        with self._lock:
            self._check_mine(model)
            _check_not_by_hand(self._folder_by_hand(model, variation, version.number))
            kept = tuple(item for item in variation.versions if item.number != version.number)
            self._save(with_variation(model, replace(variation, versions=kept)))
            remove_tree(self._folder(model, variation) / str(version.number))

    # Behind it

    def _mine(self, owner: str, slug: str) -> Model:
        model = self.find(owner, slug)
        if model is None:
            raise RejectedError(f"Model {owner}/{slug} was not found", 404)
        if model.owner.lower() != self._username.lower():
            raise RejectedError("You do not have permission to change a model of another user.", 403)
        return model

    def _check_mine(self, model: Model) -> None:
        if model.owner.lower() != self._username.lower():
            raise permission_denied("models.update")

    def _add(
        self, model: Model, variation: Variation, files: Sequence[NewFile], notes: str
    ) -> tuple[Model, Variation]:
        number = variation.last_number + 1
        self.bundles.fill(self._folder(model, variation) / str(number), files, UploadKind.MODEL)
        version = self.bundles.version(number, notes)
        added = replace(variation, versions=(*variation.versions, version), last_number=number)
        changed = replace(with_variation(model, added), updated_at=version.created_at)
        self._save(changed)
        return changed, added

    def _save(self, model: Model) -> None:
        """Write the record, which leaves out what was filled by hand."""
        variations = []
        for variation in model.variations:
            versions = tuple(
                version
                for version in variation.versions
                if not self._folder_by_hand(model, variation, version.number).is_dir()
            )
            variations.append(replace(variation, versions=versions))
        record = self._uploaded / model.owner / model.slug / "model.json"
        kept = replace(model, variations=tuple(variations))
        write_bytes_atomically(record, _MODEL.dump_json(kept, indent=1))

    def _folder(self, model: Model, variation: Variation) -> Path:
        return self._uploaded / model.owner / model.slug / plain(variation.framework) / variation.slug

    def _folder_by_hand(self, model: Model, variation: Variation, number: int) -> Path:
        above = self._by_hand / model.owner / model.slug
        for folder in sorted(above.iterdir()) if above.is_dir() else ():
            if plain(folder.name) == plain(variation.framework):
                return folder / variation.slug / str(number)
        return above / variation.framework / variation.slug / str(number)

    def _variations_by_hand(self, model: Path) -> list[Variation]:
        found: dict[tuple[str, str], dict[int, BundleVersion]] = {}
        for folder in sorted(model.glob("*/*/*")):
            framework, slug, number = folder.parts[-3:]
            if folder.is_dir() and number.isdecimal() and is_safe_name(slug):
                made = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
                versions = found.setdefault((framework, slug), {})
                versions[int(number)] = BundleVersion(int(number), "", made, ALWAYS)
        return [
            Variation(
                framework,
                slug,
                versions=tuple(versions[number] for number in sorted(versions)),
                last_number=max(versions),
            )
            for (framework, slug), versions in found.items()
        ]


def _check_not_by_hand(folder: Path) -> None:
    if folder.is_dir():
        raise ApiError(400, f"The emulator does not delete a folder of yours: remove {folder}.")
