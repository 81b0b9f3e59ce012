"""A voice's text rules, shared with the laptop."""
