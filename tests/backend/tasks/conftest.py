"""The small web server and the empty store of the manifest's tests."""

from tests.backend.manifest.conftest import Web, store_folder, web

__all__ = ["Web", "store_folder", "web"]
