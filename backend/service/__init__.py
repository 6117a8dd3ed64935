"""The backend as a process: requests in over stdin, events out over stdout, tasks in between. No maths."""

from backend.service.serve import main

__all__ = ["main"]
