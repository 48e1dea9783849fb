/*-------------------------------------------------------------------------
 * velocity.h
 *		Finds the rows of a table that share a row's key.
 *
 * features.c says which rows and computes from them; this room knows where
 * they are.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VELOCITY_H
#define AGENTPAY_VELOCITY_H

#include "postgres.h"

#include "access/skey.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "lib/ilist.h"
#include "utils/snapshot.h"

#include "base/config.h"

/* A leaf that can hold rows with the key. */
typedef struct AgentpayVelocitySource
{
	Oid relation;
	/* where its times lie, both inclusive, in units of the time column */
	int64 from;
	int64 until;
	/* the rest from the first time that the leaf is read */
	bool ready;
	Oid index;
	bool descending; /* the time column of the index */
	int *key_order;	 /* the key that each index column stands for */
	int n_scan_keys;
	ScanKeyData *keys;	  /* key columns, time above, time up to */
	AttrNumber time;	  /* of the leaf; 0: there is none */
	TupleTableSlot *slot; /* for its rows */
	void *extra;		  /* the visitor's; in MemoryContext context */
	MemoryContext context;
} AgentpayVelocitySource;

typedef struct AgentpayVelocity
{
	dlist_node node; /* of all readers of this session */
	MemoryContext context;
	MemoryContext reading; /* reset after each scan */
	Oid table;			   /* the root, if it is partitioned */
	Oid leaf;			   /* that gets the rows whose past is read */
	bool elsewhere;		   /* leaf is not where its key puts a row of table */
	int n_keys;
	char **keys;			 /* columns of table */
	AttrNumber *key_columns; /* of leaf, the same values */
	Oid *key_types;			 /* of these; domains: their base type */
	char *time_column;		 /* NULL: rows are found by keys that are unique */
	Oid time_type;			 /* timestamptz, timestamp or date */
	bool busy;	/* from begin to end of a scan: it serves no other one */
	bool stale; /* since it was made */
	bool sources_stale; /* since they were found */
	MemoryContext sources_context;
	int n_sources; /* the newest times first */
	AgentpayVelocitySource **sources;
	int n_watched; /* whose changes make the sources stale */
	int max_watched;
	Oid *watched;
} AgentpayVelocity;

/*
 * Who looks at rows.  row() returns false when it needs no older or younger
 * row of this leaf; it may raise after.  forget() is called when all begins
 * anew, because the table changed under the scan.  itself(), unless it is
 * NULL, gets the row whose past is read, at the end.  Rows without a time
 * column are shown at DT_NOEND, and lie between DT_NOBEGIN and that.
 */
typedef struct AgentpayVelocityScan
{
	TimestampTz after; /* exclusive */
	TimestampTz until; /* inclusive */
	bool newest_first; /* otherwise in no order */
	bool settled_only; /* what others have in flight does not count */
	/* while row() runs: the (sub)transaction that inserted the row, if it had
	 * not committed, also this one's; and its top-level one */
	TransactionId writer;
	TransactionId writer_top;
	bool (*row)(struct AgentpayVelocityScan *scan,
				AgentpayVelocitySource *source, TupleTableSlot *slot,
				TimestampTz at);
	void (*forget)(struct AgentpayVelocityScan *scan);
	void (*itself)(struct AgentpayVelocityScan *scan, TupleTableSlot *row);
	/* gets each transaction that changes or deletes a row with the key, and
	 * had not committed, unless it is NULL; maybe several times */
	void (*changing)(struct AgentpayVelocityScan *scan, TransactionId xid);
	void *arg;
} AgentpayVelocityScan;

/*
 * From now on scans leave out that row of a leaf: it is in the table already,
 * and its own past is read.  InvalidOid: no row.
 */
extern void agentpay_velocity_leave_out(Oid leaf, ItemPointer tid);

/*
 * A reader for rows of leaf; an error when leaf, if it is read itself, has no
 * index on the keys and the time.  It goes with the current memory context.
 */
extern AgentpayVelocity *
agentpay_velocity_make(const AgentpayFeatureConfig *config, Oid leaf);

/* Shows the scan every row with row's keys; none if one of them is NULL. */
extern void
agentpay_velocity_scan(AgentpayVelocity *velocity, TupleTableSlot *row,
					   AgentpayVelocityScan *scan);

/* A value of the time column as an instant, by the session's time zone. */
extern TimestampTz
agentpay_velocity_time(const AgentpayVelocity *velocity, Datum value);

/* velocity_judge.c: which row versions count, as of one instant. */
typedef struct AgentpayVelocityJudge
{
	MemoryContext context;
	Snapshot snapshot;
	bool twice_is_once; /* no harm if a row that moves is seen twice */
	bool settled_only;	/* no row that another transaction has in flight */
	bool in_flight_mattered;
	int n_in_flight; /* transactions */
	int max_in_flight;
	struct AgentpayVelocityInFlight *in_flight;
	/* of the version that was judged last; Invalid: it had committed */
	TransactionId writer; /* that inserted it; may be a subtransaction */
	TransactionId writer_top;
	TransactionId changer; /* that changes a row; also not top-level */
	bool listed;		   /* rows not listed are too late */
	int n_rows;
	int max_rows;
	struct AgentpayVelocityListed *rows;
} AgentpayVelocityJudge;

extern AgentpayVelocityJudge *agentpay_velocity_judge_make(bool twice_is_once);
/* Lists the version in slot if it was inserted in flight; that was all. */
extern void agentpay_velocity_judge_list(AgentpayVelocityJudge *judge,
										 TupleTableSlot *slot);
extern void agentpay_velocity_judge_listed(AgentpayVelocityJudge *judge);
/* Takes the snapshot, and lets it go; false: what was judged may be wrong. */
extern void agentpay_velocity_judge_begin(AgentpayVelocityJudge *judge);
extern bool agentpay_velocity_judge_end(AgentpayVelocityJudge *judge);
/* Whether the version in slot is the one by which its row counts. */
extern bool
agentpay_velocity_judge(AgentpayVelocityJudge *judge, TupleTableSlot *slot);

/* velocity_source.c: finds the leaves, and the index of one that is open. */
extern void agentpay_velocity_find_sources(AgentpayVelocity *velocity);
extern void
agentpay_velocity_prepare(AgentpayVelocity *velocity,
						  AgentpayVelocitySource *source, Relation relation);

#endif /* AGENTPAY_VELOCITY_H */
