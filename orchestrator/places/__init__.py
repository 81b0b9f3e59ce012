"""Where a run's sessions work besides Kaggle: this machine, and clouds through SkyPilot.

A session is one start of the rendered kernel; `kernel_template/place.py` finds there which session of its run
it is. `local` runs the sessions on this machine, `inputs` lays out what they mount, `series` says which run
they belong to.
"""
