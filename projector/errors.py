"""What stops the process, each with its exit code (CONVENTIONS: operator manners)."""

from __future__ import annotations


class ProjectorError(Exception):
    """A condition that ends the command; its text is one line: the thing, the cause, what to do."""

    exit_code = 1


class CheckFailed(ProjectorError):
    """A check ran and its answer is no."""

    exit_code = 1


class UsageError(ProjectorError):
    """The command was not understood."""

    exit_code = 2


class CannotConnect(ProjectorError):
    """A server could not be reached or refused us."""

    exit_code = 3


class SchemaMismatch(ProjectorError):
    """The database's schema is not what this version of the code works with."""

    exit_code = 4


class Corruption(ProjectorError):
    """Our own state breaks an invariant; going on would make it worse."""

    exit_code = 5


class HeldByAnother(ProjectorError):
    """Another process owns it."""

    exit_code = 6


class CheckpointMoved(Exception):
    """The compare-and-swap on a checkpoint found another value: somebody else applied the window.

    Not an end: the projector rolls back, reads the checkpoint again and goes on or lets go.
    """


class LoaderEnded(ProjectorError):
    """A process that helps a rebuild has failed or was killed; the rebuild can be gone on with."""

    exit_code = 1
