"""Makes the Python environments of EarthPrism and says where their interpreters are.

    python3 scripts/environment.py light|full|train|qgis|backend [--check]

The path of the environment's Python goes to stdout, progress to stderr. `backend` is the full environment where it
exists, else the light one. With `--check` nothing is made: exit code 3 says that the environment is missing or stale.
Standard library only, and any Python from 3.7 can start it: it searches one that is new enough itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("EARTHPRISM_ENVIRONMENTS") or ROOT / ".venv")
LOCKS = ROOT / "locks"
OLDEST = (3, 10)
TESTED = ("3.11", "3.12", "3.13", "3.10")  # in order of preference
MISSING = 3


class Kind(NamedTuple):
    """What an environment is made of.

    Attributes:
        locks: lock files in the order of installation; torch.txt is version-pinned, the others carry hashes.
        imports: modules that must import before the environment is taken into use.
        size: roughly what it takes on disk.
        probe: what the base interpreter must be able to import besides `venv`.
        shared: whether the base interpreter's packages are visible inside.
    """

    locks: tuple[str, ...]
    imports: str
    size: str
    probe: str = "ensurepip"
    shared: bool = False


KINDS = {
    "light": Kind(("light.txt",), "numpy, rasterio, onnxruntime, shapely, pyogrio, safetensors", "390 MB"),
    "full": Kind(("torch.txt", "full.txt"), "torch, rasterio, onnxruntime", "1.2 GB, several with CUDA"),
    "train": Kind(("torch.txt", "train.txt"), "torch, rasterio, onnx, sklearn, pytest", "2 GB, more with CUDA"),
    "qgis": Kind(("qgis.txt",), "qgis.core, pytest_qgis", "20 MB", "ensurepip, qgis.core", shared=True),
}
# Debian's names; only used by root where apt-get exists.
SYSTEM_PACKAGES = {
    "qgis": ("qgis", "python3-qgis", "xvfb", "xauth", "fonts-dejavu-core", "python3-venv"),
    "light": ("python3-venv",),
}


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def say(message: str) -> None:
    """Print one line of progress."""
    print("earthprism: " + message, file=sys.stderr, flush=True)


def interpreter(folder: Path) -> Path:
    """The Python of the environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead another Python astray."""
    astray = (
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
        "PROJ_LIB",
        "PROJ_DATA",
    )
    return {**{key: value for key, value in os.environ.items() if key not in astray}, "QT_QPA_PLATFORM": "offscreen"}


def lock_digest(kind: Kind) -> str:
    """SHA-256 over the lock files and how they are installed, hexadecimal."""
    digest = hashlib.sha256(repr((kind.locks, kind.shared)).encode())
    for name in kind.locks:
        digest.update((LOCKS / name).read_bytes())
    return digest.hexdigest()


def is_current(folder: Path, kind: Kind) -> bool:
    """Whether the environment was made from today's locks, and by an interpreter that is still the same."""
    try:
        stamp = json.loads((folder / "stamp.json").read_text())
        base = str(interpreter(folder).resolve(strict=True))
    except (OSError, ValueError):
        return False
    return bool(stamp["locks"] == lock_digest(kind) and stamp["base"] == base)


def candidates() -> Iterator[str]:
    """Interpreters worth trying, best first."""
    if os.environ.get("EARTHPRISM_PYTHON"):
        yield os.environ["EARTHPRISM_PYTHON"]
        return
    if "%d.%d" % sys.version_info[:2] in TESTED:
        yield getattr(sys, "_base_executable", sys.executable)
    for version in TESTED:
        yield from filter(None, [shutil.which("python" + version)])
    for name in ("python3", "/usr/bin/python3", "/usr/local/bin/python3", "python"):
        yield from filter(None, [shutil.which(name)])


def find_base(kind: Kind) -> str | None:
    """An interpreter that is new enough and has what an environment of this kind needs, or None."""
    code = "import sys, venv, %s; sys.exit(sys.version_info[:2] < %r)" % (kind.probe, OLDEST)
    tried = set()
    for path in candidates():
        if path in tried:
            continue
        tried.add(path)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run([path, "-I", "-c", code], env=clean_environment(), capture_output=True, timeout=60)
            if done.returncode == 0:
                return path
    return None


def install_system_packages(name: str) -> bool:
    """Install the system packages that `name` needs, where that is possible; says whether it was tried."""
    packages = SYSTEM_PACKAGES.get(name, SYSTEM_PACKAGES["light"])
    # The user's choice, which no package changes; and inside QGIS nobody expects system packages to be installed.
    unwanted = "EARTHPRISM_PYTHON" in os.environ or os.environ.get("EARTHPRISM_SYSTEM_PACKAGES") == "no"
    if unwanted or sys.platform == "win32" or os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say("installing system packages: " + " ".join(packages))
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-q"], install):
        run(command, environment, "system packages could not be installed")
    return True


