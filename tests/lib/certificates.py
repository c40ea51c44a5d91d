"""Certificates for tests, made by openssl: an authority, and what it vouches for."""

import pathlib
import subprocess
import time

CONFIG = """
[ca]
default_ca = this
[this]
dir = {0}
database = {0}/index
serial = {0}/serial
new_certs_dir = {0}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


class Authority:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(exist_ok=True)
        (self.directory / "index").touch()
        (self.directory / "serial").write_text("01\n")
        (self.directory / "config").write_text(CONFIG.format(self.directory))
        self.file, self.key = self.directory / "ca.pem", self.directory / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test authority", "-days", 2,
                "-keyout", self.key, "-out", self.file)

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1", valid=(-3600, 86400), key=("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """(certificate, key): files. `valid`: from and until, in seconds from now."""
        base = self.directory / name
        cert, private, request, extra = (base.with_suffix(s) for s in (".pem", ".key", ".csr", ".ext"))
        extra.write_text(f"subjectAltName={names}\n")
        openssl("genpkey", *key, "-out", private)
        openssl("req", "-new", "-key", private, "-subj", f"/CN={name}", "-out", request)
        start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset)) for offset in valid)
        openssl("ca", "-batch", "-notext", "-config", self.directory / "config", "-cert", self.file, "-keyfile", self.key, "-startdate", start,
                "-enddate", end, "-extfile", extra, "-in", request, "-out", cert)
        return cert, private
