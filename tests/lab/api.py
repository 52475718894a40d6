"""The API as an orchestrator's own client sees it: python3-grpcio, with messages and stubs made
from the shipped protos when a test asks for them. Nothing of vmqd is used but `proto/`.

Used by any thread of a test. What must stay true: the protos alone are enough to drive everything.
"""

import atexit
import dataclasses
import functools
import importlib
import pathlib
import shutil
import sys
import tempfile
import types
import uuid

import grpc
import google

from tests.lab.namespaces import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIPPED, STANDARD = ROOT / "proto", ROOT / "tests" / "lab" / "proto"
CALL_TIMEOUT = 30     # seconds; a call without a deadline may hang a test
STREAM_TIMEOUT = 300


@functools.cache
def messages():
    """The generated modules, merged: messages().Port, messages().VmqdStub, messages().TAP, ..."""
    out = pathlib.Path(tempfile.mkdtemp(prefix="vq-api-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    plugin = shutil.which("grpc_python_plugin")
    assert plugin, "grpc_python_plugin is missing: deploy/install-packages --tests"
    files = sorted(SHIPPED.rglob("*.proto")) + sorted(STANDARD.glob("*.proto"))
    run("protoc", f"--proto_path={SHIPPED}", f"--proto_path={STANDARD}", f"--python_out={out}",
        f"--grpc_out={out}", f"--plugin=protoc-gen-grpc={plugin}", *files)
    sys.path.insert(0, str(out))
    google.__path__.append(str(out / "google"))  # of python3-protobuf, and not a namespace package
    merged = types.SimpleNamespace()
    for path in sorted(out.rglob("*_pb2*.py")):
        module = importlib.import_module(".".join(path.relative_to(out).with_suffix("").parts))
        defined = getattr(module, "DESCRIPTOR", None)  # absent in a module of stubs
        for name, it in vars(module).items():
            if defined and (name in defined.message_types_by_name or name.isupper()):
                setattr(merged, name, it)
            elif not defined and name.endswith("Stub"):
                setattr(merged, name, it)
    return merged


@dataclasses.dataclass
class Refused(Exception):
    """What an error of the API says."""
    code: str
    reason: str
    field: str
    sentence: str


def refusal(error):
    """The Refused in a grpc.RpcError."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = messages().ErrorInfo()
    for detail in messages().Status.FromString(details).details:
        detail.Unpack(info)
    return Refused(error.code().name, info.reason, info.metadata.get("field", ""), error.details())


class Client:
    """One connection. client.CreatePort(...) takes the fields of CreatePortRequest and answers with
    the message, or raises Refused; client.Watch(...) is an iterator that can be cancelled.
    """

    STREAMS = ("Watch",)

    def __init__(self, address):
        # Its own connection, also beside other clients of this process; and a window that stays as
        # small as it begins, so that a reader that stops is felt soon.
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)])
        self.stub = messages().VmqdStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def __getattr__(self, method):
        def call(timeout=CALL_TIMEOUT, wait=True, **fields):
            request = getattr(messages(), f"{method}Request")(**fields)
            rpc = getattr(self.stub, method)
            if method in self.STREAMS:
                return rpc(request, timeout=STREAM_TIMEOUT, wait_for_ready=wait)
            try:
                return rpc(request, timeout=timeout, wait_for_ready=wait)
            except grpc.RpcError as error:
                raise refusal(error) from None

        return call

    def health(self, service=""):
        """SERVING, NOT_SERVING; NOT_FOUND for what is no service."""
        stub = messages().HealthStub(self.channel)
        try:
            answer = stub.Check(messages().HealthCheckRequest(service=service),
                                timeout=CALL_TIMEOUT, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code().name
        return messages().HealthCheckResponse.ServingStatus.Name(answer.status)

    def services(self):
        """What reflection lists."""
        stub = messages().ServerReflectionStub(self.channel)
        request = messages().ServerReflectionRequest(list_services="")
        answers = stub.ServerReflectionInfo(iter([request]), timeout=CALL_TIMEOUT)
        return [service.name for answer in answers
                for service in answer.list_services_response.service]

    def file_of(self, symbol):
        """Serialized descriptors of the file that defines `symbol`, by reflection."""
        stub = messages().ServerReflectionStub(self.channel)
        request = messages().ServerReflectionRequest(file_containing_symbol=symbol)
        answers = stub.ServerReflectionInfo(iter([request]), timeout=CALL_TIMEOUT)
        return [descriptor for answer in answers
                for descriptor in answer.file_descriptor_response.file_descriptor_proto]


def new_id():
    return str(uuid.uuid4())


def tap(device, index, **fields):
    """A TAP port on `device` with an address of its own."""
    mac = f"52:54:00:00:{index // 256:02x}:{index % 256:02x}"
    return messages().Port(kind=messages().TAP, device=device, macs=[mac], **fields)


def asked(resource):
    """The fields an operator sets, and the etag: what two answers must agree in."""
    kept = type(resource)()
    kept.CopyFrom(resource)
    for field, _ in resource.ListFields():
        if field.number >= 20 and field.name != "etag":
            kept.ClearField(field.name)
    return kept


class Replay:
    """What one watcher knows. Checks the order that vmqd promises while it takes responses."""

    def __init__(self):
        self.resources = {}  # name -> message
        self.log = []        # (revision, what, message) of every change and event since the start
        self.revision = 0
        self.synced = False
        self.resets = 0

    def take(self, response):
        what = response.WhichOneof("what")
        assert what, response
        assert response.revision >= self.revision, f"{response.revision} after {self.revision}"
        if what == "reset":
            assert response.reset.reason
            self.resources, self.synced, self.resets = {}, False, self.resets + 1
        elif what == "synced":
            assert not self.synced
            self.synced = True
        elif what in ("uplink", "port"):
            resource = getattr(response, what)
            self.resources[resource.name] = resource
        elif what == "deleted":
            assert self.synced
            assert self.resources.pop(response.deleted, None), f"{response.deleted} was not there"
        if what in ("uplink", "port", "deleted", "event"):
            if self.synced:
                assert response.revision > self.revision, f"{response.revision} twice"
            self.log.append((response.revision, what, getattr(response, what)))
        self.revision = response.revision
        return what

    def read(self, stream, until):
        """Takes responses until `until(self)` holds, looked at after each of them."""
        while not until(self):
            self.take(next(stream))
        return self
