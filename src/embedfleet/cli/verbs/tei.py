"""The verb ``embedfleet tei``, which runs one model server with the flags and variables of ``text-embeddings-router``.

It can replace TEI's program, so our image under TEI's name works as a TEI container. Names, defaults and variables are
those of TEI 1.9 (its README, section command line).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from embedfleet.cli.flags import PORT
from embedfleet.config.option import options_of
from embedfleet.config.settings import EngineOptions
from embedfleet.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_IGNORED = (
    *("revision", "dtype", "hf-token", "hf-api-token", "huggingface-hub-cache", "uds-path", "prometheus-port"),
    *("max-batch-requests", "otlp-endpoint", "otlp-service-name", "cors-allow-origin", "dense-path"),
)


def _flag(name: str, default: str | int | None, text: str, **more: Any) -> Callable[[Command], Command]:  # noqa: ANN401
    """Make a flag of TEI that can also be set by the environment variable of its name."""
    more.setdefault("show_default", default not in {None, ""})
    if default is not None:  # click takes a default of None for a value, and asks for none then
        more["default"] = default
    return click.option(f"--{name}", envvar=name.upper().replace("-", "_"), help=text, **more)


def _ignored(command: Command) -> Command:
    """Add flags of TEI that are accepted and ignored."""
    for name in reversed(_IGNORED):
        command = click.option(f"--{name}", hidden=True, envvar=name.upper().replace("-", "_"))(command)
    for name in ("json-output", "disable-spans"):
        command = click.option(f"--{name}", is_flag=True, hidden=True, envvar=name.upper().replace("-", "_"))(command)
    return command


@click.command("tei")
@_flag("model-id", None, "a model folder, a hub id, or builtin", required=True)
@_flag("tokenization-workers", 1, "tokenizer threads")
@_flag("pooling", "", "pooling of token states; empty reads the model's 1_Pooling")
@_flag("max-concurrent-requests", 512, "maximum inputs in progress; more get 429")
@_flag("max-batch-tokens", 16_384, "longest input, in tokens")
@_flag("max-client-batch-size", 32, "maximum inputs of one request")
@_flag("auto-truncate", "true", "truncate inputs that are too long", is_flag=False, flag_value="true")
@_flag("default-prompt-name", "", "name of one of the model's own prompts, which is put before every input")
@_flag("default-prompt", "", "text to put before every input")
@_flag("served-model-name", "", "model name that clients see")
@_flag("hostname", "0.0.0.0", "address to listen on")
@_flag("port", 3000, "port to listen on", type=PORT)
@_flag("payload-limit", 2_000_000, "largest request body, in bytes")
@_flag("api-key", "", "key that requests send as `Authorization: Bearer KEY`; health, metrics and docs need none")
@_ignored
def command(api_key: str, hostname: str, port: int, payload_limit: int, auto_truncate: str, **flags: Any) -> None:  # noqa: ANN401
    """Serve one model with the flags of text-embeddings-router until SIGTERM or Ctrl-C.

    Each flag can also be set by the environment variable of its name, such as API_KEY. TEI's other flags are accepted
    and ignored.
    """
    if auto_truncate.lower() not in {"true", "false"}:
        raise UsageError(f"--auto-truncate {auto_truncate} is neither true nor false", "give no value for true")
    # These imports are heavy, and other verbs do not need them.
    import uvloop  # noqa: PLC0415

    from embedfleet.cli.option_conversion import engine_settings  # noqa: PLC0415
    from embedfleet.engine.api.app import serve  # noqa: PLC0415
    from embedfleet.log import set_up  # noqa: PLC0415

    set_up("info", "json" if flags["json_output"] else "text")
    # A flag with the name of one of our options sets that option.
    given = {name: flags[name] for name in options_of(EngineOptions) if name in flags}
    given["model"] = flags["model_id"]
    given["pooling"] = flags["pooling"] or "auto"
    given["auto_truncate"] = auto_truncate.lower() == "true"
    options = EngineOptions(**given)
    # Docker sets HOSTNAME to the container's id, which is not an address; like TEI, we then listen on all addresses.
    host = hostname if hostname.replace(".", "").isdigit() or ":" in hostname else "0.0.0.0"
    settings = engine_settings(options, host=host, port=port, payload_limit_bytes=payload_limit, api_key=api_key)
    try:
        uvloop.run(serve(settings, ready=lambda _: None))
    except OSError as error:
        raise UsageError(f"cannot listen: {error.strerror or error}", "choose another --port") from error
