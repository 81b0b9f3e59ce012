"""What lies ahead of a run, in words and for programs."""

from typing import Any

from orchestrator import formatting
from orchestrator.run.decide import RunState
from orchestrator.run.forecast import Forecast
from orchestrator.run.outlook import Outlook
from orchestrator.run.plan import Ends, goes_on
from orchestrator.run.progress import Progress


def in_words(ahead: Forecast) -> str:
    """A forecast as a sentence without a full stop."""
    epochs = f"{ahead.epochs:,.5g} epoch{'' if ahead.epochs == 1 else 's'}"
    sessions = formatting.counted(ahead.sessions, "session")
    when = (
        f"done about {formatting.moment(ahead.done_at)} at this pace and quota"
        if ahead.done_at is not None
        else "when it will be done cannot be said with this quota"
    )
    return f"{epochs} in {sessions}, {formatting.hours(ahead.gpu_time)}; {when}"


def ends_in_words(found: Ends) -> tuple[str | None, str | None]:
    """The outlook to the target, and to the session's end, as phrases."""
    session = None if found.session_s is None else f"ends in at most {formatting.duration(found.session_s)}"
    if found.target_s is not None and found.target_s < 1:
        return "reached", session
    if found.target_s is not None:
        return f"in about {formatting.duration(found.target_s)}, within this session", session
    if found.sessions is None:
        return None, session
    more = formatting.counted(found.sessions, "more session")
    if found.later is None:
        return f"needs {more}; when cannot be said with this quota", session
    return f"about {found.later:%a %d %b %H:%M} UTC, {more}", session


def what_next(outlook: Outlook | None, progress: Progress) -> str | None:
    """What becomes of the run after a session of it that has ended well; None where nothing does.

    Args:
        outlook: the run's, where kgtts.toml is about it.
        progress: the session's, whose own last word has to do elsewhere.
    """
    decision = None if outlook is None else outlook.decision
    if decision is None:
        return "goes on: `kgtts watch` starts its next session" if goes_on(progress) else None
    if decision.state is RunState.READY:
        return f"goes on: {decision.reason} `kgtts watch` starts it, and so does the next `kgtts sync`."
    if decision.state is RunState.RUNNING:
        return f"goes on already: {decision.reason} `kgtts watch` follows it."
    return f"{decision.state}: {decision.reason}"


def as_dict(outlook: Outlook | None) -> dict[str, Any]:
    """The outlook for programs; times are seconds."""
    quota, ahead = (None, None) if outlook is None else (outlook.quota, outlook.forecast)
    return {
        "quota": None
        if quota is None
        else {
            "left_s": quota.left.total_seconds(),
            "allowed_s": quota.allowed.total_seconds(),
            "refreshes_at": quota.refreshes_at,
        },
        "forecast": None
        if ahead is None
        else {
            "epochs": ahead.epochs,
            "sessions": ahead.sessions,
            "gpu_s": ahead.gpu_time.total_seconds(),
            "done_at": ahead.done_at,
        },
    }
