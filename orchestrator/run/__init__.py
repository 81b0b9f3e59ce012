"""The life of a run, which is a chain of sessions.

    target     which session a command is about
    snapshot   one look at Kaggle: each piece is there, not there, or unknown
    reading    a look as a `RunView` (`view`); `handover` finds what the next session can continue from
    decide     what the run needs next (pure)
    passes     one look, one decision, one step: `push` pushes, `rescue` hands over, `collect` downloads
    watch      pass after pass; `follow` follows a session (`replay`, `progress`, `live`)
    stop       ends the session that is at work, and waits until what it saved is listed
    status     a session for people; `forecast`, `outlook` and `plan` say when it and its run will end
    ledger     what this machine pushed; `context` holds it together with Kaggle and the clock

Values (`view`, `state`, `progress`, …) know nothing of what reads them; nothing here prints.
"""
