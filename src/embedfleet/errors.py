"""Every error that embedfleet raises, as one tree.

::

    EmbedfleetError
    ├── UsageError               the person at the command line; exit code 2
    │   ├── SettingsError        all faults of the settings in one message
    │   └── ModelError           a model folder that cannot be served, with the file named
    │       └── NoRoom           memory cannot suffice for it
    ├── ModelChanged             a model's files changed while they were read; exit code 1, for it may work next time
    ├── FleetError               the fleet could not do what was asked; exit code 1
    │   ├── FleetSilent          it runs and cannot be asked now
    │   └── DockerError          the Docker daemon cannot be reached, or refused something
    ├── RequestError             the client's fault, answered as text/plain, as axum words it for TEI
    │   ├── WrongHeader          400  a field that says something it cannot say
    │   ├── MalformedRequest     400  it is not HTTP
    │   ├── MalformedBody        400  the body is not JSON
    │   ├── WrongShape           422  JSON, but not of the route's shape
    │   ├── WrongContentType     415
    │   ├── BodyTooLarge         413
    │   ├── TargetTooLong        414
    │   ├── HeadersTooLarge      431
    │   ├── UnsupportedRequest   501  what HTTP has and no part of this server does
    │   ├── UnsupportedVersion   505
    │   └── RequestTimeout       408
    ├── ServingError             answered in TEI's JSON shape, with its error_type
    │   ├── Empty                400
    │   │   └── EmptyInput       400  one of the inputs
    │   ├── Validation           422
    │   │   ├── BatchTooLarge    422  more inputs than one request may have
    │   │   └── WrongInput       422  a text, ids or a prompt's name
    │   ├── Tokenizer            422
    │   ├── Backend              424
    │   │   ├── WrongModel       424  for what the route does
    │   │   ├── OutOfMemory      424  fewer inputs at once may be computed
    │   │   └── WeightsChanged   424  somebody wrote to weights of ours that are mapped; the engine ends with it
    │   ├── Overloaded           429
    │   ├── QueryOfDeath         424
    │   ├── BadGateway           502
    │   ├── Unhealthy            503
    │   ├── Saturated            503
    │   └── DeadlineExceeded     504
    └── UpstreamError            a replica did not answer; always safe to try another, every call is idempotent
        ├── Refused              nothing listens there
        ├── Reset                the connection ended before the answer did
        ├── Malformed            what came is not HTTP, or not what was asked for
        ├── TimedOut             no answer in time
        └── Starved              we could not ask, for want of files, memory or ports; says nothing of the replica

Statuses, names and wording of RequestError and ServingError follow TEI 1.9 (router/src/http/server.rs
and axum 0.7's JSON extractor).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

_PLACES = 16  # that a message names at most


class EmbedfleetError(Exception):
    """The root of the tree: catch it to catch all of ours and nothing else."""


class UsageError(EmbedfleetError):
    """Something the caller of the command line can mend.

    Args:
        message: what is wrong, with the value, in lower case and without a full stop.
        hint: what to do next; empty where the message says it all.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the settings."""

    key: str
    message: str
    hint: str = ""


class SettingsError(UsageError):
    """All faults of the settings, found in one reading."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [f"{f.key}: {f.message}" + (f" ({f.hint})" if f.hint else "") for f in self.faults]
        count = len(lines)
        super().__init__(f"{count} fault{'s' if count != 1 else ''} in the settings\n  " + "\n  ".join(lines))


class ModelError(UsageError):
    """A model that cannot be loaded; the message names the file."""


class NoRoom(ModelError):
    """A model that memory cannot suffice for."""


class ModelChanged(EmbedfleetError):
    """A model's file was not the same before it was read and after; what was read may be of two models.

    Args:
        file: that changed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} was changed while the model was loaded")
        self.message = str(self)
        self.hint = (
            "start again when nobody writes to the folder; a model is best put in place by a rename of its folder"
        )


class FleetError(EmbedfleetError):
    """The fleet could not be started, reached or stopped."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FleetSilent(FleetError):
    """A fleet runs and cannot be asked now.

    Args:
        message: why.
        hint: what to do next.
        pid: of the fleet; 0 if that is not known.
        is_starting: whether it cannot be asked yet.
    """

    def __init__(self, message: str, hint: str = "", *, pid: int = 0, is_starting: bool = False) -> None:
        super().__init__(message, hint)
        self.pid = pid
        self.is_starting = is_starting


class DockerError(FleetError):
    """The Docker daemon cannot be reached, or refused something."""


class RequestError(EmbedfleetError):
    """A request that no model needs to see; answered as text/plain."""

    status: ClassVar[int] = 400


class WrongHeader(RequestError):
    """A field of the request says something that it cannot say."""

    status = 400


