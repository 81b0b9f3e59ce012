"""The demo: its inputs, its base voices, its spoken sentences, and the run itself."""
