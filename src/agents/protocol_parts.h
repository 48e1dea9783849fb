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

/* A short printable text of the envelope, malloc'd; NULL: there is none. */
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

/* The first of the members that is an identifier, written to code. */
extern void
agentpay_protocol_read_code(json_object *error, const char *const *names,
							int n_names, char *code, size_t size);

/* Appends a header; name and value live as long as the headers are used. */
extern void agentpay_protocol_add_header(AgentpayProtocolHeaders *headers,
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
