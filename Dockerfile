# The gateway, and the engine for machines without a GPU, in one image; nothing in it runs as root.
#
#   docker build -t embedfleet:latest .
#   docker save -o tei-images/embedfleet.tar embedfleet:latest      # for a machine without a network
#
# BASE is any image with a shell and Python 3.11 or newer with pip. Where there is no package index, first put the wheels
# of requirements.lock and requirements-compile.lock for the Python of BASE into wheels/ (docs/operating.md).
#
# One stage compiles the data path; its compiler does not get into the image. It runs on COMPILER, an image with the same
# Python as BASE and its headers. Where COMPILER has no C compiler, the stage installs one with apt-get.
# `--build-arg COMPILE=false` leaves the data path interpreted.
ARG BASE=python:3.12-slim
ARG COMPILER=${BASE}
FROM ${BASE} AS packages
COPY requirements.lock wheels*/*.whl /wheels/
RUN set -- /wheels/*.whl; \
    if [ -e "$1" ]; then set -- --no-index --find-links /wheels; else set --; fi; \
    python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes "$@" \
        --target /packages -r /wheels/requirements.lock

FROM ${COMPILER} AS compiled
ARG COMPILE=true
ARG COMPILE_LEVEL=3
COPY --from=packages /packages /packages
COPY requirements-compile.lock wheels*/*.whl /wheels/
COPY scripts/__init__.py scripts/compile.py /build/scripts/
COPY src /build/src
WORKDIR /build
RUN if [ "$COMPILE" = false ]; then mv src /compiled; exit; fi; \
    set -e; \
    refuse() { echo "error: $1; hint: $2, or build an interpreted image: --build-arg COMPILE=false" >&2; exit 1; }; \
    command -v cc > /dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev; } || \
        refuse "there is no C compiler, and none could be installed" "name a COMPILER image that has one"; \
    set -- /wheels/*.whl; \
    if [ -e "$1" ]; then set -- --no-index --find-links /wheels; else set --; fi; \
    python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes "$@" \
        --target /compiler -r /wheels/requirements-compile.lock || \
        refuse "the packages of requirements-compile.lock could not be installed" "put their wheels into wheels/"; \
    PYTHONPATH="/compiler:/packages:$PYTHONPATH" python3 -m scripts.compile /compiled \
        --level "$COMPILE_LEVEL" --jobs "$(nproc)" || \
        refuse "the data path could not be compiled" "see above"

FROM ${BASE}
ARG COMPILE=true
COPY --from=packages /packages /opt/embedfleet/packages
COPY LICENSE NOTICE /opt/embedfleet/
COPY --from=compiled /compiled /opt/embedfleet/src
ENV PYTHONPATH=/opt/embedfleet/src:/opt/embedfleet/packages HOME=/tmp
# A module that was compiled for another Python would be passed over in silence.
RUN python3 -m compileall -q /opt/embedfleet/src; \
    [ "$COMPILE" = false ] || python3 -P -c "import embedfleet.metrics as it; raise SystemExit(it.__file__[-3:] == '.py')" || \
    { echo "error: the modules were compiled for another Python; hint: COMPILER needs the Python of BASE" >&2; exit 1; }
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["python3", "-P", "-m", "embedfleet"]
CMD ["--help"]
