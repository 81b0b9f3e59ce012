"""Models: the files of a version."""

from collections.abc import Iterator
from typing import Any

from kagglesdk.models.types.model_api_service import ApiListModelInstanceVersionFilesRequest
from kagglesdk.models.types.model_enums import ModelFramework

from orchestrator.errors import UsageError
from orchestrator.kaggle.answers import next_token
from orchestrator.kaggle.errors import Calls, translated
from orchestrator.models import InputFile

_PAGE_SIZE = 200


def model_files(call: Calls, client: Any, source: str) -> Iterator[InputFile]:
    """List the files of the model version `owner/model/framework/variation/version`, page by page.

    Args:
        call: makes the calls.
        client: the SDK's client.
        source: the version.

    Raises:
        UsageError: Kaggle has no such framework.
    """
    request = ApiListModelInstanceVersionFilesRequest()
    owner, model, framework, variation, version = source.split("/")
    request.owner_slug, request.model_slug, request.instance_slug = owner, model, variation
    request.version_number, request.page_size = int(version), _PAGE_SIZE
    request.framework = _framework(framework)
    models = client.models.model_api_client
    doing, used = f"list the files of the model {source}", set[str]()
    while True:
        answer = call(doing, lambda: models.list_model_instance_version_files(request))
        yield from (InputFile(item.name, item.size) for item in answer.files or [])
        with translated(doing):
            token = next_token(answer, used)
        if token is None:
            return
        request.page_token = token


def _framework(name: str) -> ModelFramework:
    """The SDK's member for a framework as it is written in a model's address, such as `transformers`."""
    wanted = "MODEL_FRAMEWORK_" + name.replace("-", "").replace("_", "").upper()
    for framework in ModelFramework:
        if framework.name.replace("_", "") == wanted.replace("_", ""):
            return framework
    raise UsageError(
        f"{name!r} is not a model framework that Kaggle knows.", hint="correct inputs.model in kgtts.toml"
    )
