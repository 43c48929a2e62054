"""The command ``baton``: verbs only. Errors become exit codes here, and nothing else prints or exits."""

from adapter.cli.main import main

__all__ = ["main"]
