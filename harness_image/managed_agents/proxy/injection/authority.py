"""The certificate authority of one sandbox, and the certificates that it makes of hosts (design §8).

Its key is derived from the secret of the sandbox's binding and is nowhere but in memory. So it is the same one after a
harness was replaced, and what runs in the sandbox, which read the certificate long ago, notices nothing.
"""

import ipaddress
import os
import ssl
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from managed_agents.proxy.egress_hosts import Target

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_FROM = datetime(2020, 1, 1, tzinfo=UTC)
AUTHORITY_TO = datetime(2100, 1, 1, tzinfo=UTC)
"""Constant, so that it is the same certificate each time. The key lives as long as its sandbox."""

LEAF_DAYS = 30
LEAF_SECONDS_LEFT_MIN = 24 * 3600.0
"""A host's certificate is made anew when less is left of it."""

HOSTS_MAX = 256
"""Hosts whose certificates are kept."""

_CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2, §2.4.2)


class Authority:
    """Makes certificates. Importing what it needs costs 50 ms and more, so a session without credentials makes none."""

    def __init__(self, secret: str) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = _derived_key(secret)
        self._certificate = _authority_certificate(self._key)
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: OrderedDict[str, tuple[datetime, ssl.SSLContext]] = OrderedDict()

    @property
    def certificate(self) -> str:
        """The authority's certificate in PEM, to be trusted in the sandbox."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return self._certificate.public_bytes(Encoding.PEM).decode("ascii")

    def context_for(self, target: Target, now: datetime) -> ssl.SSLContext:
        """Return the server's side of TLS for one host, HTTP/1.1 only; a client that asks for another is refused."""
        kept = self._contexts.get(target.host)
        if kept is not None and (kept[0] - now).total_seconds() > LEAF_SECONDS_LEFT_MIN:
            self._contexts.move_to_end(target.host)
            return kept[1]
        ends = now + timedelta(days=LEAF_DAYS)
        context = _server_context(self._chain_for(target, now - timedelta(days=1), ends))
        context.sni_callback = _only(target.host)
        self._contexts[target.host] = (ends, context)
        while len(self._contexts) > HOSTS_MAX:
            self._contexts.popitem(last=False)
        return context

    def _chain_for(self, target: Target, begins: datetime, ends: datetime) -> bytes:
        """Return a host's certificate and its key in PEM."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from cryptography.x509.oid import ExtendedKeyUsageOID

        name: x509.GeneralName = x509.DNSName(target.host)
        if target.address is not None:
            name = x509.IPAddress(ipaddress.ip_address(target.host))
        public = self._leaf_key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named("Host of a sandbox"))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key = self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM) + key


def _derived_key(secret: str) -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    # Half as long again as the key: so the remainder is as good as uniform.
    kdf = HKDF(algorithm=hashes.SHA256(), length=48, salt=None, info=b"managed-agents/egress-authority")
    number = int.from_bytes(kdf.derive(secret.encode()), "big") % (_CURVE_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _authority_certificate(key: "ec.EllipticCurvePrivateKey") -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    name = _named("Egress of a sandbox", identifier.digest.hex()[:16])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(int.from_bytes(identifier.digest[:16], "big") >> 1 | 1)
        .not_valid_before(AUTHORITY_FROM)
        .not_valid_after(AUTHORITY_TO)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _named(organization: str, common: str | None = None) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
    if common is not None:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, common))
    return x509.Name(parts)


def _usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _server_context(chain: bytes) -> ssl.SSLContext:
    """Load a certificate and its key, which the standard library takes from a file only: from one that is memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, chain)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def _only(host: str) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], int | None]:
    def refuse_others(_: ssl.SSLObject, asked: str | None, __: ssl.SSLContext) -> int | None:
        is_other = asked is not None and asked.lower().removesuffix(".") != host
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if is_other else None

    return refuse_others
