"""Injected faults: the plan, and the middleware that carries it out."""
