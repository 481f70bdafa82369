#!/bin/sh
# ./run.sh [GPU_TYPE] [flags of `embedfleet up`]: installs into .venv once, then serves embeddings on :8001 and
# reranking on :8002. A second run starts at once and needs no network.
set -eu
cd "$(dirname "$0")"

venv=.venv
python="${PYTHON:-python3}"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $1"
    say ""
    say "hint: $2"
    exit 2
}

install() {
    command -v "$python" >/dev/null 2>&1 ||
        die "$python is not there" "on Debian or Ubuntu: apt-get install python3 python3-venv; or set PYTHON"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$("$python" -V) is too old, 3.11 or newer is needed" "set PYTHON to a newer interpreter"
    if [ -e "$venv" ] && [ ! -e "$venv/made-by-run.sh" ]; then
        die "$venv is there and was not made by run.sh" "move it away"
    fi
    say "installing into $venv (once, about half a minute)"
    rm -rf "$venv"
    "$python" -m venv "$venv" ||
        die "$python cannot make a virtual environment" "on Debian or Ubuntu: apt-get install python3-venv"
    : > "$venv/made-by-run.sh"
    # The lock is complete and every file's hash is checked; nothing is resolved and nothing is built.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r requirements.lock ||
        die "the packages of requirements.lock could not be installed" "is there a network, or a package index?"
    # The project itself is run from its folder.
    "$venv/bin/python" -c '
import pathlib, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
(site / "embedfleet-source.pth").write_text(str(pathlib.Path("src").resolve()) + "\n")
'
    printf '#!%s\nfrom embedfleet.cli.main import main\n\nmain()\n' "$PWD/$venv/bin/python" > "$venv/bin/embedfleet"
    chmod +x "$venv/bin/embedfleet"
    printf '%s' "$1" > "$venv/stamp"
}

# The stamp is written last: an installation that was interrupted, or is of another lock, is made anew.
wanted="$(cksum < requirements.lock) $PWD"
[ "$(cat "$venv/stamp" 2>/dev/null)" = "$wanted" ] || install "$wanted"

case "${1:-}" in
    "" | -*) ;;
    *)
        gpu="$1"
        shift
        set -- --gpu "$gpu" "$@"
        ;;
esac
exec "$venv/bin/python" -m embedfleet up "$@"
