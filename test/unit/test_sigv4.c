/*-------------------------------------------------------------------------
 * test_sigv4.c
 *		AWS's own test vectors, and what is taken for AWS credentials.
 *
 * The vectors are those of AWS's Signature Version 4 test suite: service
 * "service" in us-east-1, the key pair of its examples, 2015-08-30T12:36:00Z.
 * The paths of models, which that suite has not, were signed by the signer of
 * AWS's SDK for JavaScript (@smithy/signature-v4 5.7.5).
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/sigv4.h"
#include "tap.h"

#define TOKEN                                                              \
	"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWL" \
	"WsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQr" \
	"mGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HF" \
	"vlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scq" \
	"Kmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
#define HOST                            \
	{                                   \
		"Host", "example.amazonaws.com" \
	}
#define DATE                             \
	{                                    \
		"X-Amz-Date", "20150830T123600Z" \
	}

typedef struct Vector
{
	const char *name;
	const char *method;
	const char *path;
	const char *query;
	AgentpayHttpHeader headers[4];
	const char *body;
	const char *signed_names;
	const char *signature;
} Vector;

static const Vector vectors[] = {
	{"get-vanilla",
	 "GET",
	 "/",
	 "",
	 {HOST, DATE},
	 "",
	 "host;x-amz-date",
	 "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"post-vanilla",
	 "POST",
	 "/",
	 "",
	 {DATE, HOST},
	 "",
	 "host;x-amz-date",
	 "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"get-unreserved",
	 "GET",
	 "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	 "",
	 {HOST, DATE},
	 "",
	 "host;x-amz-date",
	 "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{"get-utf8",
	 "GET",
	 "/\xE1\x88\xB4",
	 "",
	 {HOST, DATE},
	 "",
	 "host;x-amz-date",
	 "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
	{"get-vanilla-query-order-key-case",
	 "GET",
	 "/",
	 "Param1=value1&Param2=value2",
	 {HOST, DATE},
	 "",
	 "host;x-amz-date",
	 "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"get-header-value-trim",
	 "GET",
	 "/",
	 "",
	 {HOST, {"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}, DATE},
	 "",
	 "host;my-header1;my-header2;x-amz-date",
	 "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{"post-header-value-case",
	 "POST",
	 "/",
	 "",
	 {{"My-Header1", "VALUE1"}, HOST, DATE},
	 "",
	 "host;my-header1;x-amz-date",
	 "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{"post-header-key-sort",
	 "POST",
	 "/",
	 "",
	 {DATE, {"My-Header1", "value1"}, HOST},
	 "",
	 "host;my-header1;x-amz-date",
	 "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{"post-sts-header-before",
	 "POST",
	 "/",
	 "",
	 {{"X-Amz-Security-Token", TOKEN}, HOST, DATE},
	 "",
	 "host;x-amz-date;x-amz-security-token",
	 "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
	{"post-x-www-form-urlencoded",
	 "POST",
	 "/",
	 "",
	 {{"Content-Type", "application/x-www-form-urlencoded"}, HOST, DATE},
	 "Param1=value1",
	 "content-type;host;x-amz-date",
	 "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
};

static void
set_example(AgentpayAwsCredentials *credentials)
{
	memset(credentials, 0, sizeof(*credentials));
	strcpy(credentials->access_key, "AKIDEXAMPLE");
	strcpy(credentials->secret_key, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
}

static void
test_vectors(void)
{
	AgentpayAwsCredentials credentials;

	set_example(&credentials);
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
	{
		const Vector *v = &vectors[i];
		char hash[AGENTPAY_SIGV4_HASH_SIZE];
		char date[AGENTPAY_SIGV4_DATE_SIZE];
		char value[AGENTPAY_SIGV4_VALUE_SIZE] = "";
		char expected[AGENTPAY_SIGV4_VALUE_SIZE];
		const char *problem = NULL;
		AgentpaySigv4Request request = {.method = v->method,
										.path = v->path,
										.query = v->query,
										.headers = v->headers,
										.payload_sha256 = hash,
										.region = "us-east-1",
										.service = "service",
										.date = date};

		while (request.n_headers < 4 && v->headers[request.n_headers].name)
			request.n_headers++;
		/* date -u -d 2015-08-30T12:36:00Z +%s */
		agentpay_sigv4_date(1440938160, date);
		snprintf(expected, sizeof(expected),
				 "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/"
				 "service/aws4_request, SignedHeaders=%s, Signature=%s",
				 v->signed_names, v->signature);
		check(agentpay_sigv4_hash(v->body, strlen(v->body), hash) &&
				  agentpay_sigv4_sign(&request, &credentials, value,
									  &problem) &&
				  strcmp(value, expected) == 0,
			  "%s", v->name);
	}
}

