"""One call to Kaggle: made once, or as often as is safe, with its failures told in our words."""

from collections.abc import Callable
from typing import TypeVar

from orchestrator.kaggle.translation import retry_delay, translated

RETRY_FOR_S = 60.0

T = TypeVar("T")


class Calls:
    """Makes calls and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, doing: str, call: Callable[[], T], *, retry: bool = True) -> T:
        """Make one call, retried where that is safe; `doing` completes "could not …".

        Raises:
            CredentialsError, NotFoundError, RefusedError, ServiceError: as `translated` says.
        """
        with translated(doing):
            try:
                self.count += 1
                return call()
            except Exception as error:
                if not retry or retry_delay(error) is False:
                    raise
                failure: Exception | None = error
            import stamina  # noqa: PLC0415  # 30 ms of start-up that only a failed call pays.

            for attempt in stamina.retry_context(
                on=retry_delay, attempts=8, timeout=RETRY_FOR_S, wait_initial=0.3, wait_max=15.0
            ):
                with attempt:
                    if failure is not None:  # The first attempt is the one that failed above.
                        first, failure = failure, None
                        raise first
                    self.count += 1
                    return call()
        raise AssertionError  # stamina re-raises the last failure itself.
