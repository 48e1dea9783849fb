/*-------------------------------------------------------------------------
 * master_key_command.c
 *		The command that agentpay.master_key names, run by the launcher.
 *
 * It is run when the setting or the configuration file changes, and again a
 * while after it failed; what it printed last stays until it prints something
 * else.  The launcher looks in each second and never waits: a command that
 * takes longer than its time is killed, with what it started.
 *
 * What is static here belongs to the launcher.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "privacy/master_key.h"

#define COMMAND_MS 5000
#define AGAIN_MS 30000

static pid_t child = 0;
static int output = -1;
static char printed[AGENTPAY_MASTER_KEY_TEXT];
static size_t printed_len = 0;
static TimestampTz started_at = 0;
static TimestampTz ended_at = 0;
static TimestampTz reloaded_at = 0;
static bool failed = false;
static char *reference = NULL; /* malloc'd */

static const char *start(const char *command);
static const char *look(void);
static void stop(void);
static void stop_at_exit(int code, Datum arg);
static const char *take(int status);
static void publish_none(void);

const char *
agentpay_master_key_tend(void)
{
	const char *setting = agentpay_master_key == NULL ? ""
													  : agentpay_master_key;
	TimestampTz now = GetCurrentTimestamp();
	bool changed = reference == NULL || strcmp(reference, setting) != 0;

	if (changed)
	{
		stop();
		free(reference);
		reference = strdup(setting);
		failed = false;
		publish_none();
	}
	if (child != 0)
		return look();
	if (reference == NULL || strncmp(setting, "command:", 8) != 0)
		return NULL;
	if (changed || reloaded_at != PgReloadTime ||
		(failed && TimestampDifferenceExceeds(ended_at, now, AGAIN_MS)))
	{
		reloaded_at = PgReloadTime;
		return start(setting + 8);
	}
	return NULL;
}

/* In a process group of its own, so that all of it can be ended. */
static const char *
start(const char *command)
{
	static bool watching = false;
	int ends[2];

	failed = true;
	ended_at = GetCurrentTimestamp();
	if (pipe(ends) != 0)
		return "could not make a pipe for the command of agentpay.master_key";
	fflush(NULL);
	child = fork();
	if (child == 0)
	{
		sigset_t none;
		int null = open("/dev/null", O_RDWR);

		(void) setpgid(0, 0);
		(void) dup2(null, STDIN_FILENO);
		(void) dup2(ends[1], STDOUT_FILENO);
		for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
			(void) close(fd);
		(void) signal(SIGPIPE, SIG_DFL);
		(void) signal(SIGTERM, SIG_DFL);
		(void) signal(SIGINT, SIG_DFL);
		(void) signal(SIGHUP, SIG_DFL);
		(void) sigemptyset(&none);
		(void) sigprocmask(SIG_SETMASK, &none, NULL);
		(void) execl("/bin/sh", "sh", "-c", command, (char *) NULL);
		_exit(127);
	}
	(void) close(ends[1]);
	if (child < 0)
	{
		child = 0;
		(void) close(ends[0]);
		return "could not start the command of agentpay.master_key";
	}
	(void) setpgid(child, child);
	output = ends[0];
	(void) fcntl(output, F_SETFL, O_NONBLOCK);
	(void) fcntl(output, F_SETFD, FD_CLOEXEC);
	if (!watching)
		on_proc_exit(stop_at_exit, (Datum) 0);
	watching = true;
	printed_len = 0;
	started_at = ended_at;
	return NULL;
}

/* Takes what there is; NULL, or why there is no key. */
static const char *
look(void)
{
	ssize_t got;
	int status;

	while (printed_len < sizeof(printed) &&
		   (got = read(output, printed + printed_len,
					   sizeof(printed) - printed_len)) > 0)
		printed_len += got;
	if (waitpid(child, &status, WNOHANG) == child)
	{
		/* what it wrote last is in the pipe */
		while (printed_len < sizeof(printed) &&
			   (got = read(output, printed + printed_len,
						   sizeof(printed) - printed_len)) > 0)
			printed_len += got;
		(void) kill(-child, SIGKILL);
		child = 0;
		return take(status);
	}
	if (!TimestampDifferenceExceeds(started_at, GetCurrentTimestamp(),
									COMMAND_MS))
		return NULL;
	stop();
	return "the command of agentpay.master_key took longer than 5 seconds, and was ended";
}

static void
stop(void)
{
	int status;

	if (child != 0)
	{
		(void) kill(-child, SIGKILL);
		(void) kill(child, SIGKILL);
		(void) waitpid(child, &status, 0);
		child = 0;
	}
	if (output >= 0)
		(void) close(output);
	output = -1;
	explicit_bzero(printed, sizeof(printed));
	ended_at = GetCurrentTimestamp();
}

static void
stop_at_exit(int code, Datum arg)
{
	stop();
}

static const char *
take(int status)
{
	AgentpayMasterKeys keys = {0};
	const char *problem = NULL;

	if (status != 0)
		problem = "the command of agentpay.master_key failed";
	else if (printed_len == sizeof(printed))
		problem = "the command of agentpay.master_key printed too much";
	else
		problem = agentpay_master_key_parse(printed, printed_len, &keys);
	stop();
	failed = problem != NULL;
	if (!failed)
		agentpay_master_key_publish(&keys);
	explicit_bzero(&keys, sizeof(keys));
	return problem;
}

static void
publish_none(void)
{
	AgentpayMasterKeys none = {0};

	agentpay_master_key_publish(&none);
}
