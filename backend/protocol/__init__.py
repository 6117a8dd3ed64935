"""What crosses the process border: jobs, messages, errors.

Standard library only; the one part of the backend that the plugin imports.
"""
