"""The command ``vssl``."""

import signal
import sys

from . import _vssl


def main() -> None:
    """Runs the command of ``sys.argv`` and ends the process with its exit code."""
    # The command attends to signals itself; Python's handler would raise a second time.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    code = _vssl.command(["vssl", *sys.argv[1:]], [sys.executable, "-m", "vssl"])
    sys.exit(code)