/* A path that the SDK encodes once, and signs encoded twice. */
static void
expect_model(const char *path, const char *signature, const char *what)
{
	static const AgentpayHttpHeader headers[] = {
		{"Content-Type", "application/json"},
		{"Host", "bedrock-runtime.us-east-1.amazonaws.com"},
		{"X-Amz-Date", "20150830T123600Z"},
		{"X-Amz-Content-Sha256",
		 "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}};
	AgentpaySigv4Request request = {.method = "POST",
									.path = path,
									.query = "",
									.headers = headers,
									.n_headers = 4,
									.payload_sha256 = headers[3].value,
									.region = "us-east-1",
									.service = "bedrock",
									.date = "20150830T123600Z"};
	AgentpayAwsCredentials credentials;
	char value[AGENTPAY_SIGV4_VALUE_SIZE] = "";
	const char *problem;

	set_example(&credentials);
	check(agentpay_sigv4_sign(&request, &credentials, value, &problem) &&
			  strlen(value) > 64 &&
			  strcmp(value + strlen(value) - 64, signature) == 0,
		  "%s", what);
}

static void
test_models(void)
{
	char hash[AGENTPAY_SIGV4_HASH_SIZE];

	expect_model("/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
				 "c30d36b012922b9e5c247b449e0accd3a0d1299e1ead16e468797d1f7391"
				 "917b",
				 "a model's id with a colon");
	expect_model("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-"
				 "profile%2Fus.x/converse",
				 "23addb630c368c739498b1c75e3a72ecb2d928aff398f263a2ac1f9f31fe"
				 "b32f",
				 "an ARN with a slash");
	/* sha256sum of {} */
	check(agentpay_sigv4_hash("{}", 2, hash) &&
			  strcmp(hash, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310"
						   "c060f61caaff8a") == 0,
		  "the hash of a payload");
}

/* 2026-01-01T00:00:00Z */
#define NOW ((time_t) 1767225600)

static void
expect_credentials(const char *text, const char *profile, bool good,
				   const char *token, const char *what)
{
	AgentpayAwsCredentials credentials;
	const char *problem = NULL;
	bool read = agentpay_aws_credentials_read(text, profile, NOW, &credentials,
											  &problem);

	check(read == good &&
			  (!good || (strcmp(credentials.access_key, "AKID1") == 0 &&
						 strcmp(credentials.secret_key, "s/e+c=1") == 0 &&
						 strcmp(credentials.session_token, token) == 0)),
		  "%s: %s", what, read ? "taken" : problem);
}

static void
test_json(void)
{
#define KEYS "\"AccessKeyId\":\"AKID1\",\"SecretAccessKey\":\"s/e+c=1\""
	expect_credentials("{" KEYS "}", NULL, true, "", "two keys");
	expect_credentials(" {\"Version\":1," KEYS ",\"SessionToken\":\"t/=1\"}",
					   NULL, true, "t/=1", "with a token");
	expect_credentials("{" KEYS ",\"SessionToken\":null}", NULL, true, "",
					   "a null token");
	expect_credentials("{" KEYS ",\"Expiration\":\"2026-01-01T00:00:01Z\"}",
					   NULL, true, "", "a second left");
	expect_credentials("{" KEYS ",\"Expiration\":\"2026-01-01T00:00:00Z\"}",
					   NULL, false, "", "no second left");
	expect_credentials("{" KEYS
					   ",\"Expiration\":\"2026-01-01T01:00:01.5+01:00\"}",
					   NULL, true, "", "with an offset");
	expect_credentials("{" KEYS
					   ",\"Expiration\":\"2026-01-01T00:59:00+01:00\"}",
					   NULL, false, "", "with an offset, over");
	expect_credentials("{" KEYS ",\"Expiration\":\"soon\"}", NULL, false, "",
					   "no time");
	expect_credentials("{" KEYS ",\"Expiration\":1}", NULL, false, "",
					   "a number for a time");
	expect_credentials("{\"AccessKeyId\":\"AKID1\"}", NULL, false, "",
					   "half the keys");
	expect_credentials("{" KEYS ",\"SessionToken\":\"a\\r\\nX: y\"}", NULL,
					   false, "", "a line break in the token");
	expect_credentials("{\"AccessKeyId\":\"A/B\",\"SecretAccessKey\":\"x\"}",
					   NULL, false, "", "a slash in the access key");
	expect_credentials("{\"AccessKeyId\":\"\",\"SecretAccessKey\":\"x\"}", NULL,
					   false, "", "an empty key");
	expect_credentials("{" KEYS, NULL, false, "", "no JSON");
	expect_credentials("[]", NULL, false, "", "an array");
#undef KEYS
}

static void
test_ini(void)
{
	static const char file[] =
		"# made by hand\r\n[other]\naws_access_key_id = AKID2\n"
		"aws_secret_access_key=zzz\n\n[default]\r\n"
		"  aws_access_key_id = AKID1  \r\nregion = us-east-1\n"
		"; the secret\naws_secret_access_key=s/e+c=1\n"
		"[ with token ]\naws_access_key_id=AKID1\n"
		"aws_secret_access_key = s/e+c=1\nAWS_SESSION_TOKEN=tok==";

	expect_credentials(file, NULL, true, "", "the default profile");
	expect_credentials(file, "with token", true, "tok==", "a profile by name");
	expect_credentials(file, "third", false, "", "no such profile");
	expect_credentials("", NULL, false, "", "nothing");
	expect_credentials("AKID1:s/e+c=1", NULL, false, "", "a pair");
	expect_credentials("[default]\naws_access_key_id=AKID1\n", NULL, false, "",
					   "half a profile");
	expect_credentials("[default]\naws_access_key_id=AKID1\n"
					   "aws_secret_access_key=a b\n",
					   NULL, false, "", "a blank in a key");
	expect_credentials("[default\naws_access_key_id=AKID1\n", NULL, false, "",
					   "a head without its end");
}

static void
test_limits(void)
{
	char text[AGENTPAY_AWS_MAX_TOKEN + 200];
	char token[AGENTPAY_AWS_MAX_TOKEN + 2];

	for (int len = AGENTPAY_AWS_MAX_TOKEN; len <= AGENTPAY_AWS_MAX_TOKEN + 1;
		 len++)
	{
		memset(token, 't', len);
		token[len] = '\0';
		snprintf(text, sizeof(text),
				 "{\"AccessKeyId\":\"AKID1\",\"SecretAccessKey\":\"s/e+c=1\","
				 "\"SessionToken\":\"%s\"}",
				 token);
		expect_credentials(text, NULL, len == AGENTPAY_AWS_MAX_TOKEN, token,
						   "a long token");
	}
}

int
main(void)
{
	test_vectors();
	test_models();
	test_json();
	test_ini();
	test_limits();
	return tap_done();
}
