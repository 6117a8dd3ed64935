"""The user's settings, all read here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from qgis.core import QgsApplication, QgsSettings

PYTHON = "earthprism/python"
# QGIS's own kinds of proxy that other programs understand; the system's and cached ones they find themselves.
_SCHEMES = {"HttpProxy": "http", "Socks5Proxy": "socks5"}


def backend_python() -> str:
    """The Python that the user chose for the backend, "" where the choice is ours."""
    return str(QgsSettings().value(PYTHON, "") or "")


def set_backend_python(path: str) -> None:
    """Keep the user's choice; "" takes it back."""
    if path:
        QgsSettings().setValue(PYTHON, path)
    else:
        QgsSettings().remove(PYTHON)


def environments() -> Path:
    """Where environments are made from the dock: in the user's profile, where an update of the plugin leaves them."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "earthprism" / "environments"


def network() -> dict[str, str]:
    """The proxy that the user set in QGIS, as the variables that the backend's downloads go by; empty for none."""
    stored = QgsSettings()
    kind = str(stored.value("proxy/proxyType", "") or "")
    if not stored.value("proxy/proxyEnabled", False, type=bool) or kind not in _SCHEMES:
        return {}
    user, secret = (quote(str(stored.value(f"proxy/proxy{part}", "") or ""), safe="") for part in ("User", "Password"))
    host, port = (str(stored.value(f"proxy/proxy{part}", "") or "") for part in ("Host", "Port"))
    if not host:
        return {}
    login = f"{user}:{secret}@" if user else ""
    address = f"{_SCHEMES[kind]}://{login}{host}{f':{port}' if port else ''}"
    excluded = stored.value("proxy/noProxyUrls", [], type=list)
    return {"HTTPS_PROXY": address, "HTTP_PROXY": address, "NO_PROXY": ",".join(["localhost", *map(str, excluded)])}
