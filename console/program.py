"""The program ``gmm-theory``: every command by its name; what it needs is loaded once that is known."""

from __future__ import annotations

from console.starting import answer_stops


def main() -> int:
    """Run the program by ``sys.argv``; its exit code."""
    answer_stops()
    from console.errors import run_command
    from console.subcommands import app

    return run_command(app)
