"""Why a test has no Chancery."""


class ChanceryError(Exception):
    """Why a test has no Chancery, or cannot use it. The text says what to do."""


class BinaryNotFound(ChanceryError):
    """The binary `chancery` is not there."""


class DidNotStart(ChanceryError):
    """The service ended, or did not come up in time. The text holds what it said."""


class CommandFailed(ChanceryError):
    """A command of `chancery` failed. The text holds what it said."""
