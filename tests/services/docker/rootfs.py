"""Small root file systems from this machine's own files: a Python as the base of our image, and an nginx."""

import io
import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pip

_SKIPPED = re.compile(
    r"\.opt-\d\.pyc|/test/|/tests/|/idlelib/|/tkinter/|/ensurepip/|/config-3|/site-packages/|/dist-packages/"
)
_PASSWD = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"
_GROUP = "root:x:0:\nadm:x:4:\nwww-data:x:33:\nnogroup:x:65534:\n"


class RootFs:
    """A tar of a root file system."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w")  # noqa: SIM115
        self._there: set[str] = set()
        for folder in ("tmp", "run", "proc", "sys", "dev", "etc"):
            self.folder(folder, 0o1777 if folder == "tmp" else 0o755)
        self.text("etc/passwd", _PASSWD)
        self.text("etc/group", _GROUP)

    def folder(self, name: str, mode: int = 0o755) -> None:
        if name and name not in self._there:
            self.folder(str(Path(name).parent) if "/" in name else "")
            self._there.add(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            self._tar.addfile(info)

    def text(self, name: str, content: str, mode: int = 0o644) -> None:
        self.folder(str(Path(name).parent))
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content.encode()), mode
        self._tar.addfile(info, io.BytesIO(content.encode()))

    def link(self, name: str, target: str) -> None:
        self.folder(str(Path(name).parent))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)

    def file(self, source: Path | str, name: str = "") -> None:
        """Add a file (a link is followed), under its own path or another."""
        name = (name or str(source)).lstrip("/")
        if name in self._there:
            return
        self._there.add(name)
        self.folder(str(Path(name).parent))
        real = Path(source).resolve()
        info = self._tar.gettarinfo(str(real), arcname=name)
        info.uid = info.gid = 0
        with real.open("rb") as stream:
            self._tar.addfile(info, stream)

    def program(self, *sources: Path | str) -> None:
        """Add programs or libraries with all libraries that they load."""
        for source in sources:
            self.file(source)
        for library in _libraries(sources):
            self.file(library)

    def tree(self, source: Path, name: str = "") -> None:
        base = name or str(source)
        for file in sorted(source.rglob("*")):
            if file.is_file() and not _SKIPPED.search(f"{file}"[len(str(source)) :]):
                self.file(file, f"{base}/{file.relative_to(source)}")

    def finish(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def _libraries(programs: Iterable[Path | str]) -> list[str]:
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    return sorted(set(re.findall(r"(/\S+?\.so\S*) \(0x", said)))


def python_rootfs() -> bytes:
    """Make a tar of a shell, this Python with its compiled modules, and pip."""
    root = RootFs()
    _add_python(root)
    return root.finish()


def compiler_rootfs() -> bytes:
    """Make a tar of the same, and of a C compiler and the headers of C and of Python."""
    root = RootFs()
    _add_python(root)
    _add_compiler(root)
    return root.finish()


def _add_compiler(root: RootFs) -> None:
    """Add the parts of gcc that make a shared library of C, by the paths that gcc gives."""

    def asked(question: str) -> Path:
        said = subprocess.run(["cc", question], capture_output=True, text=True, check=True).stdout.strip()
        return Path(os.path.normpath(shutil.which(said) or said))

    own, multiarch = asked("-print-libgcc-file-name").parent, asked("-print-multiarch").name
    programs = [asked(f"-print-prog-name={name}") for name in ("cc1", "collect2", "lto-wrapper", "as", "ld")]
    others = [shutil.which(name) or f"/usr/bin/{name}" for name in ("cc", "mv", "nproc")]
    root.program(*programs, *others, own / "liblto_plugin.so")
    for name in {"gcc", sysconfig.get_config_var("CC").split()[0]}:
        root.link(f"usr/bin/{Path(name).name}", "cc")
    wanted = ("crtbeginS.o", "crtendS.o", "libgcc.a", "libgcc_s.so", "crti.o", "crtn.o", "libc.so", "libc_nonshared.a")
    for name in (*wanted, "libpthread.a", "libm.so", "libmvec.so.1"):
        if (found := asked(f"-print-file-name={name}")).is_absolute():
            root.file(found)
    for library in Path("/lib", multiarch).glob("libmvec.so.1"):  # named by the script that libm.so is
        root.file(library)
    for folder in (own / "include", *(Path("/usr/include", name) for name in (multiarch, "asm-generic", "linux"))):
        root.tree(folder)
    for file in Path("/usr/include").glob("*.h"):
        root.file(file)
    root.tree(Path(sysconfig.get_path("include")))


def _add_python(root: RootFs) -> None:
    executable = Path(os.path.realpath(sys._base_executable))
    library = Path(sysconfig.get_path("stdlib"))
    root.program(executable, shutil.which("dash") or "/bin/sh", *(library / "lib-dynload").glob("*.so"))
    # Further libraries that the wheels of the lock load.
    for name in ("libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libdl.so.2", "libpthread.so.0"):
        found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
        root.program(re.search(rf"{re.escape(name)} .*=> (\S+)", found)[1])
    root.tree(library)
    root.tree(Path(pip.__file__).parent, "/opt/pip/pip")
    root.link("usr/local/bin/python3", str(executable))
    root.link("bin/sh", shutil.which("dash") or "/bin/dash")
    root.folder(sysconfig.get_path("purelib", vars={"base": sys.base_prefix}).lstrip("/"))


def nginx_rootfs() -> bytes:
    """Make a tar of nginx in the layout of the official image: conf.d, and logs to stdout and stderr."""
    root = RootFs()
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert binary, "apt-get install nginx-light"
    root.program(binary)
    root.link("usr/bin/nginx", binary) if binary != "/usr/bin/nginx" else None
    root.text("etc/nginx/mime.types", "types { application/json json; }\n")
    root.text(
        "etc/nginx/nginx.conf",
        "user www-data;\nerror_log /var/log/nginx/error.log notice;\npid /run/nginx.pid;\n"
        "events { worker_connections 1024; }\n"
        "http { include /etc/nginx/mime.types; include /etc/nginx/conf.d/*.conf; }\n",
    )
    for folder in ("var/log/nginx", "var/lib/nginx", "var/cache/nginx", "etc/nginx/conf.d"):
        root.folder(folder)
    root.link("var/log/nginx/access.log", "/dev/stdout")
    root.link("var/log/nginx/error.log", "/dev/stderr")
    assert pwd.getpwuid(0)
    return root.finish()
