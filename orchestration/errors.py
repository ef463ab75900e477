"""The one error a user can mend. Anything else that escapes is ours."""


class UserError(Exception):
    """Says what is wrong, where, and the mend, in one line. The CLI prints it and exits with 2."""
