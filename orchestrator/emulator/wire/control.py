"""The emulator's own address, apart from Kaggle's: `/_emulator/faults`, for the fault plan."""

import json
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator.emulator.faults.plan import FaultInjector, read_plan
from orchestrator.emulator.wire.rpc import json_error
from orchestrator.errors import UsageError

FAULTS_PATH = "/_emulator/faults"
_LARGEST_PLAN = 1 << 20


class ControlEndpoint:
    """Answers requests to the emulator itself.

    Args:
        injector: holds the plan.
        authenticate: raises if a request lacks the credentials, which are the same as Kaggle's.
    """

    def __init__(self, injector: FaultInjector, authenticate: Callable[[Request], object]) -> None:
        self._injector = injector
        self._authenticate = authenticate

    def routes(self) -> list[Route]:
        """The addresses."""
        return [Route(FAULTS_PATH, self._faults, methods=["GET", "PUT", "DELETE"])]

    async def _faults(self, request: Request) -> Response:
        """GET shows the plan and its counts, PUT sets a plan (JSON), DELETE clears it."""
        self._authenticate(request)
        if request.method == "DELETE":
            self._injector.clear()
        elif request.method == "PUT":
            body = b""
            try:
                async for piece in request.stream():
                    body += piece
                    if len(body) > _LARGEST_PLAN:
                        return json_error(413, "The fault plan is too long.")
                self._injector.set(read_plan(json.loads(body), "the plan"))
            except UsageError as error:
                return json_error(400, error.message)
            except (ValueError, RecursionError):
                return json_error(400, "The request body is not JSON.")
            except ClientDisconnect:
                return Response(status_code=400)  # The client is gone: nobody reads it.
        plan, counts = self._injector.state()
        return JSONResponse(
            {
                "plan": plan.model_dump(mode="json"),
                "counts": [{"asked": count.matched, "struck": count.hit} for count in counts],
            }
        )
