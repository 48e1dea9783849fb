/*-------------------------------------------------------------------------
 * proofs.c
 *		canonical_leaf(), and proofs that a row is in the log and that the log
 *		only grew.
 *
 * Locking: AccessShareLock on what is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

#include "base/owner.h"
#include "evidence/checkpoint.h"
#include "evidence/log_row.h"
#include "evidence/note.h"
#include "evidence/tree.h"
#include "evidence/tree_write.h"

/* inclusion_proof() waits so long for the seal, and looks so often. */
#define WAIT_MS 2000
#define LOOK_EVERY_MS 20

/* What an inclusion proof is made of, or what is missing. */
typedef enum Readiness
{
	PROOF_READY,
	NOT_SEALED,
	NOT_SIGNED
} Readiness;

static bool find_row(const pg_uuid_t *key, AgentpayJsonWriter *json);
static char *absence(Datum key);
static void refuse_unknown(Datum key) pg_attribute_noreturn();
static void refuse_unready(Readiness readiness) pg_attribute_noreturn();
static Readiness try_proof(const pg_uuid_t *key, text **proof);
static text *write_proof(const AgentpayLeaf *leaf,
						 const AgentpayMerklePath *path, const char *note);
static text *utf8_to_text(const char *data, size_t len);

PG_FUNCTION_INFO_V1(agentpay_sql_canonical_leaf);
PG_FUNCTION_INFO_V1(agentpay_sql_inclusion_proof);
PG_FUNCTION_INFO_V1(agentpay_sql_consistency_proof);
PG_FUNCTION_INFO_V1(agentpay_sql_checkpoint);

/* agentpay.canonical_leaf(decision_id uuid): of any row of the four logs. */
Datum
agentpay_sql_canonical_leaf(PG_FUNCTION_ARGS)
{
	AgentpayJsonWriter json = {0};
	text *result;

	if (!find_row(PG_GETARG_UUID_P(0), &json))
		refuse_unknown(PG_GETARG_DATUM(0));
	result = utf8_to_text(json.data, json.len);
	free(json.data);
	PG_RETURN_TEXT_P(result);
}

/* Under the statement's snapshot; the caller frees what is in the writer. */
static bool
find_row(const pg_uuid_t *key, AgentpayJsonWriter *json)
{
	for (int log = 0; log < AGENTPAY_SEALED_LOGS; log++)
		if (agentpay_log_row_find(log, key, GetActiveSnapshot(), json))
			return true;
	return false;
}

/* Whether it never was, or retention dropped it. */
static char *
absence(Datum key)
{
	Oid types[1] = {UUIDOID};
	AgentpayOwnerReading reading;
	char *text;

	agentpay_owner_read_begin(&reading);
	agentpay_owner_select(&reading, "SELECT agentpay._absence($1)", 1, types,
						  &key, 1);
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	text = MemoryContextStrdup(TopTransactionContext,
							   text == NULL ? "It never was there." : text);
	agentpay_owner_read_end(&reading);
	return text;
}

static void
refuse_unknown(Datum key)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no row of a log has the id %s",
					DatumGetCString(DirectFunctionCall1(uuid_out, key))),
			 errdetail_internal("%s", absence(key)),
			 errhint("SELECT decision_id FROM agentpay.decisions WHERE point "
					 "= ... AND row_id = ...;")));
}

/*
 * agentpay.inclusion_proof(decision_id uuid): a c2sp.org/tlog-proof@v1 file.
 * A row that has just committed is sealed and signed within a second, so a
 * proof is waited for.
 */
Datum
agentpay_sql_inclusion_proof(PG_FUNCTION_ARGS)
{
	pg_uuid_t *key = PG_GETARG_UUID_P(0);
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													WAIT_MS);
	Readiness readiness = try_proof(key, NULL);
	AgentpayJsonWriter json = {0};
	text *proof;

	if (readiness == NOT_SEALED)
	{
		if (!find_row(key, &json))
			refuse_unknown(PG_GETARG_DATUM(0));
		free(json.data);
	}
	while ((readiness = try_proof(key, &proof)) != PROOF_READY &&
		   GetCurrentTimestamp() < until)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_EVERY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (readiness != PROOF_READY)
		refuse_unready(readiness);
	PG_RETURN_TEXT_P(proof);
}

static void
refuse_unready(Readiness readiness)
{
	if (readiness == NOT_SEALED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row is not in the Merkle log yet"),
				 errdetail("The governor seals rows that have committed, once "
						   "in agentpay.seal_interval."),
				 errhint("SELECT state, last_error FROM agentpay.stat_workers "
						 "WHERE worker = 'governor';")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no signed checkpoint has the row yet"),
			 errdetail("Checkpoints are signed by the governor, where "
					   "agentpay.log_origin and agentpay.checkpoint_key_file "
					   "are set."),
			 errhint("SELECT state, last_error FROM agentpay.stat_workers "
					 "WHERE worker = 'governor';")));
}

