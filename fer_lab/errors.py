"""The one exception that users are meant to read."""


class FerLabError(ValueError):
    """Bad input or an unsupported combination: one sentence that says what is wrong, where, and what to do."""
