// SPDX-License-Identifier: BSD-2-Clause
/*
 * Time: how long anything waits, with the clock in the test's hand; and the helper thread, with a
 * real one, of which only what it does is checked and never when.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TIMEOUT_US 800u
#define TIMEOUT    (TIMEOUT_US * US)

static const struct dr_flush_opts polled = {
	.polled = true, .lazy = true, .timeout_us = TIMEOUT_US,
};
static const struct dr_flush_opts helped = { .lazy = true, .timeout_us = TIMEOUT_US };

static uint64_t timer_flushes(const struct rig *rig)
{
	return rig_stats(rig).flushes[DR_FLUSH_TIMER];
}

/* Never before half the timeout, always from then on. */
static void test_half_the_timeout(void **state)
{
	struct rig rig;
	dray_iova_t iova;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	for (unsigned round = 0; round < 3; round++) {
		/* However long it was quiet before. */
		rig_now += round * 12345 * US;
		iova = rig_map(&rig, 1);
		assert_true(rig_reaches(&rig, iova));
		rig_put(&rig, iova, 1);
		rig_now += TIMEOUT / 2 - 1;
		dr_flush_poll(rig.f);
		assert_int_equal(timer_flushes(&rig), round);
		assert_true(rig_reaches(&rig, iova));
		/* The look before was not long ago; one further on is a look. */
		rig_now += TIMEOUT / 8;
		dr_flush_poll(rig.f);
		assert_int_equal(timer_flushes(&rig), round + 1);
		assert_false(rig_reaches(&rig, iova));
		assert_int_equal(rig_stats(&rig).longest_ns, TIMEOUT / 2 + TIMEOUT / 8 - 1);
		/* Two looks later the address is home and nobody looks any more. */
		for (unsigned i = 0; i < 3; i++) {
			rig_now += TIMEOUT / 8;
			dr_flush_poll(rig.f);
		}
		assert_int_equal(rig_retired(&rig), 0);
	}
	rig_close(&rig);
}

/* Polls at random moments: after each, nothing is older than the timeout; each put is followed. */
static void test_promise(void **state)
{
	enum { PUTS = 5000 };
	static uint64_t put_at[PUTS];
	uint64_t seed = 4711, gone = 0, longest = 0, last_poll = 0;
	struct rig rig;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	for (unsigned put = 0; put < PUTS;) {
		uint64_t before = rig_stats(&rig).flushed;
		unsigned what;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		what = seed >> 60;
		rig_now += (seed >> 20) % (what == 15 ? 3 * TIMEOUT : TIMEOUT / 6);
		if (what < 10) {
			put_at[put++] = rig_now;
			rig_put(&rig, rig_map(&rig, 1), 1);
		} else {
			dr_flush_poll(rig.f);
			last_poll = rig_now;
		}
		/* In order, so what is gone was the oldest. Flushed now: how old was it? */
		if (rig_stats(&rig).flushed != before) {
			if (rig_now - put_at[gone] > longest)
				longest = rig_now - put_at[gone];
			gone = rig_stats(&rig).flushed;
		}
		if (last_poll == rig_now && gone < put)
			assert_true(rig_now - put_at[gone] < TIMEOUT);
	}
	assert_true(timer_flushes(&rig) > 100);
	/* What the statistics say is never too little. */
	assert_true(rig_stats(&rig).longest_ns >= longest);
	rig_close(&rig);
}

/* Polled often enough, nothing ever gets older than five eighths. */
static void test_polled_often(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	for (unsigned i = 0; i < 2000; i++) {
		rig_now += TIMEOUT / 64;
		if (i % 3)
			rig_put(&rig, rig_map(&rig, 1), 1);
		dr_flush_poll(rig.f);
	}
	assert_in_range(timer_flushes(&rig), 2000 / 64 + 1, 2000 / 32);
	assert_in_range(rig_stats(&rig).longest_ns, TIMEOUT / 2, TIMEOUT / 2 + TIMEOUT / 8);
	rig_close(&rig);
}

