"""The command line: the same jobs as in QGIS, progress on stderr, one JSON object on stdout where asked for."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from backend.command_line.arguments import TASKS, Arguments, parse
from backend.command_line.report import lines
from backend.command_line.screen import Screen
from backend.protocol.errors import Cancelled, EarthPrismError, InternalError, PackageError
from backend.protocol.jobs import AssessJob, DesignJob, ExportJob, InstallJob, LearnJob, RemoveJob
from backend.tasks.context import Context
from backend.tasks.log import open_log

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: as in `sys.argv[1:]`.

    Returns:
        exit code: 0 done, 2 wrong input, 3 cancelled, 1 our fault.
    """
    log_file = None
    wants_json = "--json" in arguments
    try:
        asked = parse(arguments)
        log_file = open_log("command")
        result = _perform(asked, _cancellable_context(asked.command))
        _answer(result, asked.command, wants_json)
        return PackageError.exit_code if asked.command == "models verify" and not result["ok"] else 0
    except SystemExit as end:  # argparse: help was asked for, or the arguments are wrong
        return int(end.code or 0)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EarthPrismError as error:
        return _failed(error, wants_json)
    except Exception:
        log.exception("unexpected error")
        where = f"the log {log_file} has the details" if log_file else ""
        return _failed(
            InternalError("something went wrong inside EarthPrism", where, "please report it with that log"), wants_json
        )


def _perform(asked: Arguments, context: Context) -> Any:
    """Hand the request to its task; tasks are imported when they are needed, so that help and errors come at once."""
    request = asked.request
    handler: Callable[[Any, Context], Any]
    if asked.command in TASKS:
        from backend.tasks import scene

        scene.check(request)  # a wrong job does not wait for a device to become free
        handler = scene.run
    elif isinstance(request, LearnJob):
        from backend.tasks import learn

        learn.check(request)
        handler = learn.run
    elif isinstance(request, (AssessJob, DesignJob)):
        from backend.tasks import assess

        handler = assess.assess if isinstance(request, AssessJob) else assess.design
    elif isinstance(request, ExportJob):
        from backend.tasks import export

        handler = export.run
    elif isinstance(request, InstallJob):
        from backend.tasks import models

        handler = models.install
    else:
        return _query(asked)
    from backend.tasks import machine

    with machine.reserved(machine.device_of(request), context):
        return handler(request, context)


def _query(asked: Arguments) -> Any:
    from backend.tasks import inspect, models, plan

    request = asked.request
    match asked.command:
        case "inspect":
            found = [inspect.inspect(spec.paths, spec) for spec in request]
            return found[0] if len(found) == 1 else {"rasters": found}
        case "plan":
            return plan.plan(request)
        case "models list":
            return {"models": models.list_models()}
        case "models describe":
            return models.describe(request)
        case "models verify":
            return models.verify(request)
        case "models remove":
            return models.remove(RemoveJob(request))
    raise InternalError(f'the command "{asked.command}" has no task')


def _answer(result: Any, command: str, wants_json: bool) -> None:
    if wants_json:
        json.dump(result, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(lines(command, result)) + "\n")
    sys.stdout.flush()


def _failed(error: EarthPrismError, wants_json: bool) -> int:
    sys.stderr.write(f"earthprism: {error.sentence()}\n")
    if wants_json:
        json.dump({"error": error.to_dict()}, sys.stdout)
        sys.stdout.write("\n")
    if isinstance(error, Cancelled):
        log.info("cancelled")
    return error.exit_code


def _cancellable_context(command: str) -> Context:
    """A context that Ctrl-C and a polite kill cancel; the second Ctrl-C ends the process at once."""
    context = Context(Screen())

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        context.cancel()

    if command in (*TASKS, "learn", "assess", "export", "models install"):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return context
