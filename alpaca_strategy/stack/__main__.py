"""Run one verb of the stack: `python -m alpaca_strategy.stack up|down|status`."""

from __future__ import annotations

import argparse
import sys

from alpaca_strategy.errors import AlpacaStrategyError
from alpaca_strategy.stack.down import down
from alpaca_strategy.stack.status import status
from alpaca_strategy.stack.up import up


def main() -> int:
    """Return the exit status of the verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("up", "down", "status"))
    parser.add_argument("--no-backfill", action="store_true", help="up: fetch nothing")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "up":
            up(backfill=not arguments.no_backfill)
        else:
            {"down": down, "status": status}[arguments.verb]()
    except AlpacaStrategyError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
