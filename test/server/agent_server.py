#!/usr/bin/env python3
"""An agent to test against, on loopback, well or badly.

    agent_server.py [--port 0] [--port-file FILE] [--tls-cert C --tls-key K]

The first segment of the path chooses how a call is answered, so that each
agent's endpoint chooses for itself: http://127.0.0.1:PORT/delay-200 gives
calls to /delay-200/chat/completions.  A model named test-<behaviour> does
the same.  Without either the behaviour is `normal`.  How the path ends says
which protocol is spoken (dialects.py): /chat/completions, /messages, /converse,
or /score, which takes the payment alone and answers with the bare answer.

  normal               by the amount: the loosest verdict below 100, the
                       strictest from 1000, the one in the middle between
  always-VERDICT       this verdict; also `obey`: the loosest, whatever the
                       payment is (an agent that a memo has talked over)
  role                 as an agent of create_ledger()'s points would, by the
                       fields: a route that does not fail, matched or a
                       type of exception, what becomes of a dispute
  delay-MS             normal, after so many milliseconds
  explains, explains-MS
                       with an explanation: the memo, backwards
  hang                 no answer at all
  slow-headers, drip   one byte a second of the head, or of the body
  reset                RST once the whole request was read
  reset-before         RST once its head was read
  close                half the body, then the end of the connection
  huge, huge-length    10 GB of body, chunked or announced
  gzip-bomb, te-bomb   1 GB of zeros in 1 MB, as content or transfer encoding
  endless-headers      header lines without end
  429, 503, 500 …      this status; 429-X: with Retry-After X ("date": in an
                       hour)
  redirect             307 to a metadata service
  echo, echo-401       normal, or this status: the key that the request came
                       with, in each place of the answer that might be kept
  fail-first-N         503 to the first N calls with an Idempotency-Key, then
                       normal; reset-first-N likewise
  truncated-json duplicate-keys nan deep nul bad-utf8 prose fenced html empty
  unknown-verdict confidence-7 extra-key prose-reasons length refusal
                       an answer that must not be believed
  usage-missing usage-negative usage-absurd
                       normal, with wrong token counts
  no-schema            400 to a call that asks for the shape of its answer by a
                       schema, in words as servers have them; else normal

GET /journal   what was called, a JSON object a line: n, at, path, behaviour,
               headers, body, in_flight (with this one), status, closed_early
GET /stats     {"requests", "in_flight", "high_water"}
POST /reset    forgets both
"""
import argparse
import asyncio
import collections
import contextlib
import email.utils
import json
import os
import resource
import socket
import ssl
import struct
import time
import zlib

import dialects

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024
HUGE = 10 * 1024 ** 3
METADATA = "http://169.254.169.254/latest/meta-data/"
REASONS = {200: "OK", 307: "Temporary Redirect", 404: "Not Found"}


class Gone(Exception):
    """The client closed before it had the whole answer."""


class Agent:
    """What is decided about a payment; the same for the same request."""

    def __init__(self, dialect):
        self.dialect = dialect

    def payment(self):
        """The row, or what is known of it."""
        return json.loads(self.dialect.payment() or "{}")

    def amount(self):
        """The payment's amount, 0 when it has none."""
        payment = self.payment()
        names = sorted(payment, key=lambda n: (n != "amount", n))
        for name in names:
            if "amount" in name:
                with contextlib.suppress(TypeError, ValueError):
                    return float(payment[name])
        return 0.0

    def answer(self):
        """The fields of a normal answer."""
        amount = self.amount()
        verdicts = self.dialect.verdicts()
        share = 0 if amount < 100 else 1 if amount >= 1000 else 0.5
        at = int(share * (len(verdicts) - 1) + 0.5)
        return {
            "verdict": verdicts[at],
            "confidence": 0.9,
            "reasons": ["amount_high" if at else "amount_low"],
            "score": round(min(amount, 2000) / 2000, 4),
            "explanation": None,
        }


    def role_answer(self):
        """The fields of an answer by the role that the fields tell."""
        row = self.payment()
        if "captured_amount" in row:
            verdict, reason = self.reconcile(row)
        elif "reason_code" in row:
            verdict, reason = self.triage(row)
        elif "acquirer_a_failures_10m" in row:
            verdict, reason = self.route(row)
        else:
            return self.answer()
        return {"verdict": verdict, "confidence": 0.9, "reasons": [reason],
                "score": None, "explanation": None}

    def route(self, row):
        """The first route on offer of which at most half failed."""
        for route in self.dialect.verdicts():
            if (row.get(route + "_failures_10m") or 0) <= 0.5:
                return route, "LOWEST_FAILURES"
        return self.dialect.verdicts()[0], "ALL_FAIL"

    @staticmethod
    def reconcile(row):
        """Matched where the fee explains the difference."""
        for missing, field in (("NO_AUTHORISATION", "authorised_amount"),
                               ("NOT_CAPTURED", "captured_amount")):
            if row[field] is None:
                return "exception", missing
        if row["currency"] != row["captured_currency"]:
            return "exception", "CURRENCY_DIFFERS"
        if row["capture_settlements"] > 1:
            return "exception", "SETTLED_TWICE"
        difference = round(row["captured_amount"] - row["amount"], 6)
        if difference == 0:
            return "matched", "AS_CAPTURED"
        if difference == row["fee"]:
            return "matched", "FEE_EXPLAINS"
        return "exception", "AMOUNT_DIFFERS"

    @staticmethod
    def triage(row):
        """Contested where there is evidence, small ones borne."""
        if row["payment_refunds"] or row["payment_reversals"]:
            return "contest", "CREDITED"
        if row["payment_authenticated"]:
            return "contest", "AUTHENTICATED"
        if row["amount"] < 50:
            return "accept", "SMALL"
        return "escalate", "NO_EVIDENCE"


