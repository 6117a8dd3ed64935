"""The plugin inside QGIS: loading, the backend check with a real backend, unloading."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("qgis.core", reason="needs QGIS's Python: scripts/test plugin")

from qgis.core import Qgis, QgsApplication

ROOT = Path(__file__).resolve().parents[2]


def children() -> set[int]:
    """Process numbers of this process's children."""
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    alive = {int(number) for number in listing.split()}
    return {number for number in alive if _name(number) != "ps"}


def _name(number: int) -> str:
    try:
        return Path(f"/proc/{number}/comm").read_text().strip()
    except OSError:
        return "ps"


def shown(interface) -> str:
    """The text of the message bar's present message, "" without one."""
    item = interface.bar.currentItem()
    return item.text() if item is not None else ""


def test_loading_adds_its_actions_to_the_menu_and_the_dock_to_the_toolbar(plugin, interface):
    dock, check = interface.menus["EarthPrism"].actions()
    assert interface.toolbar.actions() == [dock]
    assert (dock.objectName(), check.objectName()) == ("earthprismDock", "earthprismCheckBackend")
    assert not dock.icon().pixmap(32, 32).isNull() and "backend" in check.text()


def test_unloading_leaves_nothing(interface, qgis_app):
    from earthprism import classFactory
    from qgis.PyQt.QtCore import QCoreApplication, QEvent, QObject

    before = {child.objectName() for child in interface.window.findChildren(QObject)}
    for _ in range(2):
        plugin = classFactory(interface)
        plugin.initGui()
        plugin.unload()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert interface.menus == {} and interface.toolbar.actions() == []
    assert (
        "earthprismCheckBackend"
        not in {child.objectName() for child in interface.window.findChildren(QObject)} - before
    )
    assert QgsApplication.taskManager().activeTasks() == []


def test_unloading_before_loading_or_twice_is_harmless(interface):
    from earthprism import classFactory

    plugin = classFactory(interface)
    plugin.unload()
    plugin.initGui()
    plugin.unload()
    plugin.unload()
    assert interface.menus == {}


def test_importing_the_plugin_brings_in_no_heavy_package():
    code = (
        "import importlib.util, pkgutil, sys\n"
        f"spec = importlib.util.spec_from_file_location('earthprism', {str(ROOT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(ROOT)!r}])\n"
        "package = importlib.util.module_from_spec(spec); sys.modules['earthprism'] = package\n"
        "spec.loader.exec_module(package)\n"
        "import earthprism.plugin\n"
        "for module in pkgutil.walk_packages(earthprism.plugin.__path__, 'earthprism.plugin.'):\n"
        "    importlib.import_module(module.name)\n"
        "heavy = {'torch', 'onnxruntime', 'rasterio', 'numpy', 'shapely', 'pyogrio', 'safetensors', 'backend'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_check_shows_version_devices_and_runtimes(plugin, interface, light_python, python_setting, wait):
    python_setting(str(light_python))
    before = children()
    _, action = interface.menus["EarthPrism"].actions()
    action.trigger()
    assert not action.isEnabled()
    text = wait(lambda: shown(interface))
    assert interface.bar.currentItem().level() == Qgis.MessageLevel.Success, text
    assert "version 0.1.0" in text and "cpu" in text and "onnxruntime" in text
    assert action.isEnabled()
    wait(lambda: children() == before)


def test_check_can_be_repeated(plugin, interface, light_python, python_setting, wait):
    python_setting(str(light_python))
    _, action = interface.menus["EarthPrism"].actions()
    for _ in range(2):
        interface.bar.clearWidgets()
        action.trigger()
        action.trigger()  # a second click while it runs changes nothing
        assert "version" in wait(lambda: shown(interface))
        wait(action.isEnabled)


def test_a_wrong_setting_is_named(plugin, interface, python_setting, tmp_path):
    python_setting(str(tmp_path / "no-python"))
    plugin.check_backend()
    assert "earthprism/python" in shown(interface) and "no-python" in shown(interface)
    assert interface.bar.currentItem().level() == Qgis.MessageLevel.Warning


def test_a_python_without_the_packages_is_an_error_in_the_message_bar(
    plugin, interface, python_setting, tmp_path, wait
):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho broken installation >&2\nexit 7\n")
    broken.chmod(0o755)
    python_setting(str(broken))
    plugin.check_backend()
    text = wait(lambda: shown(interface))
    assert interface.bar.currentItem().level() == Qgis.MessageLevel.Critical
    assert "Traceback" not in text


def test_unloading_during_a_check_stops_the_backend(interface, light_python, python_setting, wait):
    from earthprism import classFactory

    before = children()
    python_setting(str(light_python))
    plugin = classFactory(interface)
    plugin.initGui()
    plugin.check_backend()
    wait(lambda: children() != before)
    plugin.unload()
    wait(lambda: children() == before)
    assert shown(interface) == ""


def test_a_backend_that_never_answers_does_not_hold_up_unloading(interface, python_setting, tmp_path, wait):
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    python_setting(str(silent))
    before = children()
    from earthprism import classFactory

    plugin = classFactory(interface)
    plugin.initGui()
    plugin.check_backend()
    started = wait(lambda: children() - before)
    plugin.unload()
    try:
        wait(lambda: children() == before, 15)
    finally:
        for number in started & children():
            os.kill(number, signal.SIGKILL)
