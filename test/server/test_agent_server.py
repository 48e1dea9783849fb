"""The test agent server does what its behaviours say."""
import asyncio
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import agent_server  # noqa: E402

LIMIT_SECONDS = 20


def request_body(amount, model="m", verdicts=("approve", "review", "decline")):
    return json.dumps({
        "model": model,
        "messages": [
            {"role": "system", "content": "rules"},
            {"role": "user", "content": json.dumps({"amount": amount})}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {
            "properties": {"verdict": {"enum": list(verdicts)}}}}},
    }).encode()


class ServerTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.agents = agent_server.AgentServer()
        self.server = await self.agents.start()
        self.port = self.server.sockets[0].getsockname()[1]

    async def asyncTearDown(self):
        self.server.close()

    async def open(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.addAsyncCleanup(self.close, writer)
        return reader, writer

    @staticmethod
    async def close(writer):
        writer.close()

    async def send(self, path, body=b"", method="POST", headers=""):
        reader, writer = await self.open()
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return reader, writer

    async def call(self, path, body=b"", method="POST", headers=""):
        """Status, headers and body of one exchange."""
        reader, _ = await self.send(path, body, method, headers)
        return await asyncio.wait_for(self.read(reader), LIMIT_SECONDS)

    @staticmethod
    async def read(reader):
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode().split("\r\n")[:-2]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, body

    async def content(self, path, amount=5, **kwargs):
        status, _, body = await self.call(
            path + "/chat/completions", request_body(amount, **kwargs))
        self.assertEqual(status, 200)
        return json.loads(body)["choices"][0]["message"]["content"]

    async def test_amount_decides(self):
        for amount, verdict in ((5, "approve"), (100, "review"),
                                (999.99, "review"), (1000, "decline")):
            answer = json.loads(await self.content("/v1", amount))
            self.assertEqual(answer["verdict"], verdict)

    async def test_every_dialect_answers(self):
        payment = json.dumps({"amount": 500})
        schema = {"properties": {"verdict": {"enum": ["a", "b", "c"]}}}
        for path, request, where in (
            ("/v1/messages",
             {"model": "m", "messages": [{"role": "user", "content": payment}],
              "tools": [{"name": "verdict", "input_schema": schema}]},
             ("content", 0, "input", "verdict")),
            ("/model/m%3A0/converse",
             {"messages": [{"role": "user", "content": [{"text": payment}]}],
              "toolConfig": {"tools": [{"toolSpec": {
                  "name": "verdict", "inputSchema": {"json": schema}}}]}},
             ("output", "message", "content", 0, "toolUse", "input",
              "verdict")),
        ):
            _, _, body = await self.call(path, json.dumps(request).encode())
            answer = json.loads(body)
            for name in where:
                answer = answer[name]
            self.assertEqual(answer, "b")
        _, _, body = await self.call("/score", payment.encode())
        self.assertEqual(json.loads(body)["verdict"], "review")

    async def test_schema_is_refused(self):
        status, _, body = await self.call("/no-schema/chat/completions",
                                          request_body(5))
        self.assertEqual(status, 400)
        self.assertIn(b"response_format", body)
        plain = json.loads(request_body(5))
        del plain["response_format"]
        status, _, _ = await self.call("/no-schema/chat/completions",
                                       json.dumps(plain).encode())
        self.assertEqual(status, 200)

    async def test_usage_is_counted_and_repeatable(self):
        body = request_body(5)
        first = await self.call("/chat/completions", body)
        again = await self.call("/chat/completions", body)
        self.assertEqual(first[2], again[2])
        usage = json.loads(first[2])["usage"]
        self.assertEqual(usage["prompt_tokens"], -(-len(body) // 4))

    async def test_model_chooses_too(self):
        answer = await self.content("/v1", model="test-confidence-7")
        self.assertEqual(json.loads(answer)["confidence"], 7)

    async def test_bad_answers(self):
        for name in ("truncated-json", "prose", "fenced", "empty"):
            with self.assertRaises(json.JSONDecodeError, msg=name):
                json.loads(await self.content("/" + name))
        self.assertIn("NaN", await self.content("/nan"))
        self.assertEqual((await self.content("/duplicate-keys"))
                         .count("verdict"), 2)
        self.assertEqual(len(await self.content("/deep")), 20000)
        self.assertIn("\\u0000", await self.content("/nul"))
        _, _, body = await self.call("/bad-utf8/x", request_body(5))
        with self.assertRaises(UnicodeDecodeError):
            body.decode()

    async def test_obeys(self):
        answer = json.loads(await self.content("/obey", 5000))
        self.assertEqual(answer["verdict"], "approve")

    async def test_plays_a_role(self):
        body = json.loads(request_body(5))
        for row, verdict, reason in (
                ({"captured_amount": None, "authorised_amount": 5},
                 "exception", "NOT_CAPTURED"),
                ({"captured_amount": 100, "authorised_amount": 100,
                  "amount": 98.5, "fee": 1.5, "capture_settlements": 1,
                  "currency": "EUR", "captured_currency": "EUR"},
                 "matched", "FEE_EXPLAINS"),
                ({"reason_code": "10.4", "payment_refunds": 0,
                  "payment_reversals": 0, "payment_authenticated": False,
                  "amount": 60}, "escalate", "NO_EVIDENCE")):
            body["messages"][-1]["content"] = json.dumps(row)
            _, _, answer = await self.call("/role/x", json.dumps(body).encode())
            content = json.loads(
                json.loads(answer)["choices"][0]["message"]["content"])
            self.assertEqual((content["verdict"], content["reasons"]),
                             (verdict, [reason]))

    async def test_statuses(self):
        for path, status, retry in (
                ("/429--1/x", 429, "-1"), ("/503-1000000000/x", 503,
                                           "1000000000"), ("/500/x", 500, None)):
            got, headers, _ = await self.call(path, request_body(5))
            self.assertEqual((got, headers.get("retry-after")),
                             (status, retry))
        got, headers, _ = await self.call("/429-date/x", request_body(5))
        self.assertIn("gmt", headers["retry-after"])
        got, headers, _ = await self.call("/redirect/x", request_body(5))
        self.assertEqual(got, 307)
        self.assertTrue(headers["location"].startswith("http://169.254."))

    async def test_fails_first_per_key(self):
        statuses = []
        for key in ("a", "a", "b"):
            got, _, _ = await self.call("/fail-first-1/x", request_body(5),
                                        headers=f"Idempotency-Key: {key}\r\n")
            statuses.append(got)
        self.assertEqual(statuses, [503, 200, 503])

    async def test_resets(self):
        for path in ("/reset/x", "/reset-before/x"):
            reader, _ = await self.send(path, request_body(5))
            with self.assertRaises(ConnectionError):
                await asyncio.wait_for(reader.read(), LIMIT_SECONDS)

    async def test_closes_midway(self):
        reader, _ = await self.send("/close/x", request_body(5))
        with self.assertRaises(asyncio.IncompleteReadError):
            await asyncio.wait_for(self.read(reader), LIMIT_SECONDS)

    async def test_streams_without_end(self):
        for path in ("/huge/x", "/huge-length/x", "/endless-headers/x"):
            reader, writer = await self.send(path, request_body(5))
            await asyncio.wait_for(reader.readexactly(1 << 22), LIMIT_SECONDS)
            writer.close()

    async def test_hang_and_concurrency(self):
        calls = [await self.send("/hang/x", request_body(5)) for _ in range(50)]
        await self.until(lambda: self.agents.in_flight == 50)
        for _, writer in calls:
            writer.close()
        await self.until(lambda: self.agents.in_flight == 0)
        self.assertEqual(self.agents.stats()["high_water"], 50)
        self.assertTrue(all(e["closed_early"] for e in self.agents.journal))

    async def until(self, condition):
        async with asyncio.timeout(LIMIT_SECONDS):
            while not condition():
                await asyncio.sleep(0)

    async def test_journal_and_reset(self):
        await self.call("/normal/x", request_body(7), headers="X-A: b\r\n")
        _, _, body = await self.call("/journal", method="GET")
        (entry,) = [json.loads(line) for line in body.splitlines()]
        self.assertEqual(entry["headers"]["x-a"], "b")
        self.assertEqual(entry["body"].encode(), request_body(7))
        self.assertEqual((entry["status"], entry["in_flight"]), (200, 1))
        await self.call("/reset")
        _, _, body = await self.call("/journal", method="GET")
        self.assertEqual(body, b"")


if __name__ == "__main__":
    unittest.main()
