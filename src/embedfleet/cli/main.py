"""The command line: verbs are loaded when they are called, so that help and errors come at once."""

import importlib
import os
import sys

import click

from embedfleet import __version__
from embedfleet.cli.environment import keep_environment
from embedfleet.cli.output import die, fail
from embedfleet.errors import EmbedfleetError
from embedfleet.system.kernel_limits import raise_open_files

VERBS = {
    "up": "start the fleet and keep it running",
    "down": "drain and stop a running fleet",
    "status": "show services and replicas",
    "drain": "take a replica out of service without losing a request",
    "undrain": "put a drained replica back into service",
    "reload": "start the gateways anew without losing a request",
    "logs": "show what the processes of the fleet say",
    "doctor": "find what is in the way before anything is started",
    "config": "show the settings in force and where each came from",
    "service": "start the fleet at boot",
    "render": "write configuration files for those who run the parts themselves",
    "engine": "run one model server",
    "gateway": "run one balancer",
    "nginx": "run one nginx of this machine as a balancer",
    "tei": "run one model server with the flags of text-embeddings-router",
}

# One thread per caller is the engine's own doing. Libraries that would start one for every core that they see, whatever
# the quota is, are told not to: here, for they read it when they are imported.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

EXIT_CODES = """\b
Exit codes:
  0  done
  1  it failed while running, or the fleet is degraded (status)
  2  it cannot work as it was told to: flags, settings, model, port
  3  no fleet is running (status, drain, undrain, reload)
"""


class Verbs(click.Group):
    """Finds a verb's command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """The verb, loaded now."""
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"embedfleet.cli.verbs.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One line each, without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Text embeddings and reranking from every device of a machine, behind one address per service."""


def open_standard_streams() -> None:
    """Have stdin, stdout and stderr lead nowhere if they are closed: what is opened next would get their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)  # for as long as the process lives
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main() -> None:
    """Run the command line; every error is worded here and nowhere else."""
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
