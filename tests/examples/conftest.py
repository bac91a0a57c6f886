"""What the tests of all examples need."""

import signal

import pytest


@pytest.fixture(autouse=True)
def handler_of_interruptions():
    """Puts back what Ctrl-C does: an interrupted example, which is about to end, does not."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
