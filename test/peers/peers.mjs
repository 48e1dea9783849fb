// Peers that others wrote, to call from test/tap/t/agent_peers.pl:
//
// - aimock, which answers as OpenAI, Azure, Anthropic, Bedrock and a moderation
//   service do, and keeps a journal at /__aimock/journal;
// - a server that checks AWS's signatures twice: by aws4-express, and by signing
//   the same request anew with the signer of AWS's SDK for JavaScript. Its
//   journal is at /journal.
//
// node peers.mjs FILE writes {"aimock": url, "aws": url} to FILE and serves until
// it is ended.
import { createHash } from "node:crypto";
import { renameSync, writeFileSync } from "node:fs";
import { Sha256 } from "@aws-crypto/sha256-js";
import { LLMock } from "@copilotkit/aimock";
import aws4 from "@filen/aws4-express";
import { SignatureV4 } from "@smithy/signature-v4";
import express from "express";

// The key pair of AWS's examples.
const accessKeyId = "AKIDEXAMPLE";
const secretAccessKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

async function startMock() {
  const mock = new LLMock({ port: 0 });
  const answer = {
    verdict: "review",
    confidence: 0.8,
    reasons: ["odd_hour"],
  };
  const usage = { prompt_tokens: 50, completion_tokens: 12, total_tokens: 62 };
  const structured = JSON.stringify({
    ...answer,
    score: 0.4,
    explanation: "Paid by jo@example.com at night.",
  });
  // a server that knows no schema, as older ones
  mock.on(
    { model: "no-schema", responseFormat: "json_schema" },
    {
      error: {
        message: "response_format json_schema is not supported",
        type: "invalid_request_error",
      },
      status: 400,
    },
  );
  mock.on(
    { model: "no-schema", responseFormat: "json_object" },
    { content: structured, usage },
  );
  mock.on(
    { model: "limited" },
    { error: { message: "slow down", type: "rate_limit_error" }, status: 429 },
  );
  mock.on(
    { model: "overloaded" },
    { error: { message: "busy", type: "overloaded_error" }, status: 529 },
  );
  mock.on(
    { model: "prose" },
    { content: "I would approve this payment.", usage },
  );
  mock.on(
    { model: "cut" },
    { content: '{"verdict": "app', finishReason: "length", usage },
  );
  mock.on({ responseFormat: "json_schema" }, { content: structured, usage });
  mock.on(
    { toolName: "verdict" },
    {
      toolCalls: [{ name: "verdict", arguments: JSON.stringify(answer) }],
      usage,
    },
  );
  mock.onModerate(/stolen/, {
    flagged: true,
    categories: { illicit: true },
    category_scores: { illicit: 0.9 },
  });
  await mock.start();
  return mock.url;
}

// What AWS's own signer makes of the request.
async function signAnew(request, sessionToken) {
  const signer = new SignatureV4({
    service: "bedrock",
    region: "us-east-1",
    credentials: { accessKeyId, secretAccessKey, sessionToken },
    sha256: Sha256,
  });
  const stamp = request.headers["x-amz-date"].replace(
    /^(....)(..)(..T..)(..)(..Z)$/,
    "$1-$2-$3:$4:$5",
  );
  const signed = await signer.sign(
    {
      method: request.method,
      protocol: "http:",
      hostname: request.headers.host,
      path: request.url,
      query: {},
      headers: {
        host: request.headers.host,
        "content-type": request.headers["content-type"],
        "x-amz-content-sha256": request.headers["x-amz-content-sha256"],
      },
      body: request.rawBody,
    },
    { signingDate: new Date(stamp) },
  );
  return signed.headers.authorization;
}

async function startVerifier() {
  const app = express();
  const journal = [];
  app.get("/journal", (request, response) => response.json(journal));
  app.use(express.raw({ type: "*/*", verify: aws4.rawBodyFromVerify }));
  app.use((request, response, next) => {
    request.entry = { path: request.url, verified: false, same: false };
    journal.push(request.entry);
    next();
  });
  app.use(
    aws4.awsVerify({
      secretKey: (message) =>
        message.accessKey === accessKeyId ? secretAccessKey : undefined,
    }),
  );
  app.post("/model/:id/converse", async (request, response) => {
    const entry = request.entry;
    const token = request.headers["x-amz-security-token"];
    entry.verified = true;
    entry.token = token;
    entry.age = Math.abs(
      Date.now() -
        Date.parse(
          request.headers["x-amz-date"].replace(
            /^(....)(..)(..T..)(..)(..Z)$/,
            "$1-$2-$3:$4:$5",
          ),
        ),
    );
    entry.hash =
      createHash("sha256").update(request.rawBody).digest("hex") ===
      request.headers["x-amz-content-sha256"];
    entry.same =
      (await signAnew(request, token)) === request.headers.authorization;
    entry.model = request.params.id;
    response.set("x-amzn-RequestId", "aws-request-1");
    response.json({
      output: {
        message: {
          role: "assistant",
          content: [
            {
              toolUse: {
                toolUseId: "tooluse_1",
                name: "verdict",
                input: { verdict: "decline", confidence: 0.9, reasons: [] },
              },
            },
          ],
        },
      },
      stopReason: "tool_use",
      usage: { inputTokens: 40, outputTokens: 9, totalTokens: 49 },
      metrics: { latencyMs: 1 },
    });
  });
  return new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () =>
      resolve(`http://127.0.0.1:${server.address().port}`),
    );
  });
}

const file = process.argv[2];
writeFileSync(
  `${file}.tmp`,
  JSON.stringify({ aimock: await startMock(), aws: await startVerifier() }),
);
renameSync(`${file}.tmp`, file);
