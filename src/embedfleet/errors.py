"""Every error that embedfleet raises, as one tree.

::

    EmbedfleetError
    ├── Advice                   has a message and a hint for the user of the command line; exit code 1
    │   ├── UsageError           the user's mistake; exit code 2
    │   │   ├── SettingsError    all faults of the settings in one message
    │   │   └── ModelError       a model folder that cannot be served; names the file
    │   │       └── NoRoom       the machine has too little memory for the model
    │   ├── ModelChanged         a model's files changed while they were read; a retry may succeed
    │   └── FleetError           the fleet could not be started, reached or stopped
    │       ├── FleetSilent      the fleet runs and does not answer
    │       └── DockerError      the Docker daemon cannot be reached, or refused a call
    ├── RequestError             a client's mistake, answered as text/plain in axum's words, as TEI does
    │   ├── WrongHeader          400  a header has an invalid value
    │   ├── MalformedRequest     400  the request is not HTTP
    │   ├── MalformedBody        400  the body is not JSON
    │   ├── WrongShape           422  the JSON does not fit the route
    │   ├── WrongContentType     415
    │   ├── BodyTooLarge         413
    │   ├── TargetTooLong        414
    │   ├── HeadersTooLarge      431
    │   ├── UnsupportedRequest   501  a feature of HTTP that the server lacks
    │   ├── UnsupportedVersion   505
    │   └── RequestTimeout       408
    ├── ServingError             answered in TEI's JSON shape, with its error_type
    │   ├── Empty                400
    │   │   └── EmptyInput       400  one input of several is empty
    │   ├── Validation           422
    │   │   ├── BatchTooLarge    422  too many inputs for one request
    │   │   └── WrongInput       422  an invalid text, ids or name of a prompt
    │   ├── Tokenizer            422
    │   ├── Backend              424
    │   │   ├── WrongModel       424  the model is not of the kind that the route needs
    │   │   ├── OutOfMemory      424  a batch did not fit; a smaller one may
    │   │   └── WeightsChanged   424  a process wrote to our mapped weights; the engine ends
    │   ├── Overloaded           429
    │   ├── QueryOfDeath         424
    │   ├── Internal             500
    │   ├── BadGateway           502
    │   │   └── Unanswerable     502
    │   ├── Unhealthy            503
    │   ├── Saturated            503
    │   └── DeadlineExceeded     504
    └── UpstreamError            a replica did not answer; a retry elsewhere is safe, because every call is idempotent
        ├── Refused              nothing listens at its address
        ├── Reset                the connection ended before the answer did
        ├── Malformed            the answer is not HTTP, or does not fit the request
        ├── TimedOut             no answer in time
        └── Starved              this process lacked files, memory or ports; the replica is not to blame

Statuses, names and wording of RequestError and ServingError follow TEI 1.9 (router/src/http/server.rs
and axum 0.7's JSON extractor).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

_PLACES = 16  # maximum number of texts that a message names


class EmbedfleetError(Exception):
    """The base of all errors that embedfleet raises."""


class Advice(EmbedfleetError):
    """An error for the user of the command line, with a hint.

    Args:
        message: Description of what is wrong, with the value, in lower case and without a full stop.
        hint: What to do next; empty if the message is enough.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(Advice):
    """A mistake that the user of the command line can correct."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the settings.

    Attributes:
        key: Dotted key of the setting, or another name of its source.
        message: Description of the fault, with the value.
        hint: What to do next; empty if the message is enough.
    """

    key: str
    message: str
    hint: str = ""


class SettingsError(UsageError):
    """The faults of the settings, all in one message."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [f"{f.key}: {f.message}" + (f" ({f.hint})" if f.hint else "") for f in self.faults]
        count = len(lines)
        super().__init__(f"{count} fault{'s' if count != 1 else ''} in the settings\n  " + "\n  ".join(lines))


class ModelError(UsageError):
    """A model that cannot be loaded; the message names the file."""


class NoRoom(ModelError):
    """The machine has too little memory for a model."""


class ModelChanged(Advice):
    """A model's file changed while it was read, so that its data may come from two models.

    Args:
        file: The file that changed.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} was changed while the model was loaded",
            "start again when nothing writes to the folder; the safe way to replace a model is to rename its folder",
        )


class FleetError(Advice):
    """The fleet could not be started, reached or stopped."""


class FleetSilent(FleetError):
    """A fleet runs, but does not answer.

    Args:
        message: Description of the problem.
        hint: What to do next.
        pid: Process id of the fleet; 0 if unknown.
        is_starting: Whether the fleet is still starting, and will answer later.
    """

    def __init__(self, message: str, hint: str = "", *, pid: int = 0, is_starting: bool = False) -> None:
        super().__init__(message, hint)
        self.pid = pid
        self.is_starting = is_starting


class DockerError(FleetError):
    """The Docker daemon cannot be reached, or refused a call."""


