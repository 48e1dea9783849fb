/*-------------------------------------------------------------------------
 * velocity_stream_internal.h
 *		What a stream is, for the rooms that share the work on it:
 *
 *		velocity_stream.c	what is a stream, and a row as an event of it
 *		velocity_read.c		reading and adding
 *		velocity_load.c		filling an entry from the table
 *		velocity_row.c		what becomes of rows and transactions
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VELOCITY_STREAM_INTERNAL_H
#define AGENTPAY_VELOCITY_STREAM_INTERNAL_H

#include "postgres.h"

#include "scoring/features_internal.h"
#include "scoring/velocity_cache.h"
#include "scoring/velocity_key.h"
#include "scoring/velocity_stream.h"

/* A feature that is read from the stream, and what the row's value is. */
typedef struct AgentpayWindow
{
	AgentpayFeature *feature;
	bool known;
	bool isnull;
	double result;
	/* what was read of it under the lock */
	bool covered;
	AgentpayEventSum sum;
	TimestampTz latest; /* since_last */
	int first;			/* of the stream's identities */
	int last;
} AgentpayWindow;

/* How the row that is scored was added: to know the event again. */
typedef struct AgentpayAdded
{
	bool expected; /* the row is an event of the stream */
	int source;
	uint32 epoch;		 /* of the stream, then */
	uint32 incarnation;	 /* of the entry that has it; 0: none */
	uint32 drops;		 /* of its partition, then */
	uint64 hash;		 /* 0: its key is not known */
	AgentpayEvent event; /* tag 0: older than what is remembered */
} AgentpayAdded;

/* A row as an event. */
typedef enum AgentpayPresence
{
	AGENTPAY_EVENT_ABSENT, /* the filter, a NULL, no finite time */
	AGENTPAY_EVENT_PRESENT,
	AGENTPAY_EVENT_UNFIT /* has no form in the stream */
} AgentpayPresence;

struct AgentpayStream
{
	AgentpayStreams *owner;
	AgentpayFeature *feature; /* the first: its reader and expressions */
	Oid table;
	int source;
	char *definition;
	uint64 digest[2]; /* of the definition */
	uint32 epoch;	  /* of the stream in its source; 0: not remembered */
	AgentpayEventKind kind;
	bool squares; /* values are small enough for stddev */
	Oid type;	  /* of the values */
	int scale;	  /* of numeric ones */
	AgentpayKeyForm identity;
	int n_keys;
	AgentpayKeyForm *forms;
	AttrNumber *read_columns;  /* of the row whose windows are read */
	AttrNumber *event_columns; /* of the row as an event */
	Oid *read_types;
	Oid *event_types;
	bool same_key; /* both are the same columns */
	AttrNumber time;
	int64 lookback; /* the longest over + delay */
	bool only_last; /* since_last and nothing else */
	int n_windows;
	AgentpayWindow *windows;
	/* of the row that is being scored */
	uint64 row;
	uint64 undone;
	AgentpayAdded added;
	TimestampTz at;
	bool counts_itself; /* where a feature wants it to */
	AgentpayEventValue itself;
	AgentpayCacheKey key;
	AgentpayCacheKey event_key; /* unless same_key */
	int n_identities;
	int identities_room;
	AgentpayEventValue *identities;
};

/* A table whose rows the leaf's rows are. */
typedef struct AgentpayStreamSource
{
	int source;
	uint32 version; /* of its streams, as far as they are known here */
} AgentpayStreamSource;

struct AgentpayStreams
{
	MemoryContext context;
	Oid leaf;
	Bitmapset *received;
	List *tables;	 /* the leaf and its ancestors */
	uint32 registry; /* of sources, as far as it is known here */
	int n_sources;	 /* of these tables */
	AgentpayStreamSource *sources;
	List *streams; /* of AgentpayStream */
	bool scoring;  /* between begin and end */
	uint64 row;
};

extern void agentpay_streams_cover(AgentpayStreams *streams);

/* Values of columns as a key; false: one is NULL. *too_long: no key. */
extern bool
agentpay_stream_key(const AgentpayStream *stream, TupleTableSlot *row,
					bool as_event, AgentpayCacheKey *key, bool *too_long);

/* The row as an event, by the expressions over its leaf; its tag is 0. */
extern AgentpayPresence
agentpay_stream_event(AgentpayStream *stream,
					  const AgentpayLeafExpressions *expressions,
					  TupleTableSlot *row, TimestampTz at,
					  AgentpayEvent *event);
/* The row's own time; false: NULL or infinite. */
extern bool agentpay_stream_time(const AgentpayStream *stream,
								 TupleTableSlot *row, TimestampTz *at);

typedef enum AgentpayLoadResult
{
	AGENTPAY_LOADED,
	AGENTPAY_LOAD_RETRY, /* somebody's change came in between */
	AGENTPAY_LOAD_UNFIT	 /* the entry is BYPASS now */
} AgentpayLoadResult;

/*
 * Fills the entry that this session has made in state LOADING; the key's lock
 * is not held.  Raises what reading the table raises.
 */
extern AgentpayLoadResult
agentpay_stream_load(AgentpayStream *stream, const AgentpayCacheKey *key,
					 uint32 incarnation, TupleTableSlot *row, TimestampTz at);

/* Notes an event that goes when this subtransaction does. */
extern void agentpay_row_note(const AgentpayAdded *added);
/* Rises when events were taken out because a subtransaction failed. */
extern uint64 agentpay_row_undone(void);
/* Whether this transaction has changed rows of the table, or has given up. */
extern bool agentpay_row_changed(Oid table);
/* It has waited too long for a loader: it reads by index until it ends. */
extern void agentpay_row_give_up(void);

#endif /* AGENTPAY_VELOCITY_STREAM_INTERNAL_H */
