"""A run on machines of SkyPilot (https://docs.skypilot.co): any cloud, Kubernetes, or one's own over SSH."""

from orchestrator.places.skypilot.task import SkyPilotTask, render_task, write_task

__all__ = ["SkyPilotTask", "render_task", "write_task"]
