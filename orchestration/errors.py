"""The one error a user can mend. Anything else that escapes is ours."""


class UserError(Exception):
    """Says what is wrong, where, and the mend, in one line. The CLI prints it and exits with 2."""


def has_no_room(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: each library says it in words of its own."""
    while error is not None:
        if any(words in str(error) for words in ("No space left on device", "disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False
