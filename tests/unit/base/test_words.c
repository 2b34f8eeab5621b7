// SPDX-License-Identifier: BSD-2-Clause
/* Errors in words, and the log. */
#include "base_test.h"

#include <dray/stats.h>

#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void *read_own_message(void *arg)
{
	/* A thread that never failed has no words, not another's. */
	*(bool *)arg = !dray_errmsg()[0];
	dr_fail(EIO, "of the other thread");
	return NULL;
}

static void test_message_is_the_threads(void **state)
{
	pthread_t thread;
	bool empty = false;

	(void)state;
	assert_int_equal(dr_fail(ENOSPC, "cause %d; fix %s", 7, "it"), -ENOSPC);
	assert_string_equal(dray_errmsg(), "cause 7; fix it");
	assert_int_equal(pthread_create(&thread, NULL, read_own_message, &empty), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(empty);
	assert_string_equal(dray_errmsg(), "cause 7; fix it");
	dr_fail(EINVAL, "%s", "next");
	assert_string_equal(dray_errmsg(), "next");
}

static void test_long_message_is_cut(void **state)
{
	char longer[5000];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(dr_fail(EIO, "begins %s", longer), -EIO);
	assert_memory_equal(dray_errmsg(), "begins xxx", 10);
	assert_in_range(strlen(dray_errmsg()), 200, sizeof(longer) - 1);
}

static void test_version(void **state)
{
	unsigned major, minor, patch;
	char rest;

	(void)state;
	assert_int_equal(sscanf(dray_version(), "%u.%u.%u%c", &major, &minor, &patch, &rest), 3);
}

struct heard {
	int level, lines;
	char text[2048];
};

static void hear(void *ctx, int level, const char *msg)
{
	struct heard *h = ctx;

	h->level = level;
	h->lines++;
	snprintf(h->text, sizeof(h->text), "%s", msg);
}

static void test_log(void **state)
{
	struct heard h = { 0 };
	struct dr_log log = { .fn = hear, .ctx = &h }, silent = { 0 };
	char longer[5000];

	(void)state;
	dr_log(&log, LOG_WARNING, "%s of 0x%x", "line", 16);
	assert_int_equal(h.lines, 1);
	assert_int_equal(h.level, LOG_WARNING);
	assert_string_equal(h.text, "line of 0x10");
	dr_log(&silent, LOG_ERR, "nobody %s", "hears");
	assert_int_equal(h.lines, 1);
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	dr_log(&log, LOG_ERR, "%s", longer);
	assert_in_range(strlen(h.text), 200, sizeof(longer) - 1);
}

/* The log has its own room. */
static void test_words_survive_logging(void **state)
{
	struct heard h = { 0 };
	struct dr_log log = { .fn = hear, .ctx = &h };

	(void)state;
	dr_fail(ENOMEM, "first");
	dr_log(&log, LOG_ERR, "second");
	assert_string_equal(dray_errmsg(), "first");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_is_the_threads),
		cmocka_unit_test(test_long_message_is_cut),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_words_survive_logging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