/* Whether there is a proof by now; proof NULL: only whether it is sealed. */
static Readiness
try_proof(const pg_uuid_t *key, text **proof)
{
	/* what committed after the statement began counts, too */
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	AgentpayTree *tree = agentpay_tree_open(snapshot);
	AgentpayMerklePath path;
	Readiness readiness = NOT_SEALED;
	AgentpayLeaf leaf;
	int64 size;
	char *note;

	if (agentpay_tree_find(tree, key, &leaf))
	{
		note = agentpay_checkpoint_last(snapshot, &size);
		readiness = note != NULL && size > leaf.index ? PROOF_READY
													  : NOT_SIGNED;
		if (readiness == PROOF_READY && proof != NULL)
		{
			if (!agentpay_merkle_inclusion(agentpay_tree_source(tree),
										   leaf.index, size, &path))
				agentpay_tree_broken(size);
			*proof = write_proof(&leaf, &path, note);
		}
	}
	agentpay_tree_close(tree);
	UnregisterSnapshot(snapshot);
	return readiness;
}

static text *
write_proof(const AgentpayLeaf *leaf, const AgentpayMerklePath *path,
			const char *note)
{
	AgentpayJsonWriter out = {0};
	char line[64];
	text *proof;

	snprintf(line, sizeof(line),
			 "c2sp.org/tlog-proof@v1\nindex " INT64_FORMAT "\n", leaf->index);
	agentpay_json_write(&out, line);
	for (int i = 0; i < path->count; i++)
	{
		agentpay_base64_encode(path->hashes[i].bytes, AGENTPAY_HASH_SIZE, &out);
		agentpay_json_write(&out, "\n");
	}
	agentpay_json_write(&out, "\n");
	agentpay_json_write(&out, note);
	if (out.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	proof = cstring_to_text_with_len(out.data, out.len);
	free(out.data);
	return proof;
}

/*
 * agentpay.consistency_proof(first_size, second_size): hashes, as RFC 9162
 * orders them; second_size NULL: that of the last checkpoint.
 */
Datum
agentpay_sql_consistency_proof(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	AgentpayTree *tree;
	AgentpayMerklePath path;
	AgentpaySeal seal = {0};
	Datum hashes[AGENTPAY_MERKLE_MAX_PATH];
	int64 first;
	int64 second;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	first = PG_GETARG_INT64(0);
	(void) agentpay_tree_last_seal(snapshot, &seal);
	if (!PG_ARGISNULL(1))
		second = PG_GETARG_INT64(1);
	else if (agentpay_checkpoint_last(snapshot, &second) == NULL)
		second = seal.tree_size;
	if (first < 1 || first > second || second > seal.tree_size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no consistency proof from " INT64_FORMAT
						" to " INT64_FORMAT " leaves",
						first, second),
				 errdetail("The log has " INT64_FORMAT " leaves; with the "
						   "empty tree every one is consistent.",
						   seal.tree_size),
				 errhint("SELECT tree_size FROM agentpay.checkpoints ORDER BY "
						 "tree_size;")));
	tree = agentpay_tree_open(snapshot);
	if (!agentpay_merkle_consistency(agentpay_tree_source(tree), first, second,
									 &path))
		agentpay_tree_broken(second);
	agentpay_tree_close(tree);
	for (int i = 0; i < path.count; i++)
		hashes[i] = agentpay_tree_hash_datum(&path.hashes[i]);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(hashes, path.count, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* agentpay.checkpoint(): the last signed note. */
Datum
agentpay_sql_checkpoint(PG_FUNCTION_ARGS)
{
	int64 size;
	char *note = agentpay_checkpoint_last(GetActiveSnapshot(), &size);

	if (note == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no checkpoint has been signed"),
				 errdetail("Checkpoints are signed by the governor, where "
						   "agentpay.log_origin and "
						   "agentpay.checkpoint_key_file are set."),
				 errhint("ALTER SYSTEM SET agentpay.log_origin = "
						 "'example.com/ledger';")));
	PG_RETURN_TEXT_P(cstring_to_text(note));
}

/* In the database's encoding, as every text. */
static text *
utf8_to_text(const char *data, size_t len)
{
	char *server = pg_any_to_server(data, len, PG_UTF8);

	return server == data ? cstring_to_text_with_len(data, len)
						  : cstring_to_text(server);
}
