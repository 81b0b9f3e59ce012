"""Shared by the emulator's tests: a clock that a test advances, and an account on the official client."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
import requests
from kagglesdk.kaggle_client import KaggleClient
from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kernels.types import kernels_api_service as sdk

from orchestrator.emulator import Emulator
from tests.support import REPOSITORY

KEY = "not-a-real-key"
USER = "alice"
HANG = "import time\nprint('ready')\nwhile True: time.sleep(1000)\n"
TIMEOUT_S = 60


class Account:
    """A user of the emulator, with kagglesdk unmodified."""

    def __init__(self, emulator: Emulator, username: str = USER, key: str = KEY) -> None:
        self.url = emulator.url
        self.emulator = emulator
        self.auth = (username, key)
        self.client = KaggleClient(env=KaggleEnv.PROD, username=username, password=key)
        self.client._http_client._endpoint = emulator.url
        self.kernels = self.client.kernels.kernels_api_client

    def __enter__(self) -> Self:
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(*error)

    def push(self, code: str, title: str = "My Kernel", **fields: Any) -> Any:
        """Push a Python script; `fields` are those of ApiSaveKernelRequest. Returns the answer."""
        request = sdk.ApiSaveKernelRequest()
        wanted = {
            "slug": f"{USER}/{title.lower().replace(' ', '-')}",
            "new_title": title,
            "text": code,
            "language": "python",
            "kernel_type": "script",
            **fields,
        }
        for name, value in wanted.items():
            setattr(request, name, value)
        return self.kernels.save_kernel(request)

    def run(self, code: str, title: str = "My Kernel", **fields: Any) -> str:
        """Push a script, wait for its end, and return its state's name."""
        answer = self.push(code, title, **fields)
        assert not answer.error, answer.error
        slug = answer.ref.rsplit("/", 1)[1]
        self.wait(slug)
        return str(self.status(slug).status.name)

    def status(self, slug: str = "my-kernel", label: str | None = None) -> Any:
        """Return the session's status."""
        request = sdk.ApiGetKernelSessionStatusRequest()
        request.user_name, request.kernel_slug = USER, slug
        if label is not None:
            request.version_label = label
        return self.kernels.get_kernel_session_status(request)

    def output(self, slug: str = "my-kernel", **fields: Any) -> Any:
        """Return a page of outputs, and the log."""
        request = sdk.ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug = USER, slug
        for name, value in fields.items():
            setattr(request, name, value)
        return self.kernels.list_kernel_session_output(request)

    def files(self, slug: str = "my-kernel", **fields: Any) -> dict[str, str]:
        """Return the output files of a page: name to signed URL."""
        return {file.file_name: file.url for file in self.output(slug, **fields).files}

    def text(self, slug: str = "my-kernel", label: str | None = None) -> str:
        """Return everything that the session printed, from its stored log."""
        fields = {} if label is None else {"version_label": label}
        return "".join(event["data"] for event in json.loads(self.output(slug, **fields).log))

    def delete(self, slug: str = "my-kernel") -> None:
        """Delete a kernel."""
        request = sdk.ApiDeleteKernelRequest()
        request.user_name, request.kernel_slug = USER, slug
        self.kernels.delete_kernel(request)

    def quota(self) -> Any:
        """Return the GPU part of the quota."""
        return self.kernels.get_accelerator_quota_statistics().gpu_quota

    def stream(self, slug: str = "my-kernel", label: str | None = None) -> Iterator[str]:
        """Return the `data:` payloads and comments of the live log; nothing if the session is over."""
        query = "" if label is None else f"?versionLabel={label}"
        address = f"{self.url}/v1/kernels/logs/stream/{USER}/{slug}{query}"
        with requests.get(address, auth=self.auth, stream=True, timeout=TIMEOUT_S) as response:
            response.raise_for_status()
            if response.headers["Content-Type"].startswith("text/event-stream"):
                for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                    if line:
                        yield line.removeprefix("data: ")

    def wait(self, slug: str = "my-kernel") -> list[str]:
        """Wait for the session's end; returns the payloads of its stream."""
        return list(self.stream(slug))

    def wait_for(self, text: str, slug: str = "my-kernel") -> str:
        """Wait until the session prints `text`; returns the payload with it."""
        return next(payload for payload in self.stream(slug) if text in payload)

    def post(self, method: str, body: Any, service: str = "kernels.KernelsApiService") -> requests.Response:
        """Send a raw call that the client would never send."""
        return requests.post(
            f"{self.url}/v1/{service}/{method}", json=body, auth=self.auth, timeout=TIMEOUT_S
        )


def refused(call: Callable[[], Any]) -> Any:
    """The response to a call that ends with an HTTP error."""
    with pytest.raises(requests.HTTPError) as caught:
        call()
    return caught.value.response


def error_of(response: requests.Response) -> Any:
    """Return the error in a response's body, in the form of api.kaggle.com."""
    return response.json()["error"]


def documented_faults() -> str:
    """Return what docs/emulator.md says about faults."""
    text = (REPOSITORY / "docs" / "emulator.md").read_text(encoding="utf-8")
    section = text.partition("## Faults\n")[2].partition("\n## ")[0]
    assert section
    return section
