"""Certificates for servers of tests."""

import ssl
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory


def certificate_for(host: str) -> tuple[str, str]:
    """Make a certificate that vouches for itself; return it and its key, in PEM."""
    with TemporaryDirectory() as folder:
        cert, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=git", "-addext", f"subjectAltName=DNS:{host}", "-days", "2"]
        subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=30)
        return cert.read_text(), key.read_text()


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return what a server needs to speak TLS with a certificate."""
    with TemporaryDirectory() as folder:
        both = Path(folder) / "both.pem"
        both.write_text(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context
