// SPDX-License-Identifier: BSD-2-Clause
/*
 * One process for each case.
 *
 * A case's process leads a process group of its own, so that what it forked goes with it. It tells
 * why it failed in a page it shares with this one. It ends through exit(), so that a sanitizer's
 * word counts: any exit status but 0 is a failure.
 *
 * Two limits. CASE_SECONDS ends a case that hangs. TOTAL_SECONDS ends a run in which everything is
 * slow: where the machine is emulated, a hang in every case would otherwise take an hour to tell.
 */
#define _GNU_SOURCE
#include "runner.h"
#include "world.h"

#include <dray/stats.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASE_SECONDS  60
#define TOTAL_SECONDS 300

/* Shared with the process of the running case. */
struct verdict {
	atomic_flag told; /* somebody has written why */
	char why[768];
};

static struct verdict *verdict;

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

void contract_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (!atomic_flag_test_and_set(&verdict->told)) {
		int n = snprintf(verdict->why, sizeof(verdict->why), "%s:%d ", base_name(file),
				 line);

		va_start(ap, fmt);
		vsnprintf(verdict->why + n, sizeof(verdict->why) - (size_t)n, fmt, ap);
		va_end(ap);
	}
	/* Without exit handlers: other threads of the case may be anywhere. */
	_exit(1);
}

void contract_check_int(const char *file, int line, const char *what, long long got, long long want)
{
	if (got != want)
		contract_fail(file, line, "%s is %lld (0x%llx), not %lld (0x%llx)", what, got,
			      (unsigned long long)got, want, (unsigned long long)want);
}

static const char *error_name(int err)
{
	return err ? strerrorname_np(-err) : "0";
}

void contract_check_err(const char *file, int line, const char *what, int got, int want)
{
	if (got == want)
		return;
	contract_fail(file, line, "%s is %s, not %s; errmsg: %s", what,
		      got > 0 ? "positive" : error_name(got), error_name(want),
		      got < 0 ? dray_errmsg() : "-");
}

void contract_check_words(const char *file, int line, const char *word, ...)
{
	va_list ap;

	va_start(ap, word);
	for (; word; word = va_arg(ap, const char *))
		if (!strstr(dray_errmsg(), word))
			contract_fail(file, line, "\"%s\" is not in the message: %s", word,
				      dray_errmsg());
	va_end(ap);
}

static void run_case(const struct contract_case *c, struct rig *rig)
{
	int fds;

	setpgid(0, 0);
	world_start();
	fds = world_fds();
	c->run(rig);
	if (world_fds() != fds)
		contract_fail(__FILE__, __LINE__, "%d descriptors are open, %d were",
			      world_fds(), fds);
	exit(0);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Wait for @pid until @end. False: it had to be killed. */
static bool wait_until(pid_t pid, double end, int *ret_status)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	bool in_time = true;

	while (!waitpid(pid, ret_status, WNOHANG)) {
		if (in_time && now() >= end) {
			in_time = false;
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
		}
		nanosleep(&nap, NULL);
	}
	return in_time;
}

/* Print the line about one case. True: it passed. */
static bool judge(const struct contract_case *c, bool in_time, int status)
{
	if (verdict->why[0])
		printf("FAIL %s: %s\n", c->name, verdict->why);
	else if (!in_time)
		printf("FAIL %s: runner.c no end in sight; killed\n", c->name);
	else if (WIFSIGNALED(status))
		printf("FAIL %s: runner.c killed by signal %d (%s)\n", c->name, WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		printf("FAIL %s: runner.c exit status %d; see above\n", c->name,
		       WEXITSTATUS(status));
	else
		printf("ok %s (%s)\n", c->name, c->rows);
	return !verdict->why[0] && in_time && WIFEXITED(status) && !WEXITSTATUS(status);
}

static bool run_apart(const struct contract_case *c, struct rig *rig, double run_end)
{
	double end = now() + CASE_SECONDS;
	int status = 0;
	bool in_time;
	pid_t pid;

	memset(verdict, 0, sizeof(*verdict));
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		printf("FAIL %s: runner.c fork: %s\n", c->name, strerror(errno));
		return false;
	}
	if (!pid)
		run_case(c, rig);
	in_time = wait_until(pid, end < run_end ? end : run_end, &status);
	/* What the case forked and left behind. */
	kill(-pid, SIGKILL);
	return judge(c, in_time, status);
}

int runner_run(struct rig *rig, const char *only)
{
	double end = now() + TOTAL_SECONDS;
	int passed = 0, failed = 0;

	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (verdict == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (const struct contract_list *list = contract_lists; list->name; list++) {
		for (const struct contract_case *c = list->cases; c->name; c++) {
			if (only && strcmp(only, c->name) && strcmp(only, list->name))
				continue;
			if (run_apart(c, rig, end))
				passed++;
			else
				failed++;
			fflush(stdout);
		}
	}
	printf("%d passed, %d failed\n", passed, failed);
	return passed + failed ? failed : -1;
}

void runner_list(void)
{
	for (const struct contract_list *list = contract_lists; list->name; list++)
		for (const struct contract_case *c = list->cases; c->name; c++)
			printf("%s: %s (%s)\n", list->name, c->name, c->rows);
}
