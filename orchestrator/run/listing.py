"""The sessions that this machine pushed, with their states as they are now, if Kaggle can be asked."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from orchestrator.errors import KgttsError, RefusedError
from orchestrator.run.context import RunContext
from orchestrator.run.ledger import PushOutcome, SessionRecord

_MOST_CALLS = 20  # One for each session that had not ended when it was last seen.


def is_settled(record: SessionRecord) -> bool:
    """Whether the record's state is its last; nothing about it need be asked."""
    if record.outcome is not PushOutcome.PUSHED:
        return True
    return record.state is not None and record.state.is_terminal


def refreshed(
    records: Sequence[SessionRecord], log_in: AbstractContextManager[RunContext]
) -> tuple[Sequence[SessionRecord], KgttsError | None]:
    """Ask for the states of the sessions that were not over, the newest first; the ledger remembers them.

    Args:
        records: what the ledger knows.
        log_in: opens Kaggle and the ledger; not entered if there is nothing to ask.

    Returns:
        The sessions, and why some states are still as they were seen last; None if all are fresh.
    """
    unsettled = [record for record in records if not is_settled(record)][:_MOST_CALLS]
    if not unsettled:
        return records, None
    fresh: dict[int, SessionRecord] = {}
    try:
        with log_in as context:
            for record in unsettled:
                fresh.update(_looked_at(context, record))
    except KgttsError as error:
        return [fresh.get(record.id, record) for record in records], error
    return [fresh.get(record.id, record) for record in records], None


def _looked_at(context: RunContext, record: SessionRecord) -> Iterator[tuple[int, SessionRecord]]:
    try:
        status = context.kaggle.session_status(record.ref)
    except RefusedError:
        return  # Absent or not shown: what was seen last stands.
    now = context.clock.now()
    yield record.id, context.ledger.observe(record, status.state, status.failure_message, now)
