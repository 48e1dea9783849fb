"""HTTP/2 for the test agent, by the library h2.

A connection takes any number of streams.  The first segment of the path
chooses the behaviour, as in agent_server.py; here are

  normal, delay-MS, always-VERDICT ... as there
  hang               no answer
  drip               one byte a second of the body
  huge               10 GB of body, as fast as the client takes it
  endless-headers    header blocks without end
  refused            RST_STREAM REFUSED_STREAM once the request was read
  reset              RST_STREAM INTERNAL_ERROR likewise
  goaway             answers, then asks to use another connection
  echo               the request's headers, in the answer's text and its id
"""
import asyncio
import contextlib
import json

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

import agent_server

STREAMS = 100


class Stream:
    """One call."""

    def __init__(self, headers):
        self.headers = headers
        self.body = b""


class Http2Connection:
    """One client's connection, with all of its streams."""

    def __init__(self, listener, reader, writer, max_streams=STREAMS):
        self.listener = listener
        self.reader = reader
        self.writer = writer
        self.streams = {}
        self.tasks = set()
        self.room = asyncio.Event()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1"))
        self.max_streams = max_streams

    async def run(self):
        """Serves until the client closes."""
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS:
                self.max_streams})
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.handle(event)
                self.flush()
        except (ConnectionError, h2.exceptions.ProtocolError, OSError):
            pass
        finally:
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.writer.write(data)

    def handle(self, event):
        """What the client did."""
        if isinstance(event, h2.events.RequestReceived):
            self.streams[event.stream_id] = Stream(dict(event.headers))
            self.listener.enter(len(self.streams))
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(
                event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            task = asyncio.ensure_future(self.answer(event.stream_id))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif isinstance(event, h2.events.StreamReset):
            self.streams.pop(event.stream_id, None)
            self.listener.cancelled += 1
            self.room.set()
        elif isinstance(event, h2.events.WindowUpdated):
            self.room.set()

    async def answer(self, number):
        """One call, from its whole request to its end."""
        stream = self.streams[number]
        path = stream.headers[":path"]
        name = agent_server.AgentServer.behaviour_of_path(path) or "normal"
        self.listener.note(path, stream.headers, stream.body, name)
        with contextlib.suppress(h2.exceptions.ProtocolError, ConnectionError):
            await self.behave(number, name, stream)
        self.streams.pop(number, None)

    async def behave(self, number, name, stream):
        kind, _, argument = name.partition("-")
        if name in ("refused", "reset"):
            self.h2.reset_stream(
                number, h2.errors.ErrorCodes.REFUSED_STREAM
                if name == "refused" else h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.flush()
            return
        if name == "hang":
            await asyncio.Event().wait()
        if name == "endless-headers":
            await self.endless_headers(number)
        if kind == "delay":
            await asyncio.sleep(float(argument) / 1000)
        extra = []
        if name == "echo":
            body = json.dumps(stream.headers).encode()
            extra = [("x-request-id", stream.headers["authorization"])]
        elif name == "huge":
            body = bytes(65536)
        else:
            body = agent_server.completion(name, stream.body)
        self.h2.send_headers(number, [
            (":status", "200"), ("content-type", "application/json"), *extra])
        if name == "drip":
            for byte in body:
                await self.send(number, bytes([byte]))
                await asyncio.sleep(1)
        elif name == "huge":
            for _ in range(agent_server.HUGE // len(body)):
                await self.send(number, body)
        else:
            await self.send(number, body)
        self.h2.end_stream(number)
        if name == "goaway":
            self.h2.close_connection()
        self.flush()
        await self.writer.drain()

    async def send(self, number, data):
        """All of it, as the client's windows allow."""
        while data:
            self.room.clear()
            size = min(self.h2.local_flow_control_window(number),
                       self.h2.max_outbound_frame_size, len(data))
            if size == 0:
                await self.room.wait()
                continue
            self.h2.send_data(number, data[:size])
            data = data[size:]
            self.flush()
            await self.pause()

    async def pause(self):
        """Until the client takes more; lets its end be seen meanwhile."""
        await self.writer.drain()
        await asyncio.sleep(0)

    async def endless_headers(self, number):
        """A header block that goes on and on; h2 itself would not send it."""
        block = self.h2.encoder.encode([(":status", "200")])
        frame = hyperframe.frame.HeadersFrame(number)
        frame.data = block
        self.writer.write(frame.serialize())
        for n in range(10_000_000):
            frame = hyperframe.frame.ContinuationFrame(number)
            # a literal that is not indexed: name x-<n>, value of 1000 bytes
            key = b"x-%d" % n
            frame.data = (b"\0" + bytes([len(key)]) + key + b"\x7f"
                          + bytes([0x80 | (1000 - 127) & 0x7f,
                                   (1000 - 127) >> 7]) + b"y" * 1000)
            self.writer.write(frame.serialize())
            await self.pause()
