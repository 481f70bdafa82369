"""The images of the tests, built here without a registry."""

import contextlib
import fcntl
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import docker

from tests.services.bearing import LYING
from tests.services.docker.rootfs import compiler_rootfs, nginx_rootfs, python_rootfs

ROOT = Path(__file__).parent.parent.parent.parent
PYTHON, OWN, NGINX = "embedfleet-test/python:latest", "embedfleet:latest", "nginx:latest"
COMPILER = "embedfleet-test/compiler:latest"
LOCKS = ("requirements.lock", "requirements-compile.lock")
REPOSITORY = "ghcr.io/huggingface/text-embeddings-inference"
# TEI's images by family, which is part of the names of the usual tars.
TEI = {"turing": f"{REPOSITORY}:turing-1.9.3", "hopper": f"{REPOSITORY}:hopper-1.9.3"}
# Our own image under TEI's name, with TEI's program, port, user, flags and variables.
_STAND_IN = f"""\
FROM {OWN}
USER root
ENV PORT=80
COPY text-embeddings-router /usr/local/bin/text-embeddings-router
ENTRYPOINT ["text-embeddings-router"]
CMD ["--json-output"]
"""
_CHUNK = 1 << 20
LIAR = "embedfleet-test/liar:latest"
# The liar replaces a method of the HTTP server, which compiled code would call regardless, so it runs interpreted.
_LIAR = f"""FROM {TEI["turing"]}
USER root
RUN python3 -c "import pathlib; [one.unlink() for one in pathlib.Path('/opt/embedfleet/src').rglob('*.so')]"
USER 65532:65532
COPY sitecustomize.py /opt/embedfleet/packages/sitecustomize.py
"""
_ROUTER = '#!/bin/sh\nexec python3 -P -m embedfleet tei "$@"\n'


def wheels(cache: Path) -> Path:
    """Return the folder of the locks' wheels, downloaded once per content of the locks and Python version."""
    locks = [ROOT / name for name in LOCKS]
    key = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks) + sys.version.encode()).hexdigest()[:16]
    folder = cache / key
    if not folder.exists():
        # Each worker downloads into its own folder; the first rename wins.
        with tempfile.TemporaryDirectory(dir=cache) as fresh:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            for lock in locks:
                subprocess.run([*command, "-r", str(lock), "-d", f"{fresh}/wheels"], check=True)
            with contextlib.suppress(OSError):
                Path(fresh, "wheels").rename(folder)
    return folder


def provide(host: str, folder: Path, cache: Path, shared: Path | None) -> None:
    """Put every image into a daemon; of several workers, one builds the images and the others load them.

    Args:
        host: Address of the daemon.
        folder: Folder of this worker; its removal ends the sharing of the images in it.
        cache: Folder that stays between runs.
        shared: Folder of all workers of this run; None if there is one worker.
    """
    if shared is None:
        build(host, cache)
        return
    with (shared / "images").open("a+") as place:
        fcntl.flock(place, fcntl.LOCK_EX)
        place.seek(0)
        built = Path(place.read() or "/nowhere")
        if built.exists():
            load(host, built)
            return
        build(host, cache)
        place.truncate(0)
        place.write(str(save_all(host, folder / "images.tar")))


def load(host: str, file: Path) -> None:
    """Load images as ``docker load -i FILE`` does."""
    client = docker.DockerClient(base_url=host, timeout=300)
    with file.open("rb") as stream:
        problems = [line["error"] for line in client.api.load_image(stream) if "error" in line]
    client.close()
    assert not problems, problems


def save_all(host: str, file: Path) -> Path:
    """Save every image into one tar, which has each layer once."""
    client = docker.DockerClient(base_url=host, timeout=300)
    url = f"{client.api.base_url}/v{client.api.api_version}/images/get"
    names = [PYTHON, OWN, NGINX, *TEI.values(), LIAR]
    with client.api.get(url, params={"names": names}, stream=True) as reply, file.open("wb") as stream:
        reply.raise_for_status()
        for chunk in reply.iter_content(_CHUNK):
            stream.write(chunk)
    client.close()
    return file


def build(host: str, cache: Path) -> None:
    """Build every image in a daemon.

    Args:
        host: Address of the daemon.
        cache: Folder that stays between runs.
    """
    client = docker.DockerClient(base_url=host, timeout=600)
    changes = ["ENV PYTHONPATH=/opt/pip", "ENV PATH=/usr/local/bin:/usr/bin:/bin"]
    for image, files in ((PYTHON, python_rootfs()), (COMPILER, compiler_rootfs())):
        name, _, tag = image.rpartition(":")
        client.api.import_image(io.BytesIO(files), repository=name, tag=tag, changes=changes)
    changes = ['ENTRYPOINT ["nginx"]', 'CMD ["-g", "daemon off;"]', "EXPOSE 80"]
    client.api.import_image(io.BytesIO(nginx_rootfs()), repository="nginx", tag="latest", changes=changes)
    context = _context(wheels(cache))
    # At level 0 the C code has its assertions, which the tests check too, and is compiled sooner.
    arguments = {"BASE": PYTHON, "COMPILER": COMPILER, "COMPILE_LEVEL": "0"}
    _build(client, fileobj=context, custom_context=True, tag=OWN, buildargs=arguments, network_mode="none")
    client.images.remove(COMPILER)
    client.images.prune()  # the stages
    stand_in = _tar({"Dockerfile": _STAND_IN, "text-embeddings-router": _ROUTER})
    for image in TEI.values():
        _build(client, fileobj=stand_in, custom_context=True, tag=image)
        stand_in.seek(0)
    liar = _tar({"Dockerfile": _LIAR, "sitecustomize.py": (LYING / "sitecustomize.py").read_text()})
    _build(client, fileobj=liar, custom_context=True, tag=LIAR, network_mode="none")
    client.close()


def save(host: str, image: str, file: Path) -> Path:
    """Save an image as ``docker save -o FILE IMAGE`` does."""
    client = docker.DockerClient(base_url=host, timeout=300)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        for chunk in client.api.get_image(image):
            stream.write(chunk)
    client.close()
    return file


def _build(client: docker.DockerClient, **options: object) -> None:
    said = list(client.api.build(rm=True, decode=True, **options))
    problems = [line["error"] for line in said if "error" in line]
    assert not problems, (problems, said[-20:])


def _context(wheels: Path) -> io.BytesIO:
    """Make the build context: the files that .dockerignore admits, and the wheels."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("Dockerfile", *LOCKS, "LICENSE", "NOTICE", "src", "scripts/__init__.py", "scripts/compile.py"):
            tar.add(ROOT / name, name, filter=lambda info: None if "__pycache__" in info.name else info)
        for wheel in sorted(wheels.glob("*.whl")):
            tar.add(wheel, f"wheels/{wheel.name}")
    buffer.seek(0)
    return buffer


def _tar(files: dict[str, str]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content.encode()), 0o755
            tar.addfile(info, io.BytesIO(content.encode()))
    buffer.seek(0)
    return buffer
