#!/bin/sh
# ./run.sh [GPU_TYPE] [flags of `embedfleet up`]: installs into .venv once, then serves embeddings on :8001 and
# reranking on :8002. A second run starts at once and needs no network.
set -eu
cd "$(dirname "$0")"

venv=.venv

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $1"
    say ""
    say "hint: $2"
    exit 2
}

# The interpreter that PYTHON names, else the first here that is new enough.
find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.14 python3.13 python3.12 python3.11; fi
    for python in "$@"; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    die "${PYTHON:-python3} is missing or older than 3.11" \
        "on Debian or Ubuntu: apt-get install python3 python3-venv; or set PYTHON to a newer interpreter"
}

install_lock() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$1" ||
        die "the packages of $1 could not be installed" "is there a network, or a package index?"
}

# Whether replicas may be containers: a GPU type, a GPU, or a word of it in the settings.
wants_containers() {
    case "${1:-}" in "" | -* | [cC][pP][uU]) ;; *) return 0 ;; esac
    case "$*" in *docker* | *container* | *--gpu*) return 0 ;; esac
    [ -n "${EMBEDFLEET_GPU:-}${DOCKER_HOST:-}" ] || [ -e /proc/driver/nvidia/gpus ] ||
        grep -qs -e docker -e container -e gpu fleet.toml
}

install() {
    find_python
    if [ -e "$venv" ] && [ ! -e "$venv/made-by-run.sh" ]; then
        die "$venv is there and was not made by run.sh" "move it away"
    fi
    say "installing into $venv (once, about half a minute)"
    # The mark is there first and stays: what was left half done, made or removed, is ours as well.
    mkdir -p "$venv"
    : > "$venv/made-by-run.sh"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name made-by-run.sh -exec rm -rf {} +
    "$python" -m venv "$venv" >&2 ||
        die "$python cannot make a virtual environment" "on Debian or Ubuntu: apt-get install python3-venv"
    # The lock is complete and every file's hash is checked; nothing is resolved and nothing is built.
    install_lock requirements.lock
    # The project itself is run from its folder.
    "$venv/bin/python" -c '
import pathlib, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
# The first of these that is there; see scripts/compile.
paths = [str(pathlib.Path(name).resolve()) for name in (".compiled", "src")]
(site / "embedfleet-source.pth").write_text("\n".join(paths) + "\n")
'
    # Not with the interpreter in its first line: a path there may be neither long nor have blanks.
    printf '#!/bin/sh\nexec "%s" -P -m embedfleet "$@"\n' "$PWD/$venv/bin/python" > "$venv/bin/embedfleet"
    chmod +x "$venv/bin/embedfleet"
    printf '%s' "$1" > "$venv/stamp"
}

# The stamp is written last: an installation that was interrupted, or is of another lock, is made anew.
wanted="$(cksum < requirements.lock) $PWD"
[ "$(cat "$venv/stamp" 2>/dev/null)" = "$wanted" ] || install "$wanted"

# What scripts/compile made is of another source: that one is run.
if [ -e .compiled ] && [ "$(cat .compiled/stamp 2>/dev/null)" != "$(scripts/sources)" ]; then
    rm -rf .compiled
    say "the source has changed since scripts/compile: it runs interpreted until that is run again"
fi

# What drives containers is little, and left out where there are none.
if [ -e requirements-docker.lock ] && wants_containers "$@"; then
    wanted="$(cksum < requirements-docker.lock)"
    if [ "$(cat "$venv/stamp-docker" 2>/dev/null)" != "$wanted" ]; then
        say "installing what drives containers into $venv (once)"
        install_lock requirements-docker.lock
        printf '%s' "$wanted" > "$venv/stamp-docker"
    fi
fi

case "${1:-}" in
    "" | -*) ;;
    *)
        gpu="$1"
        shift
        set -- --gpu "$gpu" "$@"
        ;;
esac
exec "$venv/bin/python" -P -m embedfleet up "$@"
