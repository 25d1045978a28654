"""``python -m vssl``: the command."""

from ._command import main

main()
