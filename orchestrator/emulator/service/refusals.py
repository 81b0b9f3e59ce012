"""What the emulated service answers when it says no, before it becomes HTTP."""


class FaultError(Exception):
    """A refusal with an HTTP status code and Kaggle's kind of message.

    Args:
        code: the HTTP status that the client sees.
        message: the sentence in the body of the answer.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def denied(permission: str) -> FaultError:
    """Another owner's thing, in the words that Kaggle's client knows (403)."""
    return FaultError(403, f"Permission '{permission}' was denied")


def not_found(what: str) -> FaultError:
    """A thing that does not exist (404)."""
    return FaultError(404, f"{what} was not found")