def run(command: list[str], environment: dict[str, str], failure: str) -> None:
    """Run a command, its output to a log under `.venv`; SetupError with the last lines when it fails."""
    HOME.mkdir(parents=True, exist_ok=True)
    log = HOME / "setup.log"
    with log.open("ab") as sink:
        start = sink.tell()
        code = subprocess.call(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    if code:
        with log.open("rb") as source:
            source.seek(start)
            tail = source.read().decode(errors="replace").strip().splitlines()[-8:]
        raise SetupError("%s (exit code %d, all of it in %s):\n  %s" % (failure, code, log, "\n  ".join(tail)))


def base_for(name: str, kind: Kind) -> str:
    """An interpreter to build on; installs system packages when none is found and that is possible."""
    base = find_base(kind)
    if base is None and install_system_packages(name):
        base = find_base(kind)
    if base is None:
        wanted = " ".join(SYSTEM_PACKAGES.get(name, SYSTEM_PACKAGES["light"]))
        raise SetupError(
            "no suitable Python found: it must be %d.%d or newer and import venv, %s; install the system's "
            "packages (Debian, Ubuntu: apt-get install %s) or name one in EARTHPRISM_PYTHON"
            % (*OLDEST, kind.probe, wanted)
        )
    return base


def install(python: Path, lock: str) -> None:
    """Install one lock file with pip, whose own settings say from where; hashes decide what is accepted."""
    command = [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    if (LOCKS / lock).read_text().find("--hash=") >= 0:
        # A hashed lock is complete. Left to resolve dependencies all the same, pip may look at a newer release of one
        # that is asked for with an extra (coverage[toml]) before it sees the pin, and refuse it for want of a hash.
        command += ["--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "-r", str(LOCKS / lock)]
    failure = (
        "packages of locks/%s could not be installed; without a network, point PIP_FIND_LINKS at a folder of wheels "
        "and set PIP_NO_INDEX=1; behind a proxy, set HTTPS_PROXY" % lock
    )
    run(command, clean_environment(), failure)


def move_scripts(folder: Path, target: Path) -> None:
    """Let the scripts in `folder` name `target`, where the environment is about to be."""
    for script in interpreter(folder).parent.iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        content = script.read_bytes()
        if b"\0" not in content and str(folder).encode() in content:
            script.write_bytes(content.replace(str(folder).encode(), str(target).encode()))


def build(name: str, kind: Kind) -> None:
    """Build the environment beside its place and rename it when it works."""
    folder, fresh = HOME / name, HOME / (name + ".new")
    base = base_for(name, kind)
    say("making the %s environment in %s (about %s) with %s" % (name, folder, kind.size, base))
    shutil.rmtree(fresh, ignore_errors=True)
    flags = ["--system-site-packages"] if kind.shared else []
    run([base, "-I", "-m", "venv", *flags, str(fresh)], clean_environment(), "the environment could not be created")
    for lock in kind.locks:
        say("installing locks/%s" % lock)
        install(interpreter(fresh), lock)
    check = [str(interpreter(fresh)), "-I", "-c", "import " + kind.imports]
    run(check, clean_environment(), "the new environment does not work")
    move_scripts(fresh, folder)
    stamp = {"locks": lock_digest(kind), "base": str(interpreter(fresh).resolve())}
    (fresh / "stamp.json").write_text(json.dumps(stamp))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    say("the %s environment is ready" % name)


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """One builder at a time; the others wait."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / (name + ".lock")).open("w") as handle:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def ensure(name: str, make: bool = True) -> Path:
    """The interpreter of the environment, which is made or renewed where needed.

    Raises:
        SetupError: it cannot be made, or is missing and `make` is off.
    """
    kind, folder = KINDS[name], HOME / name
    if not is_current(folder, kind):
        if not make:
            raise SetupError("the %s environment is missing or stale: run scripts/environment.py %s" % (name, name))
        with exclusive(name):
            if not is_current(folder, kind):  # another process may have made it meanwhile
                build(name, kind)
    return interpreter(folder)


def main(arguments: list[str]) -> int:
    """Command line; 0 done, 1 it could not be made, 2 wrong use, 3 missing (with --check)."""
    names = [argument for argument in arguments if argument != "--check"]
    make = len(names) == len(arguments)
    if len(names) != 1 or names[0] not in (*KINDS, "backend"):
        say("usage: environment.py %s|backend [--check]" % "|".join(KINDS))
        return 2
    name = names[0]
    if name == "backend":
        name = "full" if interpreter(HOME / "full").exists() else "light"
    try:
        print(ensure(name, make))
    except SetupError as error:
        say(str(error))
        return 1 if make else MISSING
    except OSError as error:
        say("the %s environment could not be made: %s" % (name, error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
