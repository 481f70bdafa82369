# The gateway, and the engine for machines without a GPU, in one image; nothing in it runs as root.
#
#   docker build -t embedfleet:latest .
#   docker save -o tei-images/embedfleet.tar embedfleet:latest      # for a machine without a network
#
# BASE is any image with a shell and Python 3.11 or newer with pip. Where there is no package index, first put the wheels
# of requirements.lock for the Python of BASE into wheels/ (docs/operating.md).
ARG BASE=python:3.12-slim
FROM ${BASE} AS packages
COPY requirements.lock wheels*/*.whl /wheels/
RUN set -- /wheels/*.whl; \
    if [ -e "$1" ]; then set -- --no-index --find-links /wheels; else set --; fi; \
    python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes "$@" \
        --target /packages -r /wheels/requirements.lock

FROM ${BASE}
COPY --from=packages /packages /opt/embedfleet/packages
COPY LICENSE NOTICE /opt/embedfleet/
COPY src /opt/embedfleet/src
RUN python3 -m compileall -q /opt/embedfleet/src
ENV PYTHONPATH=/opt/embedfleet/src:/opt/embedfleet/packages HOME=/tmp
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["python3", "-P", "-m", "embedfleet"]
CMD ["--help"]