class MalformedRequest(RequestError):
    """What came is not an HTTP request."""

    status = 400


class MalformedBody(RequestError):
    """The body is not JSON."""

    status = 400


class WrongShape(RequestError):
    """The body is JSON, but not what the route takes."""

    status = 422


class WrongContentType(RequestError):
    """The body is not said to be JSON."""

    status = 415


class BodyTooLarge(RequestError):
    """The body is over the payload limit."""

    status = 413


class TargetTooLong(RequestError):
    """The request line alone is over the limit of a head."""

    status = 414


class HeadersTooLarge(RequestError):
    """Request line and headers together are over the limit."""

    status = 431


class UnsupportedRequest(RequestError):
    """A method or a coding of HTTP that no part of this server does."""

    status = 501


class UnsupportedVersion(RequestError):
    """The request is of a version of HTTP that is not spoken here."""

    status = 505


class RequestTimeout(RequestError):
    """The request did not arrive in time."""

    status = 408


class ServingError(EmbedfleetError):
    """An error that a model server reports in TEI's JSON shape."""

    status: ClassVar[int] = 424
    error_type: ClassVar[str] = "Backend"


class Empty(ServingError):
    """There is nothing to work on."""

    status, error_type = 400, "Empty"


class EmptyInput(Empty):
    """One of the inputs has nothing in it that the model could read."""


class Validation(ServingError):
    """An input or a parameter is out of the model's or the server's bounds."""

    status, error_type = 422, "Validation"


class BatchTooLarge(Validation):
    """The request has more inputs than the server takes in one."""


class WrongInput(Validation):
    """An input is too long or has ids that the vocabulary lacks, or a prompt's name is not known."""


class Tokenizer(ServingError):
    """The tokenizer refused the text."""

    status, error_type = 422, "Tokenizer"


class Backend(ServingError):
    """The model could not compute it."""

    status, error_type = 424, "Backend"


class WrongModel(Backend):
    """The model is not of the kind that the route needs."""


class OutOfMemory(Backend):
    """A forward pass did not fit into memory; fewer inputs at once may."""


class WeightsChanged(Backend):
    """Weights of ours that are mapped were written to, so that nothing more may be computed with them.

    Args:
        file: that was.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} was written to while it was mapped: nothing is computed with it any more, and this engine ends;"
            " at its next start it makes the file anew"
        )


class Overloaded(ServingError):
    """No room now; the reply carries Retry-After in whole seconds."""

    status, error_type = 429, "Overloaded"

    def __init__(self, message: str = "Model is overloaded", retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueryOfDeath(ServingError):
    """Replicas died of this request, so that no other is asked.

    Args:
        places: of the texts that did it in the request, as far as that is known.
    """

    status, error_type = 424, "Backend"

    def __init__(self, places: Sequence[int] = ()) -> None:
        named = ", ".join(map(str, places[:_PLACES])) + (" …" if len(places) > _PLACES else "")
        what = f"texts {named} of this request" if places else "this request"
        super().__init__(
            f"two replicas died, or hung, when they computed {what}, so it is refused: do not send it again, "
            "the replicas' logs say what ended them"
        )


class Internal(ServingError):
    """A fault of our own code; it is in the log."""

    status, error_type = 500, "Backend"


class BadGateway(ServingError):
    """No replica that was tried gave an answer that can be used."""

    status, error_type = 502, "Backend"


class Unanswerable(BadGateway):
    """Replicas that live gave this request no answer that can be used, one after the other, so that no other is asked.

    Args:
        wait_s: for which it is refused.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            "replicas that answer others gave this request nothing that can be used, one after the other, so it is "
            f"refused for {wait_s:.0f} s: the gateway's log says what they answered"
        )


class Unhealthy(ServingError):
    """No replica can serve now; the reply carries Retry-After in whole seconds."""

    status, error_type = 503, "Unhealthy"

    def __init__(self, message: str = "unhealthy", retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Saturated(ServingError):
    """The fleet is too small for the online work; the reply carries Retry-After in whole seconds."""

    status, error_type = 503, "Overloaded"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("all replicas are busy and the queue is full")
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServingError):
    """The request's own deadline passed before it was answered."""

    status, error_type = 504, "Overloaded"


class UpstreamError(EmbedfleetError):
    """A replica did not answer."""


class Refused(UpstreamError):
    """Nothing accepts connections at the replica's address; the request was not sent."""


class Reset(UpstreamError):
    """The connection ended before the answer was complete."""


class Malformed(UpstreamError):
    """The replica's answer is not HTTP, or not of the shape that was asked for."""


class TimedOut(UpstreamError):
    """No answer in the time allowed."""


class Starved(UpstreamError):
    """No connection could be made for want of files, memory or ports of our own; the replica was not asked."""
