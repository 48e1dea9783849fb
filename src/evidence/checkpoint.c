/*-------------------------------------------------------------------------
 * checkpoint.c
 *		Signs how large the log is and what its root is, and exports that.
 *
 * A checkpoint that left the machine is what a superuser cannot take back, so
 * it leaves only when what it says has been flushed, and a log that is not the
 * one of the checkpoint that left before does not sign under the same origin:
 * restored from an older backup, or cut off by a crash that lost what it had
 * flushed, it would be a second history under one name.
 *
 * The private key is in a file that a setting names.  It is read for each
 * signature and wiped; it is never in the database.
 *
 * Locking: the lock of the tree, so that one session at a time signs and
 * writes the file.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/errors.h"
#include "base/settings.h"
#include "evidence/checkpoint.h"
#include "evidence/tree.h"
#include "evidence/tree_write.h"

/* A PEM file of an Ed25519 key has 119 bytes. */
#define MAX_KEY_FILE 4096

static AgentpayNoteSigner *read_signer(void);
static void check_key_file(int fd, const char *path);
static void write_checkpoint(const AgentpaySeal *seal);
static void note_key(const AgentpayNoteKey *key);
static void check_exported(const AgentpaySeal *seal, AgentpayTree *tree);
static char *exported_path(void);
static char *read_file(const char *path, size_t *len);
static void write_file(const char *path, const char *text);
static void refuse_fork(const char *path, const char *what);

PG_FUNCTION_INFO_V1(agentpay_sql_sign);

void
agentpay_checkpoint_sign(void)
{
	Snapshot snapshot;
	AgentpaySeal seal;
	AgentpayTree *tree;
	int64 signed_size = 0;

	if (agentpay_log_origin[0] == '\0' ||
		agentpay_checkpoint_key_file[0] == '\0')
		return;
	agentpay_tree_lock();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(snapshot);
	(void) agentpay_checkpoint_last(snapshot, &signed_size);
	if (agentpay_tree_last_seal(snapshot, &seal) &&
		seal.tree_size > signed_size)
	{
		tree = agentpay_tree_open(snapshot);
		check_exported(&seal, tree);
		agentpay_tree_close(tree);
		write_checkpoint(&seal);
	}
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
}

/* The key of agentpay.checkpoint_key_file, or an error. */
static AgentpayNoteSigner *
read_signer(void)
{
	const char *path = agentpay_checkpoint_key_file;
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	char pem[MAX_KEY_FILE];
	ssize_t len;
	AgentpayNoteSigner *signer;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open the key of checkpoints \"%s\": %m",
						path),
				 errhint("Make it with openssl genpkey -algorithm ed25519 "
						 "-out %s, readable for the server's user only.",
						 path)));
	check_key_file(fd, path);
	len = read(fd, pem, sizeof(pem));
	CloseTransientFile(fd);
	signer = len > 0 ? agentpay_note_signer(pem, len) : NULL;
	explicit_bzero(pem, sizeof(pem));
	if (signer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("file \"%s\" has no Ed25519 private key in PEM", path),
				 errhint("Make one with openssl genpkey -algorithm ed25519 "
						 "-out %s",
						 path)));
	return signer;
}

