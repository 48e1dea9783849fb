/*-------------------------------------------------------------------------
 * master_key.c
 *		The master keys, from a file, or from shared memory where the launcher
 *		has put what the command printed.
 *
 * Each process reads the file itself, past stdio, whose buffers keep what
 * went through them.  A command may hang, so no payment runs it: until the
 * launcher has its answer there is no key, and nothing is sealed.
 *
 * Locking: the shared keys by their LWLock; the generation is atomic.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "base/shmem.h"
#include "privacy/master_key.h"

#define LOOK_AGAIN_MS 1000

typedef struct SharedKeys
{
	LWLock *lock;
	pg_atomic_uint64 generation; /* rises with each change */
	AgentpayMasterKeys keys;
} SharedKeys;

/* What a file was when it was read. */
typedef struct FileState
{
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified;
	struct timespec changed;
} FileState;

static SharedKeys *shared = NULL;

static AgentpayMasterKeys mine;
static uint64 my_generation = 1;
static const char *my_problem = NULL;
static char *my_reference = NULL; /* malloc'd: mine are of this one */
static FileState my_file;
static TimestampTz looked_at = 0;
static uint64 shared_generation = 0;

static void request_memory(void);
static void start_memory(void);
static void look(const char *reference);
static void look_at_file(const char *path);
static void look_at_shared(void);
static void read_file(int fd);
static void keep(const AgentpayMasterKeys *keys, const char *problem);
static void wipe_at_exit(int code, Datum arg);

void
agentpay_master_key_install(void)
{
	static const AgentpayShmemPart part = {request_memory, start_memory};

	agentpay_shmem_add_part(&part);
}

static void
request_memory(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedKeys)));
	RequestNamedLWLockTranche("agentpay master key", 1);
}

static void
start_memory(void)
{
	bool found;

	shared = ShmemInitStruct("agentpay master key", sizeof(SharedKeys), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(SharedKeys));
	shared->lock = &GetNamedLWLockTranche("agentpay master key")->lock;
	pg_atomic_init_u64(&shared->generation, 1);
}

const AgentpayMasterKeys *
agentpay_master_keys(bool fresh, uint64 *generation, const char **problem)
{
	const char *reference = agentpay_master_key;
	TimestampTz now = GetCurrentTimestamp();

	if (reference == NULL)
		reference = "";
	if (my_reference == NULL || strcmp(my_reference, reference) != 0)
	{
		free(my_reference);
		my_reference = strdup(reference);
		memset(&my_file, 0, sizeof(my_file));
		shared_generation = 0;
		fresh = true;
		keep(NULL, "agentpay.master_key is not set");
	}
	if (fresh || strncmp(reference, "command:", 8) == 0 ||
		TimestampDifferenceExceeds(looked_at, now, LOOK_AGAIN_MS))
	{
		looked_at = now;
		look(reference);
	}
	*generation = my_generation;
	*problem = my_problem;
	return mine.count > 0 ? &mine : NULL;
}

void
agentpay_master_keys_wipe(void)
{
	explicit_bzero(&mine, sizeof(mine));
	memset(&my_file, 0, sizeof(my_file));
	shared_generation = 0;
	looked_at = 0;
}

void
agentpay_master_key_publish(const AgentpayMasterKeys *keys)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (memcmp(&shared->keys, keys, sizeof(*keys)) != 0)
	{
		explicit_bzero(&shared->keys, sizeof(shared->keys));
		shared->keys = *keys;
		pg_atomic_fetch_add_u64(&shared->generation, 1);
	}
	LWLockRelease(shared->lock);
}

