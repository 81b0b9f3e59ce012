"""What goes wrong in the emulator on purpose: kinds of faults, plans made of them, and how they are injected.

`kinds` declares every fault. `plan` reads plans and decides which request each fault hits. `middleware` and
`body` carry out what can happen to any response; the rest is up to the handler, in `wire`, of the method that
the fault is about.
"""
