"""Processes that tests interrupt."""

import signal


def heed_interrupts() -> None:
    """Let a process that is being started (``preexec_fn``) heed SIGINT as at a terminal.

    What a shell starts with ``&`` ignores it, and so do its children: tests that run in the background would
    wait in vain for one that they interrupt.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