/* Under load full queues flush, and the clock has nothing to say. */
static void test_load(void **state)
{
	const struct dr_flush_opts o = {
		.polled = true, .lazy = true, .timeout_us = TIMEOUT_US, .entries = 16,
	};
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &o);
	for (unsigned i = 0; i < 10000; i++) {
		rig_now += TIMEOUT / 64;
		rig_put(&rig, rig_map(&rig, 1), 1);
		dr_flush_poll(rig.f);
	}
	assert_int_equal(timer_flushes(&rig), 0);
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_FULL], (10000 - 1) / 16);
	assert_in_range(rig_stats(&rig).longest_ns, TIMEOUT / 4, TIMEOUT / 4 + TIMEOUT / 32);
	rig_close(&rig);
}

/* A thread that is gone, or does nothing more: its addresses go home by themselves. */
static void *put_all(void *arg)
{
	struct rig *rig = arg;

	for (unsigned i = 0; i < 20; i++)
		rig_put(rig, rig_map(rig, 1), 1);
	return NULL;
}

static void test_quiet_threads(void **state)
{
	pthread_t thread;
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	assert_int_equal(pthread_create(&thread, NULL, put_all, &rig), 0);
	pthread_join(thread, NULL);
	rig_put(&rig, rig_map(&rig, 1), 1);
	assert_int_equal(rig_retired(&rig), 21 * PAGE);
	rig_now += TIMEOUT / 2;
	dr_flush_poll(rig.f);
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	/* Not yet: its owner may come for it. */
	assert_int_equal(rig_retired(&rig), 21 * PAGE);
	dr_flush_ready(rig.f);
	assert_int_equal(rig_retired(&rig), 20 * PAGE);
	rig_now += TIMEOUT / 8;
	dr_flush_poll(rig.f);
	assert_int_equal(rig_retired(&rig), 0);
	rig_close(&rig);
}

/* Tables wait for a grace period; a poll is where it is waited for. */
static void test_tables(void **state)
{
	const dray_iova_t iova = UINT64_C(0x20000000);
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, RIG_TREE, &polled);
	/* Two megabytes that are not aligned in memory, so that they take a table. */
	for (unsigned i = 0; i < 200 && !dr_pgtable_wants_reclaim(rig.io.pt); i++) {
		char *va = (char *)(((uintptr_t)rig.mem | (512 * PAGE - 1)) + 1 - PAGE);
		bool refused;

		dr_flush_ready(rig.f);
		assert_int_equal(dr_iova_take_fixed(rig.io.space, iova, iova + 512 * PAGE - 1), 0);
		assert_int_equal(dr_act_map(&rig.io, iova, va, 512 * PAGE, RW, &refused), 0);
		rig_put(&rig, iova, 512);
		dr_flush_now(rig.f, DR_FLUSH_EXPLICIT);
	}
	assert_true(dr_pgtable_wants_reclaim(rig.io.pt));
	dr_flush_poll(rig.f);
	assert_false(dr_pgtable_wants_reclaim(rig.io.pt));
	rig_close(&rig);
}

/* The helper flushes what a quiet application leaves behind, and gives it back, again and again. */
static void test_helper(void **state)
{
	struct rig rig;

	(void)state;
	rig_real_time = true;
	rig_open(&rig, &dr_sim_ops, 0, &helped);
	for (unsigned round = 1; round <= 5; round++) {
		for (unsigned i = 0; i < 10; i++)
			rig_put(&rig, rig_map(&rig, 1), 1);
		while (rig_retired(&rig))
			sched_yield();
		assert_int_equal(rig_stats(&rig).waiting_entries, 0);
		assert_in_range(timer_flushes(&rig), round, 10 * round);
		/* Sometimes it has gone to sleep for good until the next round, sometimes not. */
		usleep(TIMEOUT_US * (round % 3));
	}
	rig_close(&rig);
}

/* Reads a line of /proc/self/task/TID/status. */
static void task_line(const char *tid, const char *name, char *ret_line, size_t size)
{
	char path[300], *line = NULL;
	size_t len = 0;
	FILE *file;

	ret_line[0] = '\0';
	snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
	file = fopen(path, "r");
	if (!file)
		return;
	while (getline(&line, &len, file) >= 0)
		if (!strncmp(line, name, strlen(name)))
			snprintf(ret_line, size, "%s", line + strlen(name));
	free(line);
	fclose(file);
}

