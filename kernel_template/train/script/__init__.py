"""The training script that kgtts brings along, in a folder of its own: Python looks for modules beside it."""
