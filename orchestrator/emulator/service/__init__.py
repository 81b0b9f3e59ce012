"""The emulated service: its state and its rules, without HTTP."""
