"""What requests about datasets and models share: their files, and redirects to downloads."""

from typing import Any

from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus

from orchestrator.emulator.service.bundles import NewFile
from orchestrator.emulator.service.exceptions import ApiError
from orchestrator.emulator.service.files import is_file_name

_DEEPEST = 20


def files_of(body: Any, folder: str = "", depth: int = 0) -> list[NewFile]:
    """The files that a request names, those in its folders included.

    Raises:
        ApiError: 400, a token is not a text, or a folder has an invalid name.
    """
    found = [_file(file, folder) for file in body.files or []]
    for directory in body.directories or []:
        name = directory.name
        if not isinstance(name, str) or not is_file_name(name) or depth >= _DEEPEST:
            raise ApiError(400, "Invalid name of a directory.")
        found += files_of(directory, f"{folder}/{name}" if folder else name, depth + 1)
    return found


def _file(file: Any, folder: str) -> NewFile:
    token, description = file.token, file.description
    if not isinstance(token, str) or not isinstance(description, str):
        raise ApiError(400, "Invalid value for the field files.")
    return NewFile(folder, token, description)


def status_of(*, ready: bool) -> DatabundleVersionStatus:
    """The status of a version."""
    return DatabundleVersionStatus.READY if ready else DatabundleVersionStatus.BLOBS_RECEIVED


def text_of(value: Any) -> str:
    """A text of a request; "" if it has none.

    Raises:
        ApiError: 400, it is not a text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiError(400, "A field of the request is not a text.")
    return value
