"""`python -m backend serve`, and the command line for everything else."""

from __future__ import annotations

import sys
from typing import NoReturn


def main(arguments: list[str]) -> NoReturn:
    """Serve over stdin and stdout, or run a command and exit with its code."""
    if arguments == ["serve"]:
        from backend import service

        service.main()
    from backend import command_line

    sys.exit(command_line.main(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
