# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of the session, made by the openssl command."""
import os
import ssl


class Authority:
    """A CA of our own, which signs what a test needs: good for 127.0.0.1 and localhost, and further names."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.folder = scratch.folder("ca")
        self.key, self.certificate = self._path("ca.key"), self._path("ca.pem")
        scratch.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out",
                    self.certificate, "-days", "30", "-subj", "/CN=rac test authority")

    def _path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, expired=False, subject="/CN=localhost", names=()):
        """Returns (certificate file, key file)."""
        key, request, certificate = (self._path(f"{name}.{end}") for end in ("key", "csr", "pem"))
        self.scratch.run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request,
                         "-utf8", "-subj", subject)
        settings = self._path(f"{name}.cnf")
        with open(settings, "w", encoding="utf-8") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\n"
                    "policy=p\nx509_extensions=x\n[p]\ncommonName=optional\norganizationName=optional\n[x]\n"
                    "subjectAltName=%s\n" % (self._path(f"{name}.db"), self.folder,
                                           ",".join(["DNS:localhost", "IP:127.0.0.1", *(f"DNS:{n}" for n in names)])))
        with open(self._path(f"{name}.db"), "w", encoding="utf-8"):
            pass
        dates = (["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]
                 if expired else ["-days", "20"])
        self.scratch.run("openssl", "ca", "-batch", "-notext", "-config", settings, "-cert", self.certificate,
                         "-keyfile", self.key, "-in", request, "-out", certificate, *dates)
        return certificate, key

    def server(self, name, expired=False, names=()):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, expired, names=names))
        return context

    def client(self, certificate=None):
        """certificate: (certificate file, key file) to show, if the server asks."""
        context = ssl.create_default_context(cafile=self.certificate)
        if certificate:
            context.load_cert_chain(*certificate)
        return context