/* As PostgreSQL does for the key of TLS: nobody else may read it. */
static void
check_key_file(int fd, const char *path)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not stat file \"%s\": %m", path)));
	if (!S_ISREG(status.st_mode) ||
		(status.st_uid != geteuid() && status.st_uid != 0) ||
		(status.st_uid == geteuid() &&
		 (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) ||
		(status.st_uid == 0 &&
		 (status.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("others may read the key of checkpoints \"%s\"", path),
				 errhint("chmod 600 %s, owned by the server's user; or owned "
						 "by root with mode 640.",
						 path)));
}

/* Signs, and appends the checkpoint. */
static void
write_checkpoint(const AgentpaySeal *seal)
{
	AgentpayCheckpoint checkpoint = {.size = seal->tree_size,
									 .root = seal->root};
	AgentpayNoteKey key;
	AgentpayJsonWriter note = {0};
	AgentpayNoteSigner *signer = read_signer();
	AgentpayTreeWriter *writer;
	Datum values[4];
	bool done;

	strlcpy(checkpoint.origin, agentpay_log_origin, sizeof(checkpoint.origin));
	done = agentpay_note_signer_key(signer, agentpay_log_origin, &key) &&
		   agentpay_note_sign(signer, &key, &checkpoint, &note);
	agentpay_note_free_signer(signer);
	if (!done)
	{
		free(note.data);
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not sign a checkpoint")));
	}
	values[0] = Int64GetDatum(seal->tree_size);
	values[1] = agentpay_tree_hash_datum(&seal->root);
	values[2] = PointerGetDatum(cstring_to_text_with_len(note.data, note.len));
	values[3] = TimestampTzGetDatum(agentpay_clock_now());
	free(note.data);
	note_key(&key);
	writer = agentpay_tree_writer_open("checkpoints");
	agentpay_tree_writer_put(writer, values);
	agentpay_tree_writer_close(writer);
}

/* A key that was not used before is on record, here and in governance_log. */
static void
note_key(const AgentpayNoteKey *key)
{
	AgentpayJsonWriter vkey = {0};
	AgentpayTreeWriter *writer;
	Oid types[1] = {TEXTOID};
	Datum values[2];

	agentpay_note_write_key(key, &vkey);
	if (vkey.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	values[0] = CStringGetTextDatum(vkey.data);
	values[1] = TimestampTzGetDatum(agentpay_clock_now());
	free(vkey.data);
	if (SPI_execute_with_args("SELECT FROM agentpay._log_keys WHERE vkey = $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read agentpay._log_keys");
	if (SPI_processed > 0)
		return;
	writer = agentpay_tree_writer_open("_log_keys");
	agentpay_tree_writer_put(writer, values);
	agentpay_tree_writer_close(writer);
	if (SPI_execute_with_args(
			"SELECT agentpay._append(ROW(agentpay._uuid_v7(),"
			" agentpay._now(), 'agentpay', 'insert', 'key', $1,"
			" 'checkpoints are signed with it', NULL, NULL,"
			" NULL)::agentpay.governance_log)",
			1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not record the key of checkpoints");
}

/*
 * Raises an error when the exported checkpoint is not one of this log as far
 * as it goes now.
 */
static void
check_exported(const AgentpaySeal *seal, AgentpayTree *tree)
{
	char *path = exported_path();
	AgentpayCheckpoint exported;
	AgentpayHash root;
	size_t len;
	char *note;

	if (path == NULL)
		return;
	note = read_file(path, &len);
	if (note == NULL)
		return;
	if (agentpay_note_read(note, len, &exported) != NULL)
		refuse_fork(path, "it is no checkpoint");
	if (strcmp(exported.origin, agentpay_log_origin) != 0)
		refuse_fork(path, psprintf("it is of the origin %s", exported.origin));
	if (!agentpay_checkpoint_known(note, len))
		refuse_fork(path, "no key that this log has signed with signed it");
	if (exported.size > (uint64) seal->tree_size)
		refuse_fork(path, psprintf("it is of " UINT64_FORMAT
								   " leaves, and the log has " INT64_FORMAT,
								   exported.size, seal->tree_size));
	if (!agentpay_merkle_root(agentpay_tree_source(tree), exported.size, &root))
		agentpay_tree_broken(seal->tree_size);
	if (!agentpay_merkle_equal(&root, &exported.root))
		refuse_fork(path, psprintf("the first " UINT64_FORMAT
								   " leaves of the log are others",
								   exported.size));
}

/* Whether a key of agentpay._log_keys signed that note. */
bool
agentpay_checkpoint_known(const char *note, size_t len)
{
	bool known = false;

	if (SPI_execute("SELECT vkey FROM agentpay._log_keys", true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not read agentpay._log_keys");
	for (uint64 i = 0; i < SPI_processed && !known; i++)
	{
		AgentpayNoteKey key;

		known = agentpay_note_read_key(SPI_getvalue(SPI_tuptable->vals[i],
													SPI_tuptable->tupdesc, 1),
									   &key) &&
				agentpay_note_verify(note, len, &key);
	}
	return known;
}

static void
refuse_fork(const char *path, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_AGENTPAY_FORK),
			 errmsg("the log is not that of its exported checkpoint: %s", what),
			 errdetail("The checkpoint is in file \"%s\"; another history of "
					   "the log may not be signed under the origin \"%s\".",
					   path, agentpay_log_origin),
			 errhint("If an older backup was restored: ALTER SYSTEM SET "
					 "agentpay.log_origin = '%s-2'; begins a new log, and "
					 "the old checkpoints stay as they are.",
					 agentpay_log_origin)));
}

void
agentpay_checkpoint_export(void)
{
	char *path = exported_path();
	Snapshot snapshot;
	AgentpayCheckpoint last;
	AgentpayCheckpoint exported;
	int64 tree_size;
	size_t len;
	char *note;
	char *old;

	if (path == NULL)
		return;
	agentpay_tree_lock();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	note = agentpay_checkpoint_last(snapshot, &tree_size);
	UnregisterSnapshot(snapshot);
	if (note == NULL || agentpay_note_read(note, strlen(note), &last) != NULL ||
		strcmp(last.origin, agentpay_log_origin) != 0)
		return;
	old = read_file(path, &len);
	if (old != NULL)
	{
		if (strcmp(old, note) == 0)
			return;
		if (agentpay_note_read(old, len, &exported) != NULL ||
			strcmp(exported.origin, last.origin) != 0 ||
			exported.size >= last.size)
			refuse_fork(path, "it is not one that went before");
	}
	write_file(path, note);
}

const char *
agentpay_checkpoint_kept(Snapshot snapshot, AgentpayCheckpoint *checkpoint)
{
	char *path = exported_path();
	int64 size;
	size_t len;
	char *note = agentpay_checkpoint_last(snapshot, &size);
	AgentpayTree *tree;
	AgentpayHash root;
	bool same;

	if (note == NULL)
		return "no checkpoint has been signed";
	if (path != NULL)
	{
		note = read_file(path, &len);
		if (note == NULL)
			return psprintf("no checkpoint is in file \"%s\"", path);
	}
	if (agentpay_note_read(note, strlen(note), checkpoint) != NULL ||
		!agentpay_checkpoint_known(note, strlen(note)))
		return "the last checkpoint is not signed with a key of this log";
	tree = agentpay_tree_open(snapshot);
	same = agentpay_merkle_root(agentpay_tree_source(tree), checkpoint->size,
								&root) &&
		   agentpay_merkle_equal(&root, &checkpoint->root);
	agentpay_tree_close(tree);
	return same ? NULL : "the log is not that of its last checkpoint";
}

char *
agentpay_checkpoint_last(Snapshot snapshot, int64 *tree_size)
{
	AgentpayTreeReader reader;
	char *note = NULL;
	bool isnull;

	agentpay_tree_reader_open(&reader, "checkpoints", AGENTPAY_CHECKPOINT_SIZE,
							  0, snapshot);
	index_rescan(reader.scan, NULL, 0, NULL, 0);
	*tree_size = 0;
	if (agentpay_tree_reader_next(&reader, BackwardScanDirection))
	{
		*tree_size = DatumGetInt64(
			slot_getattr(reader.slot, AGENTPAY_CHECKPOINT_SIZE, &isnull));
		note = TextDatumGetCString(
			slot_getattr(reader.slot, AGENTPAY_CHECKPOINT_NOTE, &isnull));
	}
	agentpay_tree_reader_close(&reader);
	return note;
}

/* NULL: nothing is exported. */
static char *
exported_path(void)
{
	char *name;

	if (agentpay_checkpoint_directory[0] == '\0' ||
		agentpay_log_origin[0] == '\0')
		return NULL;
	name = pstrdup(agentpay_log_origin);
	for (char *c = name; *c != '\0'; c++)
		if (*c == '/')
			*c = '_';
	return psprintf("%s/%s.checkpoint", agentpay_checkpoint_directory, name);
}

/* NULL: there is no such file. */
static char *
read_file(const char *path, size_t *len)
{
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	char *text;
	ssize_t got;

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not open file \"%s\": %m", path)));
	text = palloc(AGENTPAY_NOTE_MAX_LENGTH + 1);
	got = read(fd, text, AGENTPAY_NOTE_MAX_LENGTH);
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read file \"%s\": %m", path)));
	CloseTransientFile(fd);
	text[got] = '\0';
	*len = got;
	return text;
}

/* Whole or not at all, and there to stay. */
static void
write_file(const char *path, const char *text)
{
	char *temporary = psprintf("%s.tmp", path);
	size_t len = strlen(text);
	int fd = OpenTransientFile(temporary,
							   O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", temporary),
				 errhint("agentpay.checkpoint_directory must be there, and "
						 "writable for the server's user.")));
	errno = 0;
	if (write(fd, text, len) != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not write file \"%s\": %m", temporary)));
	}
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not close file \"%s\": %m", temporary)));
	/* flushes the file, and after the rename the directory */
	durable_rename(temporary, path, ERROR);
}

/* agentpay._sign_checkpoint() */
Datum
agentpay_sql_sign(PG_FUNCTION_ARGS)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	agentpay_checkpoint_sign();
	SPI_finish();
	PG_RETURN_VOID();
}