/* How many threads of that name there are; the last one's number. */
static unsigned find_helpers(char *ret_tid, size_t size)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;
	char line[256];
	unsigned n = 0;

	assert_non_null(dir);
	while ((e = readdir(dir))) {
		task_line(e->d_name, "Name:\t", line, sizeof(line));
		if (strcmp(line, "dray-flush\n"))
			continue;
		snprintf(ret_tid, size, "%s", e->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

static void *open_pinned(void *arg)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	assert_int_equal(pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus), 0);
	rig_open(arg, &dr_sim_ops, 0, &helped);
	return NULL;
}

/* Whatever the thread is like that opens the domain. */
static void test_helper_is_nobodys_child(void **state)
{
	char tid[300], self[32], line[4096], want[4096];
	pthread_t thread;
	struct rig rig;

	(void)state;
	rig_real_time = true;
	assert_int_equal(find_helpers(tid, sizeof(tid)), 0);
	assert_int_equal(pthread_create(&thread, NULL, open_pinned, &rig), 0);
	pthread_join(thread, NULL);
	assert_int_equal(find_helpers(tid, sizeof(tid)), 1);

	snprintf(self, sizeof(self), "%d", getpid());
	task_line(self, "Cpus_allowed:\t", want, sizeof(want));
	task_line(tid, "Cpus_allowed:\t", line, sizeof(line));
	assert_string_equal(line, want);
	/* All but SIGKILL, SIGSTOP and the C library's own two. */
	task_line(tid, "SigBlk:\t", line, sizeof(line));
	assert_int_equal(strtoull(line, NULL, 16) & 0xfffffffe7ffbfeffu, 0xfffffffe7ffbfeffu);

	/* One helper, however often the mode is switched; none after the end. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(dr_flush_set_lazy(rig.f, false), 0);
		assert_int_equal(dr_flush_set_lazy(rig.f, true), 0);
	}
	assert_int_equal(find_helpers(tid, sizeof(tid)), 1);
	rig_close(&rig);
	assert_int_equal(find_helpers(tid, sizeof(tid)), 0);
}

/* Strict, and polled: no thread at all. */
static void test_no_helper(void **state)
{
	static const struct dr_flush_opts strict = { .timeout_us = TIMEOUT_US };
	char tid[300];
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &strict);
	assert_int_equal(find_helpers(tid, sizeof(tid)), 0);
	rig_close(&rig);
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	rig_put(&rig, rig_map(&rig, 1), 1);
	assert_int_equal(find_helpers(tid, sizeof(tid)), 0);
	assert_int_equal(dr_flush_set_lazy(rig.f, false), 0);
	assert_int_equal(dr_flush_set_lazy(rig.f, true), 0);
	assert_int_equal(find_helpers(tid, sizeof(tid)), 0);
	rig_close(&rig);
}

/* The linker sends the library's pthread_create here. */
static int create_err;
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return create_err ? create_err : __real_pthread_create(thread, attr, fn, arg);
}

static void test_no_thread(void **state)
{
	static const struct dr_flush_opts strict = { .timeout_us = TIMEOUT_US };
	struct dr_flush *f = NULL;
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &strict);
	create_err = EAGAIN;
	assert_int_equal(dr_flush_open(&rig.io, &helped, &f), -EAGAIN);
	assert_null(f);
	assert_int_equal(dr_flush_set_lazy(rig.f, true), -EAGAIN);
	create_err = ENOMEM;
	assert_int_equal(dr_flush_set_lazy(rig.f, true), -ENOMEM);
	assert_false(dr_flush_is_lazy(rig.f));
	create_err = 0;
	assert_int_equal(dr_flush_set_lazy(rig.f, true), 0);
	assert_true(dr_flush_is_lazy(rig.f));
	rig_close(&rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_half_the_timeout),
		TEST(test_promise),
		TEST(test_polled_often),
		TEST(test_load),
		TEST(test_quiet_threads),
		TEST(test_tables),
		TEST(test_helper),
		TEST(test_helper_is_nobodys_child),
		TEST(test_no_helper),
		TEST(test_no_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
