#!/usr/bin/python3
"""A certificate authority for tests, made when a test runs: no key is kept in the repository.

  certificates.py DIRECTORY     writes NAME.pem and NAME.key for every name below, and ca.pem

Every key is a P-256 one, every certificate good for a day unless its row says otherwise. Keys have
mode 0600.
"""

import datetime
import os
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import ipaddress

DAY = datetime.timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def uri(name):
    return [x509.UniformResourceIdentifier(name)]


def dns(name):
    return [x509.DNSName(name)]


# name -> common name, alternative names, purpose, first and last moment from now
LEAVES = {
    "server": ("server", dns("localhost") + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
               SERVER, -DAY, DAY),
    "admin": ("admin", uri("spiffe://lab.test/admin"), CLIENT, -DAY, DAY),
    "operator": ("operator", dns("operator.lab.test"), CLIENT, -DAY, DAY),
    "viewer": ("viewer", [x509.RFC822Name("viewer@lab.test")], CLIENT, -DAY, DAY),
    "common": ("common.lab.test", [], CLIENT, -DAY, DAY),
    "nobody": ("spiffe://lab.test/admin", dns("nobody.lab.test"), CLIENT, -DAY, DAY),
    "nameless": ("", [], CLIENT, -DAY, DAY),
    "expired": ("admin", uri("spiffe://lab.test/admin"), CLIENT, -2 * DAY, -DAY),
    "early": ("admin", uri("spiffe://lab.test/admin"), CLIENT, DAY, 2 * DAY),
    "not_a_client": ("admin", uri("spiffe://lab.test/admin"), SERVER, -DAY, DAY),
}
# What the listener under test says under tcp.roles.
ROLES = (("spiffe://lab.test/admin", "ADMIN"), ("operator.lab.test", "OPERATOR"),
         ("viewer@lab.test", "VIEWER"), ("common.lab.test", "VIEWER"))


def subject(common_name):
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    return x509.Name(names + [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "lab")])


def write(directory, name, key, certificate):
    pem = serialization.Encoding.PEM
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with open(os.open(directory / f"{name}.key", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600),
              "wb") as file:
        file.write(text)


def builder(common_name, key, issuer, first, last):
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(subject(common_name)).issuer_name(issuer)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + first).not_valid_after(now + last))


def make_authority(directory, name):
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (builder(name, key, subject(name), -3 * DAY, 3 * DAY)
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                   .sign(key, hashes.SHA256()))
    write(directory, name, key, certificate)
    return key, certificate


def make_leaf(directory, file, authority, row):
    common_name, alternatives, purpose, first, last = row
    key = ec.generate_private_key(ec.SECP256R1())
    made = builder(common_name, key, authority[1].subject, first, last)
    made = made.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if alternatives:
        made = made.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    write(directory, file, key, made.sign(authority[0], hashes.SHA256()))


def make_all(directory):
    """Everything, into `directory`; "stranger" is the admin of another authority."""
    directory = pathlib.Path(directory)
    authority = make_authority(directory, "ca")
    for name, row in LEAVES.items():
        make_leaf(directory, name, authority, row)
    other = make_authority(directory, "other_ca")
    make_leaf(directory, "stranger", other, LEAVES["admin"])


if __name__ == "__main__":
    make_all(sys.argv[1])
