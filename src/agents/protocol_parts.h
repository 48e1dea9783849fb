/*-------------------------------------------------------------------------
 * protocol_parts.h
 *		What the protocols share; only for protocol_*.c.
 *
 * Pure: libc and json-c only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_PROTOCOL_PARTS_H
#define AGENTPAY_PROTOCOL_PARTS_H

#include <json-c/json.h>

#include "agents/protocol.h"
#include "base/json_writer.h"

typedef enum AgentpayOptionKind
{
	AGENTPAY_OPTION_NUMBER,
	AGENTPAY_OPTION_INTEGER,
	AGENTPAY_OPTION_WORD,	/* an identifier such as providers' enums are */
	AGENTPAY_OPTION_FLAG,	/* true or false */
	AGENTPAY_OPTION_HEADER, /* the name of a header that may hold a secret */
	AGENTPAY_OPTION_OBJECT, /* looked at by the protocol itself */
	AGENTPAY_OPTION_PATH,	/* where the fields go: agents/json_path.h */
} AgentpayOptionKind;

typedef struct AgentpayOptionRule
{
	const char *name;
	AgentpayOptionKind kind;
	double low; /* of numbers */
	double high;
	bool may_be_null;
	bool is_sent;		/* under its own name, by write_options() */
	const char *choice; /* of words: "a|b"; NULL: any */
	const char *remark; /* appended to the problem; NULL: none */
} AgentpayOptionRule;

/* As check_options() of a protocol, by a list of rules. */
extern const char *
agentpay_options_check(const AgentpayOptionRule *rules, size_t n_rules,
					   const char *options, size_t len, char *problem,
					   size_t size);

/* The options, to be put; NULL with *problem when they do not fit. */
extern json_object *
agentpay_options_read(const AgentpayOptionRule *rules, size_t n_rules,
					  const char *options, const char **problem);

/* Appends ,"name":value for each rule that is sent and given. */
extern void
agentpay_options_write(AgentpayJsonWriter *out, const AgentpayOptionRule *rules,
					   size_t n_rules, json_object *options);

/* The member of an object, NULL when there is none or no object. */
extern json_object *
agentpay_protocol_member(json_object *object, const char *name);

/* The text of an option, NULL when it is not given. */
extern const char *
agentpay_protocol_word(json_object *options, const char *name);

/* Whether the text is a short identifier: letters, digits, _ . - */
extern bool agentpay_protocol_is_word(const char *text);

/* Whether a word is one of "a|b|c". */
extern bool agentpay_protocol_is_choice(const char *choice, const char *word);

/* A short printable text, malloc'd; NULL when it is no string. */
extern char *agentpay_protocol_copy_string(json_object *value);

/* The same of a member of the envelope. */
extern char *agentpay_protocol_copy_text(json_object *parent, const char *name);

/* A count of tokens; -1 when there is none or it is no integer. */
extern int64_t agentpay_protocol_count(json_object *parent, const char *name);

/*
 * Appends the closed schema of an answer.  strict: every property required,
 * null instead of leaving out, as OpenAI's strict mode wants it; otherwise
 * score and explanation may be left out.
 */
extern void agentpay_protocol_write_schema(AgentpayJsonWriter *out,
										   const char *const *verdicts,
										   int n_verdicts, bool strict);

/* The same for a count that may be left out or null: 0 then. */
extern int64_t
agentpay_protocol_optional_count(json_object *parent, const char *name);

/* Usage of those who count cached tokens apart; sums that cannot be count as
 * none. */
extern void agentpay_protocol_set_usage(AgentpayAnswer *answer, int64_t input,
										int64_t cache_read, int64_t cache_write,
										int64_t output);

/* What was asked and answered in words took tokens: a count of none is no
 * count, as proxies give that do not know. */
extern void agentpay_protocol_doubt_usage(AgentpayAnswer *answer);

/* Zeroes the answer and parses the body; NULL: the answer says why. */
extern json_object *agentpay_protocol_envelope(const char *body, size_t len,
											   AgentpayAnswer *answer);

/* The one tool that carries the answer. */
#define AGENTPAY_PROTOCOL_TOOL "verdict"
#define AGENTPAY_PROTOCOL_TOOL_TEXT "Gives the verdict on the payment."

/* What an answer of several blocks holds. */
typedef struct AgentpayProtocolBlocks
{
	int n_tools;
	int n_texts;
	json_object *tool; /* the last one: name and input */
	json_object *text; /* the last one: text */
} AgentpayProtocolBlocks;

extern void
agentpay_protocol_add_tool(AgentpayProtocolBlocks *blocks, json_object *tool);
extern void
agentpay_protocol_add_text(AgentpayProtocolBlocks *blocks, json_object *text);

/*
 * Reads the answer out of the blocks: the input of the one tool, or, without
 * a call of any, the one text.  Looks at finish_reason, too.
 */
extern void agentpay_protocol_read_blocks(const AgentpayProtocolBlocks *blocks,
										  const AgentpayProtocolAgent *agent,
										  AgentpayAnswer *answer);

/*
 * A body without what begins with this text, which cannot stand in a string
 * of it, and goes to its end.  NULL when it has no such part.
 */
extern char *
agentpay_protocol_cut_body(const char *body, size_t *len, const char *part);

/*
 * The URL of a base: version is added to a bare origin only, suffix unless
 * it is there; a query stays at the end.
 */
extern char *agentpay_protocol_url(const char *base, const char *version,
								   const char *suffix, const char **problem);

/* The first of the members that is an identifier, written to code. */
extern void
agentpay_protocol_read_code(json_object *error, const char *const *names,
							int n_names, char *code, size_t size);

/* The same of a body whose member "error" is the object. */
extern void agentpay_protocol_read_error(const char *body, size_t len,
										 const char *const *names, int n_names,
										 char *code, size_t size);

/* Appends a header; name and value live as long as the headers are used. */
extern void agentpay_protocol_add_header(AgentpayProtocolHeaders *headers,
										 const char *name, const char *value);

/* The same with a copy of the value; false when there is no room. */
extern bool agentpay_protocol_add_copy(AgentpayProtocolHeaders *headers,
									   const char *name, const char *value);

/* What each call has: type, accepted type, idempotency key. */
extern void agentpay_protocol_common_headers(const AgentpayProtocolCall *call,
											 AgentpayProtocolHeaders *headers);

/*
 * Adds the secret under this name; for Authorization it is a bearer token,
 * unless it says its scheme itself.  False with *problem when it cannot stand
 * in a header.
 */
extern bool agentpay_protocol_secret_header(const AgentpayProtocolCall *call,
											const char *name,
											AgentpayProtocolHeaders *headers,
											const char **problem);

/* The first occurrence in bytes that may hold any; NULL: none. */
extern const char *
agentpay_protocol_find_text(const char *body, size_t len, const char *text);

#endif /* AGENTPAY_PROTOCOL_PARTS_H */