class RequestError(EmbedfleetError):
    """An invalid request that the HTTP layer refuses with text/plain."""

    status: ClassVar[int] = 400


class WrongHeader(RequestError):
    """A header has an invalid value."""

    status = 400


class MalformedRequest(RequestError):
    """The data is not an HTTP request."""

    status = 400


class MalformedBody(RequestError):
    """The body is not JSON."""

    status = 400


class WrongShape(RequestError):
    """The body is JSON that does not fit the route."""

    status = 422


class WrongContentType(RequestError):
    """The content type of the body is not JSON."""

    status = 415


class BodyTooLarge(RequestError):
    """The body is over the payload limit."""

    status = 413


class TargetTooLong(RequestError):
    """The request line alone exceeds the limit of a head."""

    status = 414


class HeadersTooLarge(RequestError):
    """Request line and headers together exceed the limit."""

    status = 431


class UnsupportedRequest(RequestError):
    """The request uses a method or a transfer coding that the server does not support."""

    status = 501


class UnsupportedVersion(RequestError):
    """The request uses a version of HTTP that the server does not support."""

    status = 505


class RequestTimeout(RequestError):
    """The request did not arrive in time."""

    status = 408


class ServingError(EmbedfleetError):
    """An error that a model server reports in TEI's JSON shape."""

    status: ClassVar[int] = 424
    error_type: ClassVar[str] = "Backend"


class Empty(ServingError):
    """The request has no input."""

    status, error_type = 400, "Empty"


class EmptyInput(Empty):
    """An input has no content that the model can read."""


class Validation(ServingError):
    """An input or a parameter is outside the bounds of the model or the server."""

    status, error_type = 422, "Validation"


class BatchTooLarge(Validation):
    """The request has more inputs than the server allows."""


class WrongInput(Validation):
    """An input is too long or has ids outside the vocabulary, or the name of a prompt is unknown."""


class Tokenizer(ServingError):
    """The tokenizer refused the text."""

    status, error_type = 422, "Tokenizer"


class Backend(ServingError):
    """The model could not compute the input."""

    status, error_type = 424, "Backend"


class WrongModel(Backend):
    """The model is not of the kind that the route needs."""


class OutOfMemory(Backend):
    """A forward pass did not fit into memory; one with fewer inputs may."""


class WeightsChanged(Backend):
    """A process wrote to weights that the engine has mapped, so that no further result can be trusted.

    Args:
        file: The file of the weights.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} was written to while it was mapped: the engine cannot trust it any more and ends;"
            " the next start makes the file again"
        )


class Overloaded(ServingError):
    """The server is overloaded; the reply carries Retry-After in whole seconds."""

    status, error_type = 429, "Overloaded"

    def __init__(self, message: str = "Model is overloaded", retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueryOfDeath(ServingError):
    """Replicas died or hung on this request, so no other replica gets it.

    Args:
        places: Indices of the texts at fault; empty if unknown.
    """

    status, error_type = 424, "Backend"

    def __init__(self, places: Sequence[int] = ()) -> None:
        named = ", ".join(map(str, places[:_PLACES])) + (" …" if len(places) > _PLACES else "")
        what = f"texts {named} of this request" if places else "this request"
        super().__init__(
            f"two replicas died, or hung, when they computed {what}, so it is refused: do not send it again; "
            "the replicas' logs say what ended them"
        )


class Internal(ServingError):
    """A bug in embedfleet; the log has its traceback."""

    status, error_type = 500, "Backend"


class BadGateway(ServingError):
    """None of the replicas that were tried gave a usable answer."""

    status, error_type = 502, "Backend"


class Unanswerable(BadGateway):
    """Several healthy replicas gave this request no usable answer, so no other replica gets it.

    Args:
        wait_s: Time for which the request is refused, in seconds.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            "several replicas that answer other requests gave this one no usable answer, so it is "
            f"refused for {wait_s:.0f} s; the gateway's log says what they answered"
        )


class Unhealthy(ServingError):
    """No replica serves, or the request cannot be sent again; the reply carries Retry-After in whole seconds."""

    status, error_type = 503, "Unhealthy"

    def __init__(self, message: str = "unhealthy", retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Saturated(ServingError):
    """The online queue is full; the reply carries Retry-After in whole seconds."""

    status, error_type = 503, "Overloaded"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("all replicas are busy and the queue is full")
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServingError):
    """The request's deadline passed before its answer."""

    status, error_type = 504, "Overloaded"


class UpstreamError(EmbedfleetError):
    """A replica did not answer."""


class Refused(UpstreamError):
    """Nothing accepts connections at the replica's address; the request was not sent."""


class Reset(UpstreamError):
    """The connection ended before the answer was complete."""


class Malformed(UpstreamError):
    """The replica's answer is not HTTP, or does not fit the request."""


class TimedOut(UpstreamError):
    """No answer in the time allowed."""


class Starved(UpstreamError):
    """This process lacks open files, memory or ports for a connection; the replica was not asked."""