const char *
agentpay_master_key_parse(const char *text, size_t len,
						  AgentpayMasterKeys *keys)
{
	const char *end = text + len;

	memset(keys, 0, sizeof(*keys));
	while (text < end)
	{
		const char *eol = memchr(text, '\n', end - text);
		size_t size = (eol == NULL ? end : eol) - text;
		const char *line = text;
		AgentpayMasterKey *key = &keys->keys[keys->count];

		text += size + 1;
		while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == ' '))
			size--;
		if (size == 0)
			continue;
		if (keys->count == AGENTPAY_MASTER_KEYS)
			return "there are more than 8 master keys";
		if (size != 2 * AGENTPAY_KEY_SIZE)
			return "a line is not 64 hexadecimal digits";
		for (size_t i = 0; i < size; i++)
		{
			static const char digits[] = "0123456789abcdefABCDEF";
			const char *digit = memchr(digits, line[i], sizeof(digits) - 1);
			int value;

			if (digit == NULL)
				return "a line is not 64 hexadecimal digits";
			value = (int) (digit - digits);
			if (value > 15)
				value -= 6;
			key->bytes[i / 2] = (uint8) (key->bytes[i / 2] << 4 | value);
		}
		if (!agentpay_cipher_name(key->bytes, key->name))
			return "out of memory";
		keys->count++;
	}
	return keys->count == 0 ? "there is no key in it" : NULL;
}

static void
look(const char *reference)
{
	if (strncmp(reference, "file:", 5) == 0)
		look_at_file(reference + 5);
	else if (strncmp(reference, "command:", 8) == 0)
		look_at_shared();
}

/* Reads the file if it is not the one that was read. */
static void
look_at_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat state;
	FileState file = {0};

	if (fd < 0 || fstat(fd, &state) != 0)
	{
		if (fd >= 0)
			close(fd);
		memset(&my_file, 0, sizeof(my_file));
		keep(NULL, "the file of agentpay.master_key cannot be read");
		return;
	}
	file.device = state.st_dev;
	file.inode = state.st_ino;
	file.size = state.st_size;
	file.modified = state.st_mtim;
	file.changed = state.st_ctim;
	if (memcmp(&file, &my_file, sizeof(file)) != 0)
	{
		my_file = file;
		if (!S_ISREG(state.st_mode))
			keep(NULL, "the file of agentpay.master_key is no regular file");
		else if ((state.st_uid != geteuid() && state.st_uid != 0) ||
				 (state.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0 ||
				 (state.st_uid != 0 && (state.st_mode & S_IRGRP) != 0))
			keep(
				NULL,
				"the file of agentpay.master_key is open to others: it "
				"belongs to the server's user with mode 0600, or to root with 0640");
		else
			read_file(fd);
	}
	close(fd);
}

static void
read_file(int fd)
{
	char text[AGENTPAY_MASTER_KEY_TEXT];
	AgentpayMasterKeys keys;
	size_t len = 0;
	const char *problem = NULL;

	while (len < sizeof(text))
	{
		ssize_t got = read(fd, text + len, sizeof(text) - len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			problem = "the file of agentpay.master_key cannot be read";
		if (got <= 0)
			break;
		len += got;
	}
	if (problem == NULL && len == sizeof(text))
		problem = "the file of agentpay.master_key is too long";
	if (problem == NULL)
		problem = agentpay_master_key_parse(text, len, &keys);
	keep(problem == NULL ? &keys : NULL, problem);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(&keys, sizeof(keys));
}

static void
look_at_shared(void)
{
	AgentpayMasterKeys keys;

	if (pg_atomic_read_u64(&shared->generation) == shared_generation)
		return;
	LWLockAcquire(shared->lock, LW_SHARED);
	shared_generation = pg_atomic_read_u64(&shared->generation);
	keys = shared->keys;
	LWLockRelease(shared->lock);
	keep(&keys, "the command of agentpay.master_key has given no key");
	explicit_bzero(&keys, sizeof(keys));
}

/* keys NULL or none: there is none, for that reason. */
static void
keep(const AgentpayMasterKeys *keys, const char *problem)
{
	static int watching_pid = 0;

	if (watching_pid != MyProcPid && keys != NULL)
	{
		on_proc_exit(wipe_at_exit, (Datum) 0);
		watching_pid = MyProcPid;
	}
	explicit_bzero(&mine, sizeof(mine));
	if (keys != NULL)
		mine = *keys;
	my_problem = mine.count > 0 ? NULL : problem;
	my_generation++;
}

static void
wipe_at_exit(int code, Datum arg)
{
	agentpay_master_keys_wipe();
}
