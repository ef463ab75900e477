"""Where long work says how far it is. One listener a process: the command line; without one, silence."""

from collections.abc import Callable

Listener = Callable[[str], None]

_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    global _listener
    _listener = listener


def tell(text: str) -> None:
    if _listener is not None:
        _listener(text)
