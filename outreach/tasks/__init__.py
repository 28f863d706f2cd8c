"""Tasks: when to run what the services do. `outreach.tasks.app` is the procrastinate app."""

from outreach.tasks.procrastinate_app import app

__all__ = ["app"]
