"""One request at a time with the server that the command line names, through an encoder and a decoder that are not ours:
those that kafka-python makes of Kafka's schemas. What the scripts of versions share.
"""
import socket
import struct
import sys

from kafka.protocol.metadata import ApiVersionsResponse

host, port = sys.argv[1].rsplit(":", 1)
peer = socket.create_connection((host, int(port)), 20)


def receive(count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        assert more, "the broker has closed the connection"
        data += more
    return data


def ask(request, response, version, **fields):
    """One request and its answer, which must be the bytes that its schema makes of it."""
    made = request(version=version, **fields)
    made.with_header(correlation_id=7, client_id="versions")
    data = made.encode(header=True)
    peer.sendall(struct.pack(">i", len(data)) + data)
    answer = receive(struct.unpack(">i", receive(4))[0])
    head = 5 if response.flexible_version_q(version) and response is not ApiVersionsResponse else 4
    assert answer[:4] == struct.pack(">i", 7), answer[:4]
    read = response.decode(answer[head:], version=version)
    read._header = None
    body = bytes(read.encode(version=version))
    assert body == answer[head:], (response.__name__, version, answer[head:].hex(), body.hex())
    return read
