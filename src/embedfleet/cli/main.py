"""Entry point of the command line. Each verb's module is imported on demand, so that help and errors are fast."""

import importlib
import os
import sys

import click
from typing_extensions import override

from embedfleet import __version__
from embedfleet.cli.environment import keep_environment
from embedfleet.cli.output import die, fail
from embedfleet.errors import EmbedfleetError
from embedfleet.system.kernel_limits import raise_open_files

VERBS = {
    "up": "start the fleet and keep it running",
    "down": "drain and stop a running fleet",
    "status": "show the services and replicas of the running fleet",
    "drain": "take a replica out of service without losing a request",
    "undrain": "put a drained replica back into service",
    "reload": "restart the gateways without losing a request",
    "logs": "show the logs of the fleet's processes and containers",
    "doctor": "check the machine and the settings before anything is started",
    "config": "show the settings in force and the source of each",
    "service": "start the fleet at boot with systemd",
    "render": "write configuration files for an nginx that you run yourself",
    "engine": "run one model server in the foreground",
    "gateway": "run one gateway in the foreground",
    "nginx": "run the nginx of one service in the foreground",
    "tei": "run one model server with the flags of text-embeddings-router",
}

# The engine itself runs one thread per caller. Without these variables, libraries would start a thread for every core
# of the machine, whatever the CPU quota is. They read the variables when they are imported.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

EXIT_CODES = """\b
Exit codes:
  0  done
  1  failure while running, or the fleet is degraded (status)
  2  invalid configuration: flags, settings, model, port
  3  no fleet is running (status, drain, undrain, reload)
"""


class Verbs(click.Group):
    """The group of all verbs; each is imported on demand from the module that has its name."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    @override
    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"embedfleet.cli.verbs.{name}").command
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Serve text embeddings and reranking from every device of a machine, at one address per service."""


def open_standard_streams() -> None:
    """Open closed standard streams on /dev/null; otherwise the next files or sockets would get their descriptors."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open(2) takes the lowest free descriptor
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)  # open until the process ends
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main() -> None:
    """Run the command line, and print every error in one form: message, hint, exit code."""
    open_standard_streams()
    keep_environment()
    raise_open_files()
    os.environ.update(ONE_THREAD)
    try:
        code = cli.main(prog_name="embedfleet", standalone_mode=False)
    except EmbedfleetError as error:
        die(error)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "embedfleet"
        fail(error.format_message(), f"see `{path} --help`", 2)
    except click.Abort:
        fail("interrupted", "", 1)
    else:
        raise SystemExit(code or 0)
