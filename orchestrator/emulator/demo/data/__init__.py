"""Files that are copied into the demo's dataset as they are."""