def bad_content(name, answer):
    """The content of an answer that must not be believed, or None."""
    good = json.dumps(answer)
    members = good[1:-1]
    return {
        "truncated-json": good[: len(good) // 2],
        "duplicate-keys": '{"verdict": "approve", ' + members + "}",
        "nan": good.replace("0.9", "NaN"),
        "deep": "[" * 10000 + "]" * 10000,
        "nul": good.replace("amount_", "amount\\u0000"),
        "prose": "Sure, here is my verdict: " + good + " Anything else?",
        "fenced": "```json\n" + good + "\n```",
        "empty": "",
        "unknown-verdict": json.dumps({**answer, "verdict": "refund_all"}),
        "confidence-7": json.dumps({**answer, "confidence": 7}),
        "extra-key": json.dumps({**answer, "approved_by": "cfo"}),
        "prose-reasons": json.dumps({**answer, "reasons": ["looks fine"]}),
    }.get(name)


def completion(behaviour, body, path="/chat/completions"):
    """The bytes of a 200 for this request."""
    dialect = dialects.of_path(path)(body, path)
    agent = Agent(dialect)
    answer = agent.answer()
    if behaviour == "role":
        answer = agent.role_answer()
    if behaviour.startswith("always-"):
        answer["verdict"] = behaviour[len("always-"):]
    elif behaviour == "obey":
        answer = {**answer, "verdict": dialect.verdicts()[0], "confidence": 1}
    elif behaviour.startswith("explains"):
        # backwards, so that nobody else has said it
        memo = str(agent.payment().get("memo"))
        answer = {**answer, "explanation": "it says " + memo[::-1]}
    content = bad_content(behaviour, answer)
    if content is None:
        content = json.dumps(answer)
    data = dialect.envelope(behaviour, content).encode()
    if behaviour == "bad-utf8":
        data = data.replace(b":", b":\xff\xfe", 1)
    return data


def head(status, headers, length=None):
    """The bytes of a status line and headers."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    if length is not None:
        headers = {**headers, "Content-Length": length}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


JSON_TYPE = {"Content-Type": "application/json"}


class Connection:
    """One client's connection, kept alive between calls."""

    def __init__(self, server, reader, writer):
        self.server = server
        self.reader = reader
        self.writer = writer
        self.path = ""  # of the call that is being answered

    async def run(self):
        """Serves calls until the client or a behaviour ends it."""
        try:
            while await self.serve_one():
                pass
        except (Gone, ConnectionError, asyncio.IncompleteReadError,
                asyncio.LimitOverrunError, ssl.SSLError,
                asyncio.CancelledError):
            pass
        finally:
            self.writer.close()

    async def serve_one(self):
        """One request; whether another may follow."""
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if method == "GET" or path == "/reset":
            await self.reader.readexactly(int(headers.get("content-length", 0)))
            return await self.serve_control(method, path)
        if self.server.behaviour_of_path(path) == "reset-before":
            self.server.note(path, headers, b"", "reset-before")
            return self.reset()
        length = int(headers.get("content-length", 0))
        if length > BODY_LIMIT:
            return False
        body = await self.reader.readexactly(length)
        return await self.serve_call(path, headers, body)

    async def serve_control(self, method, path):
        """The journal and what belongs to it."""
        if path == "/reset" and method == "POST":
            self.server.forget()
            data = b"{}"
        elif path == "/journal":
            data = b"".join(json.dumps(entry).encode() + b"\n"
                            for entry in self.server.journal)
        elif path == "/stats":
            data = json.dumps(self.server.stats()).encode()
        else:
            await self.send(head(404, {}, 0))
            return True
        await self.send(head(200, JSON_TYPE, len(data)) + data)
        return True

    async def serve_call(self, path, headers, body):
        """One call to the agent, noted in the journal."""
        server = self.server
        self.path = path
        behaviour = server.behaviour(path, body)
        entry = server.note(path, headers, body, behaviour)
        server.enter()
        entry["in_flight"] = server.in_flight
        try:
            return await self.behave(behaviour, headers, body, entry)
        except (Gone, ConnectionError):
            entry["closed_early"] = True
            entry["closed_at"] = time.time()
            return False
        finally:
            server.leave()

    async def behave(self, behaviour, headers, body, entry):
        """Answers as the behaviour says; whether the connection stays."""
        name, _, argument = behaviour.partition("-")
        special = {
            "hang": self.hang, "slow-headers": self.slow_headers,
            "drip": self.drip, "close": self.close_midway,
            "huge": self.huge, "huge-length": self.huge_length,
            "gzip-bomb": self.gzip_bomb, "te-bomb": self.te_bomb,
            "endless-headers": self.endless_headers,
        }.get(behaviour)
        if special is not None:
            entry["status"] = 200
            return await special(behaviour, body)
        if behaviour == "reset":
            return self.reset()
        if behaviour.startswith(("fail-first-", "reset-first-")):
            key = (behaviour, headers.get("idempotency-key"))
            self.server.seen[key] += 1
            if self.server.seen[key] <= int(behaviour.rsplit("-", 1)[1]):
                if name == "reset":
                    return self.reset()
                return await self.error(503, "", entry)
        if name == "echo":
            return await self.echo(argument, headers, body, entry)
        if name.isdigit():
            return await self.error(int(name), argument, entry)
        if behaviour == "redirect":
            entry["status"] = 307
            await self.send(head(307, {"Location": METADATA}, 0))
            return True
        if name == "delay" or name == "explains" and argument:
            await self.pause(float(argument) / 1000)
        if behaviour == "no-schema":
            dialect = dialects.of_path(entry["path"])(body, entry["path"])
            if dialect.structured():
                return await self.error(400, "", entry, dialect.refusal)
        data = completion(behaviour, body, entry["path"])
        if behaviour == "html":
            data = b"<html><body>It works!</body></html>"
        entry["status"] = 200
        await self.send(head(200, {**JSON_TYPE,
                                   "x-request-id": f"req-{entry['n']}"},
                             len(data)) + data)
        return True

    async def send(self, data):
        """Writes all of it; Gone when the client is."""
        if self.writer.transport.is_closing():
            raise Gone
        self.writer.write(data)
        await self.writer.drain()

    async def pause(self, seconds):
        """Waits, unless the client closes before."""
        task = asyncio.ensure_future(self.reader.read(1))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            raise Gone
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def reset(self):
        """Ends the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False

    async def echo(self, status, headers, body, entry):
        """Gives the key back."""
        key = headers.get("authorization", "none").split(" ")[-1]
        entry["status"] = int(status or 200)
        answer = json.loads(completion("normal", body))
        answer.update(id=key, model=key)
        answer["choices"][0]["finish_reason"] = key
        if status:
            answer = {"error": {"code": key, "type": key, "message": key}}
        data = json.dumps(answer).encode()
        await self.send(head(entry["status"], {
            **JSON_TYPE, "x-request-id": key}, len(data)) + data)
        return True

    async def error(self, status, retry_after, entry, message="no"):
        """A status other than 200, with a body as providers send it."""
        entry["status"] = status
        headers = dict(JSON_TYPE)
        if retry_after == "date":
            retry_after = email.utils.formatdate(time.time() + 3600,
                                                 usegmt=True)
        if retry_after:
            headers["Retry-After"] = retry_after
        data = json.dumps({"error": {
            "message": message, "type": "server_error",
            "code": f"status_{status}"}}).encode()
        await self.send(head(status, headers, len(data)) + data)
        return True

    async def hang(self, behaviour, body):
        await self.pause(None)

    async def drop_by_drop(self, data):
        """One byte a second, until the client has enough."""
        for byte in data:
            await self.send(bytes([byte]))
            await self.pause(1)
        return False

    async def slow_headers(self, behaviour, body):
        data = completion("normal", body, self.path)
        return await self.drop_by_drop(head(200, JSON_TYPE, len(data)) + data)

    async def drip(self, behaviour, body):
        data = completion("normal", body, self.path)
        await self.send(head(200, JSON_TYPE, len(data)))
        return await self.drop_by_drop(data)

    async def close_midway(self, behaviour, body):
        data = completion("normal", body, self.path)
        await self.send(head(200, JSON_TYPE, len(data)))
        await self.send(data[: len(data) // 2])
        return False

    async def huge(self, behaviour, body):
        block = b"x" * 65536
        chunk = b"%x\r\n%s\r\n" % (len(block), block)
        await self.send(head(200, {**JSON_TYPE,
                                   "Transfer-Encoding": "chunked"}))
        for _ in range(HUGE // len(block)):
            await self.send(chunk)
        return False

    async def huge_length(self, behaviour, body):
        block = b"x" * 65536
        await self.send(head(200, JSON_TYPE, HUGE))
        for _ in range(HUGE // len(block)):
            await self.send(block)
        return False

    async def bomb(self, header):
        data = self.server.bomb()
        await self.send(head(200, {**JSON_TYPE, **header}) + data)
        return False

    async def gzip_bomb(self, behaviour, body):
        return await self.bomb({"Content-Encoding": "gzip"})

    async def te_bomb(self, behaviour, body):
        return await self.bomb({"Transfer-Encoding": "gzip"})

    async def endless_headers(self, behaviour, body):
        await self.send(b"HTTP/1.1 200 OK\r\n")
        for n in range(100_000_000):
            await self.send(b"X-Header-%d: %s\r\n" % (n, b"y" * 1000))
        return False


class AgentServer:
    """The journal and the behaviours of all connections."""

    def __init__(self):
        self.in_flight = 0
        self.bomb_data = None
        self.forget()

    def forget(self):
        self.journal = collections.deque(maxlen=100_000)
        self.requests = 0
        self.high_water = self.in_flight
        self.seen = collections.Counter()

    def stats(self):
        return {"requests": self.requests, "in_flight": self.in_flight,
                "high_water": self.high_water}

    def enter(self):
        self.in_flight += 1
        self.high_water = max(self.high_water, self.in_flight)

    def leave(self):
        self.in_flight -= 1

    def note(self, path, headers, body, behaviour):
        """Appends a call to the journal; the entry is filled in later."""
        self.requests += 1
        entry = {"n": self.requests, "at": time.time(), "path": path,
                 "behaviour": behaviour, "headers": headers,
                 "body": body.decode("utf-8", "replace"), "in_flight": 0,
                 "status": None, "closed_early": False}
        self.journal.append(entry)
        return entry

    @staticmethod
    def behaviour_of_path(path):
        """The first segment, unless the path is a plain endpoint's."""
        segment = path.split("?")[0].split("/")[1]
        plain = ("", "v1", "chat", "messages", "model", "score")
        return None if segment in plain else segment

    def behaviour(self, path, body):
        found = self.behaviour_of_path(path)
        if found is None:
            with contextlib.suppress(ValueError, AttributeError, TypeError):
                model = dialects.of_path(path)(body, path).model() or ""
                if model.startswith("test-"):
                    found = model[len("test-"):]
        return found or "normal"

    def bomb(self):
        """1 GB of zeros, compressed."""
        if self.bomb_data is None:
            # after a full flush the next megabyte looks like the last one
            megabyte = bytes(1024 * 1024)
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            part = packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH)
            crc = 0
            for _ in range(1024):
                crc = zlib.crc32(megabyte, crc)
            end = packer.flush() + struct.pack("<II", crc, 1024 ** 3)
            header = b"\x1f\x8b\x08\0\0\0\0\0\2\xff"
            self.bomb_data = header + part * 1024 + end
        return self.bomb_data

    async def connected(self, reader, writer):
        await Connection(self, reader, writer).run()

    async def start(self, port=0, tls=None):
        """Listens on loopback; returns asyncio's server."""
        return await asyncio.start_server(
            self.connected, "127.0.0.1", port, ssl=tls, limit=HEAD_LIMIT,
            backlog=4096)


def write_port(path, port):
    """The file appears with its content, or not at all."""
    with open(path + ".tmp", "w", encoding="ascii") as file:
        file.write(f"{port}\n")
    os.rename(path + ".tmp", path)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    options = parser.parse_args()
    tls = None
    if options.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = await AgentServer().start(options.port, tls)
    port = server.sockets[0].getsockname()[1]
    if options.port_file:
        write_port(options.port_file, port)
    print(port, flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
