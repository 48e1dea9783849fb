"""The protocols that the test agent server speaks, told apart by the path.

Each dialect reads what matters out of a request, and wraps an answer: content
is text that may be broken, and goes in as it is where the protocol has JSON.
"""
import json
import re
import zlib

TEXT = {"prose", "fenced", "empty", "html"}  # no tool is called then


def of_path(path):
    """The dialect of a request's path."""
    path = path.split("?")[0]
    if path.endswith("/messages"):
        return Messages
    if path.endswith("/converse"):
        return Converse
    if path.endswith("/score"):
        return Plain
    return Completions


def by_name(value, *names):
    """What stands at these names or indexes, None when nothing does."""
    for name in names:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            return None
    return value


class Dialect:
    """What a request says; for one call."""

    schema_path = ()
    refusal = "no such parameter"

    def __init__(self, body, path):
        self.body = body
        self.path = path
        self.request = json.loads(body)

    def verdicts(self):
        """The vocabulary: from the schema, else from the instructions."""
        schema = by_name(self.request, *self.schema_path)
        listed = by_name(schema, "properties", "verdict", "enum")
        found = listed or re.findall(r"^- ([a-z][a-z0-9_]*)", self.system(),
                                     re.M)
        return found or ["approve", "review", "decline"]

    def model(self):
        return by_name(self.request, "model")

    def structured(self):
        """Whether the shape of the answer is asked for by a schema."""
        return bool(self.schema_path and by_name(self.request,
                                                 *self.schema_path))

    def tokens(self, content):
        """Input and output, as good as any count."""
        return -(-len(self.body) // 4), -(-len(content) // 4)


class Completions(Dialect):
    """OpenAI's chat completions."""

    schema_path = ("response_format", "json_schema", "schema")
    refusal = "response_format json_schema is not supported"

    def text(self, role):
        for message in self.request.get("messages", []):
            if message.get("role") == role:
                return message.get("content") or ""
        return ""

    def system(self):
        return self.text("system")

    def payment(self):
        return self.text("user")

    def envelope(self, behaviour, content):
        message = {"role": "assistant", "content": content, "refusal": None}
        if behaviour == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "No."}
        input_tokens, output_tokens = self.tokens(content)
        usage = {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        if behaviour == "usage-negative":
            usage["prompt_tokens"] = -5
        elif behaviour == "usage-absurd":
            usage["completion_tokens"] = 10 ** 15
        envelope = {
            "id": f"chatcmpl-{zlib.crc32(self.body):08x}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": self.request.get("model"),
            "choices": [{
                "index": 0,
                "message": message,
                "finish_reason": "length" if behaviour == "length" else "stop",
            }],
        }
        if behaviour != "usage-missing":
            envelope["usage"] = usage
        return json.dumps(envelope)


class Tools(Dialect):
    """Where an answer is the input of a tool that is called."""

    input_name = output_name = None  # of usage

    def usage(self, behaviour, content):
        input_tokens, output_tokens = self.tokens(content)
        if behaviour == "usage-negative":
            input_tokens = -5
        elif behaviour == "usage-absurd":
            output_tokens = 10 ** 15
        return {self.input_name: input_tokens, self.output_name: output_tokens}

    def fill(self, behaviour, content, envelope, block):
        """The envelope with the content raw in its place."""
        if behaviour != "usage-missing":
            envelope["usage"] = self.usage(behaviour, content)
        return json.dumps(envelope).replace('"BLOCK"', block)


class Messages(Tools):
    """Anthropic's messages."""

    schema_path = ("tools", 0, "input_schema")
    refusal = "tool_choice is not supported"
    input_name, output_name = "input_tokens", "output_tokens"

    def system(self):
        return self.request.get("system") or ""

    def payment(self):
        return by_name(self.request, "messages", 0, "content") or ""

    def envelope(self, behaviour, content):
        stop = {"length": "max_tokens", "refusal": "refusal"}.get(
            behaviour, "tool_use")
        if behaviour in TEXT or not self.structured():
            block = json.dumps({"type": "text", "text": content})
        else:
            block = ('{"type": "tool_use", "id": "toolu_1", "name": "verdict",'
                     ' "input": %s}' % content)
        return self.fill(behaviour, content, {
            "id": f"msg_{zlib.crc32(self.body):08x}", "type": "message",
            "role": "assistant", "model": self.request.get("model"),
            "content": ["BLOCK"], "stop_reason": stop}, block)


class Converse(Tools):
    """Amazon Bedrock's converse; signatures are not checked."""

    schema_path = ("toolConfig", "tools", 0, "toolSpec", "inputSchema", "json")
    refusal = "This model doesn't support the toolConfig.toolChoice field."
    input_name, output_name = "inputTokens", "outputTokens"

    def system(self):
        return by_name(self.request, "system", 0, "text") or ""

    def payment(self):
        return by_name(self.request, "messages", 0, "content", 0, "text") or ""

    def model(self):
        return self.path.split("/")[-2]

    def envelope(self, behaviour, content):
        stop = {"length": "max_tokens", "refusal": "content_filtered"}.get(
            behaviour, "tool_use")
        if behaviour in TEXT or not self.structured():
            block = json.dumps({"text": content})
        else:
            block = ('{"toolUse": {"toolUseId": "t1", "name": "verdict",'
                     ' "input": %s}}' % content)
        return self.fill(behaviour, content, {
            "output": {"message": {"role": "assistant", "content": ["BLOCK"]}},
            "stopReason": stop, "metrics": {"latencyMs": 1}}, block)


class Plain(Dialect):
    """A scoring service: the payment in, the answer out."""

    def system(self):
        return ""

    def payment(self):
        return self.body.decode()

    def envelope(self, behaviour, content):
        return content
