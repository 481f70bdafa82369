"""``python -m embedfleet`` and the ``embedfleet`` command."""

from embedfleet.cli.main import main

if __name__ == "__main__":
    main()
