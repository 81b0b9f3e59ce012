"""A run as a chain of sessions: what Kaggle shows of it, what to do next, and doing that.

`siblings` names the kernels, `view` reads the chain from Kaggle, `decisions` chooses (pure), `passes` acts.
How one session's checkpoint comes to the next is known to `handover` alone, whose slow part is `rescue`.
"""
