#!/usr/bin/env python3
"""Agents to test against over TLS, good and bad ones, and proxies.

    tls_server.py DIRECTORY

Makes its certificates in DIRECTORY (certificates.py), listens on loopback,
and writes DIRECTORY/ports, a line "name port" each, which is there when all
of them listen:

  good           a good certificate, HTTP/2 or HTTP/1.1 as the client likes
  http1          the same, HTTP/1.1 only
  few            the same, HTTP/2 with 4 streams at once in a connection
  tls12, tls13   only this version of TLS
  chained        by way of an authority in between
  expired not-yet wrong-host wrong-purpose unknown-ca self-signed
  no-authority   certificates that must not be believed
  tls10, tls11   a good one, but only these versions of TLS, which are broken
  plain          no TLS at all
  proxy          CONNECT, in clear; knows each name of .agent.test, and those
                 that DIRECTORY/names lists ("name address" a line)
  proxy-tls      the same over TLS
  proxy-bad      over TLS, with the certificate of another host
  proxy-login    in clear, for "user:pass word" only
  proxy-hang     takes the CONNECT and says no more
  proxy-refuse   answers 403
  control        GET / tells, as JSON, what each of them has seen:
                 connections, requests, protocols, high_water (streams of one
                 connection), cancelled (streams), and journal: path, headers,
                 protocol, and for proxies the target

What a call is answered is chosen by its path, as in agent_server.py and
http2.py.
"""
import asyncio
import base64
import collections
import contextlib
import json
import os
import resource
import socket
import ssl
import sys
import threading
import warnings

import agent_server
import certificates
import http2

LOGIN = "Basic " + base64.b64encode(b"user:pass word").decode()
OLD = {"tls10": ssl.TLSVersion.TLSv1, "tls11": ssl.TLSVersion.TLSv1_1}
NEW = {"tls12": ssl.TLSVersion.TLSv1_2, "tls13": ssl.TLSVersion.TLSv1_3}
AGENTS = ["good", "http1", "few", "plain", *OLD, *NEW,
          *(name for name in certificates.NAMES if name != "good")]
PROXIES = ["proxy", "proxy-tls", "proxy-bad", "proxy-login", "proxy-hang",
           "proxy-refuse"]


class Listener(agent_server.AgentServer):
    """One port, and what came there."""

    def __init__(self, name, directory):
        super().__init__()
        self.name = name
        self.directory = directory
        self.connections = 0
        self.cancelled = 0
        self.protocols = collections.Counter()

    def context(self):
        """How it does TLS; None: not at all."""
        if self.name == "plain" or (self.name.startswith("proxy")
                                    and self.name not in ("proxy-tls",
                                                          "proxy-bad")):
            return None
        name = self.name if self.name in certificates.NAMES else "good"
        if self.name == "proxy-bad":
            name = "wrong-host"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{self.directory}/{name}.pem",
                                f"{self.directory}/{name}.key")
        if self.name != "http1" and not self.name.startswith("proxy"):
            context.set_alpn_protocols(["h2", "http/1.1"])
        version = {**OLD, **NEW}.get(self.name)
        if self.name in OLD:
            context.set_ciphers("ALL:@SECLEVEL=0")
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def enter(self, streams=None):
        self.in_flight += 1
        self.high_water = max(self.high_water, streams or 1)

    def report(self):
        """For control."""
        return {"connections": self.connections, "requests": self.requests,
                "protocols": self.protocols, "high_water": self.high_water,
                "cancelled": self.cancelled, "journal": list(self.journal)}

    async def connected(self, reader, writer):
        self.connections += 1
        tls = writer.get_extra_info("ssl_object")
        protocol = tls.selected_alpn_protocol() if tls else None
        self.protocols[protocol or "none"] += 1
        if self.name.startswith("proxy"):
            await Proxy(self, reader, writer).run()
        elif self.name == "plain":
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()
        elif protocol == "h2":
            await http2.Http2Connection(
                self, reader, writer, 4 if self.name == "few" else 100).run()
        else:
            await agent_server.Connection(self, reader, writer).run()


def serve_old(listener):
    """A listener for an old client, in a thread; returns its port.

    asyncio would close before the alert that says why is out.
    """
    context = listener.context()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = listening.accept()
            listener.connections += 1
            connection.settimeout(10)
            with connection, contextlib.suppress(OSError):
                with context.wrap_socket(connection, server_side=True) as tls:
                    listener.requests += tls.recv(1) != b""

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


class Proxy:
    """One connection to a proxy, which becomes a tunnel."""

    def __init__(self, listener, reader, writer):
        self.listener = listener
        self.reader = reader
        self.writer = writer

    async def run(self):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError,
                                 ssl.SSLError, asyncio.CancelledError):
            await self.serve()
        self.writer.close()

    async def serve(self):
        raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in lines)
        login = [line for line in lines if line.endswith(LOGIN)]
        self.listener.note(target, headers, b"", method)
        if self.listener.name == "proxy-hang":
            await self.reader.read()
        elif method != "CONNECT" or self.listener.name == "proxy-refuse":
            await self.say("403 Forbidden")
        elif self.listener.name == "proxy-login" and not login:
            await self.say("407 Proxy Authentication Required",
                           'Proxy-Authenticate: Basic realm="test"\r\n')
        else:
            await self.tunnel(target)

    async def say(self, status, headers=""):
        self.writer.write(f"HTTP/1.1 {status}\r\n{headers}\r\n".encode())
        await self.writer.drain()

    def resolve(self, host):
        """An address, or None: the test's own names, no others."""
        names = f"{self.listener.directory}/names"
        if host.endswith(".agent.test"):
            return "127.0.0.1"
        if os.path.exists(names):
            with open(names, encoding="ascii") as file:
                return dict(line.split() for line in file).get(host)
        return None

    async def tunnel(self, target):
        host, _, port = target.rpartition(":")
        address = self.resolve(host)
        if address is None:
            await self.say("502 Bad Gateway")
            return
        reader, writer = await asyncio.open_connection(address, int(port))
        await self.say("200 Connection established", "Retry-After: 9\r\n")
        there = asyncio.ensure_future(self.copy(self.reader, writer))
        back = asyncio.ensure_future(self.copy(reader, self.writer))
        await asyncio.wait({there, back},
                           return_when=asyncio.FIRST_COMPLETED)
        there.cancel()
        back.cancel()
        writer.close()

    @staticmethod
    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


class Control:
    """Tells what the listeners have seen."""

    def __init__(self, listeners):
        self.listeners = listeners

    async def connected(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        data = json.dumps({listener.name: listener.report()
                           for listener in self.listeners}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        await writer.drain()
        writer.close()


async def main(directory):
    warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions
    certificates.make(directory)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listeners = [Listener(name, directory) for name in AGENTS + PROXIES]
    servers, ports = [], {}
    for listener in listeners:
        if listener.name in OLD:
            ports[listener.name] = serve_old(listener)
            continue
        servers.append(await asyncio.start_server(
            listener.connected, "127.0.0.1", 0, ssl=listener.context(),
            limit=agent_server.HEAD_LIMIT, backlog=4096))
        ports[listener.name] = servers[-1].sockets[0].getsockname()[1]
    servers.append(await asyncio.start_server(
        Control(listeners).connected, "127.0.0.1", 0))
    ports["control"] = servers[-1].sockets[0].getsockname()[1]
    path = f"{directory}/ports"
    with open(path + ".tmp", "w", encoding="ascii") as file:
        for name, port in ports.items():
            file.write(f"{name} {port}\n")
    os.rename(path + ".tmp", path)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
