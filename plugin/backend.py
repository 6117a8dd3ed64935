"""The one backend of this QGIS: found, started when first needed, shared by dock and tools, ended with the plugin."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Optional

from ..backend.protocol.errors import InputError
from . import settings
from .client import Client, start_command
from .environment import ROOT, find_python
from .errors import BackendNotInstalled


class Backend:
    """Hands out the client; usable from any thread.

    Args:
        root: the plugin's folder.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._client: Optional[Client] = None
        self._python: Optional[Path] = None

    def client(self) -> Client:
        """The client of the environment that the settings name; a new one when they have changed.

        Raises:
            BackendNotInstalled: there is no environment yet, or the setting names one that is gone.
        """
        try:
            python = find_python(settings.backend_python(), settings.environments(), self._root)
        except InputError as error:
            raise BackendNotInstalled(error.what, error.why, error.fix) from error
        with self._lock:
            if self._client is None or python != self._python:
                old, self._python = self._client, python
                self._client = Client(start_command(str(python), self._root), settings.network(), name="QGIS")
            else:
                old = None
            client = self._client
        if old is not None:
            old.close()
        return client

    @property
    def alive(self) -> bool:
        """Whether a backend process runs at this moment."""
        client = self._client
        return client is not None and client.alive

    def close(self) -> None:
        """End the backend's process; it is started again when it is next needed."""
        with self._lock:
            old, self._client = self._client, None
        if old is not None:
            old.close()
