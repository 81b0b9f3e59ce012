"""Runs the sessions that the service orders, as processes on this machine.

`processes` implements `service.sessions.SessionRunner`; `sandbox` prepares the folder of a session, whose
first process is `orchestrator.launcher`; `standins` replace packages that this machine lacks; `concealment`
hides what sessions must not read of the process that starts them.
"""
