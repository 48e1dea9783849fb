"""Certificates to test with, made on the spot by openssl.

make(directory) leaves there <name>.key and <name>.pem (the certificate, and
what it needs of its chain) for each name of NAMES, ca.pem, the authority that
signed the good ones, and other.pem, an authority that signed others.
"""
import os
import subprocess

HOSTS = "DNS:localhost,DNS:*.agent.test,IP:127.0.0.1"
YEARS = ("20200101000000Z", "20700101000000Z")

# name: (signed by, subjectAltName, further extensions, start, end)
SERVER = "extendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE"
CERTIFICATES = {
    "good": ("ca", HOSTS, SERVER, *YEARS),
    "chained": ("inner", HOSTS, SERVER, *YEARS),
    "expired": ("ca", HOSTS, SERVER, "20200101000000Z", "20210101000000Z"),
    "not-yet": ("ca", HOSTS, SERVER, "20600101000000Z", "20700101000000Z"),
    "wrong-host": ("ca", "DNS:other.example", SERVER, *YEARS),
    "wrong-purpose": ("ca", HOSTS, "extendedKeyUsage=clientAuth\n"
                      "basicConstraints=CA:FALSE", *YEARS),
    "unknown-ca": ("other", HOSTS, SERVER, *YEARS),
    "no-authority": ("good", HOSTS, SERVER, *YEARS),
}
AUTHORITY = ("basicConstraints=critical,CA:TRUE\n"
             "keyUsage=critical,keyCertSign,cRLSign")
NAMES = [*CERTIFICATES, "self-signed"]


class Maker:
    """Runs openssl in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.write("ca.cnf", "\n".join((
            "[ca]", "default_ca=own", "[own]", "database=index.txt",
            "rand_serial=yes", "default_md=sha256", "policy=any",
            "new_certs_dir=.", "unique_subject=no", "[any]",
            "commonName=optional", "[req]", "distinguished_name=name",
            "[name]", "")))
        self.write("index.txt", "")

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def read(self, name):
        path = os.path.join(self.directory, name)
        with open(path, encoding="ascii") as file:
            return file.read()

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE)

    def request(self, name):
        """A key, and a request to sign it."""
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt",
                     "ec_paramgen_curve:prime256v1", "-nodes", "-config",
                     "ca.cnf", "-subj", f"/CN={name} of a test", "-keyout",
                     f"{name}.key", "-out", f"{name}.csr")

    def sign(self, name, by, hosts, extensions, start, end):
        """A certificate; by itself, if by is the name."""
        self.request(name)
        alternative = f"\nsubjectAltName={hosts}" if hosts else ""
        self.write("extensions.cnf", f"[ext]\n{extensions}{alternative}\n")
        signer = (["-selfsign", "-keyfile", f"{name}.key"] if by == name else
                  ["-cert", f"{by}.crt", "-keyfile", f"{by}.key"])
        self.openssl("ca", "-batch", "-notext", "-config", "ca.cnf", *signer,
                     "-in", f"{name}.csr", "-out", f"{name}.crt", "-startdate",
                     start, "-enddate", end, "-extfile", "extensions.cnf",
                     "-extensions", "ext")


def make(directory):
    """All of them; some need others before."""
    maker = Maker(directory)
    for name in ("ca", "other"):
        maker.sign(name, name, "", AUTHORITY, *YEARS)
        maker.write(f"{name}.pem", maker.read(f"{name}.crt"))
    maker.sign("inner", "ca", "", AUTHORITY, *YEARS)
    for name, (by, *rest) in CERTIFICATES.items():
        maker.sign(name, by, *rest)
        chain = maker.read(f"{by}.crt") if by in ("inner", "good") else ""
        maker.write(f"{name}.pem", maker.read(f"{name}.crt") + chain)
    maker.sign("self-signed", "self-signed", HOSTS, SERVER, *YEARS)
    maker.write("self-signed.pem", maker.read("self-signed.crt"))
