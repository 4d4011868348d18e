"""The one exception that users are meant to read."""


class FerLabError(ValueError):
    """Bad input or an unsupported combination: one sentence that says what is wrong, where, and what to do."""


class LeftOut(FerLabError):
    """A face that the config asks to leave out: counted under its reason, and never a cause to stop.

    Args:
        reason: one word that goes before "faces", for example undetected; sentence: which face, and why.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
