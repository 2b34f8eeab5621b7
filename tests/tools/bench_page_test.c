// SPDX-License-Identifier: BSD-2-Clause
/* What the report reads, and what its pictures are drawn from. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/chart.h"
#include "bench/load.h"

#define MACHINE "\"machine\": {\"cpu\": \"x\"}"
#define COMMON                                                                                     \
	"\"bench\": \"iova\", \"contender\": \"dray\", \"workload\": \"W0\", \"threads\": 1, "     \
	"\"ops\": 10, \"ops_per_s\": 5.5, \"spread\": 0.1, \"ns_batch64_p50\": 1, "                \
	"\"ns_batch64_p99\": 2, \"ns_batch64_p999\": 3, \"live\": 7, \"population\": 8, "          \
	"\"leaf_tables_per_1000\": 9"
#define WINDOW(ops) "{\"ops\": " ops ", \"ns_batch64_p50\": 1, \"ns_batch64_p999\": 2, "           \
		    "\"live\": 3, \"population\": 4}"

static char path[] = "bench-page-XXXXXX";

static int have_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	return close(fd);
}

static int drop_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int read_text(struct load *l, const char *text, size_t len, char *error, size_t size)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	return load_file(l, path, error, size);
}

static void reads_results(void **state)
{
	static const char text[] = "{" MACHINE ", \"results\": [{" COMMON "}, {" COMMON
		", \"held\": 5, \"ratio_to_dray\": 0.5, \"drift_p50\": -0.25, \"drift_p999\": 2, "
		"\"series\": [" WINDOW("1") ", " WINDOW("2") "]}]}\n";
	struct load l = { 0 };
	char error[128];

	(void)state;
	assert_int_equal(read_text(&l, text, sizeof(text) - 1, error, sizeof(error)), 0);
	assert_int_equal(l.n_rows, 2);
	assert_string_equal(l.rows[0].contender, "dray");
	assert_float_equal(l.rows[0].ops_per_s, 5.5, 1e-9);
	assert_float_equal(l.rows[0].population, 8, 1e-9);
	assert_false(l.rows[0].has_series);
	assert_true(l.rows[1].has_series);
	assert_int_equal(l.rows[1].n_series, 2);
	assert_float_equal(l.rows[1].series[1].ops, 2, 1e-9);
	assert_float_equal(l.rows[1].drift_p50, -0.25, 1e-9);
	assert_float_equal(l.rows[1].ratio, 0.5, 1e-9);
	assert_true(load_same_setting(&l.rows[0], &l.rows[0]));
	assert_false(load_same_setting(&l.rows[0], &l.rows[1]));
	/* A second file has its own number; a bad third one changes nothing. */
	assert_int_equal(load_file(&l, path, error, sizeof(error)), 0);
	assert_int_equal(l.n_rows, 4);
	assert_int_equal(l.rows[2].file, 1);
	assert_true(load_same_setting(&l.rows[0], &l.rows[2]));
	assert_true(read_text(&l, "{", 1, error, sizeof(error)) < 0);
	assert_int_equal(l.n_files, 2);
	assert_int_equal(l.n_rows, 4);
	load_free(&l);
}

/* Each with the words that must be in the message. */
static void tells_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "", "too early" },
		{ "{\"machine\": {", "too early" },
		{ "nonsense", "byte" },
		{ "{" MACHINE ", \"results\": []} x", "follows" },
		{ "[]", "\"machine\"" },
		{ "{\"results\": []}", "\"machine\"" },
		{ "{" MACHINE ", \"results\": {}}", "\"results\"" },
		{ "{" MACHINE ", \"results\": []}", "empty" },
		{ "{" MACHINE ", \"results\": [1]}", "no object" },
		{ "{" MACHINE ", \"results\": [{}]}", "\"bench\"" },
		{ "{" MACHINE ", \"results\": [{\"bench\": 1}]}", "\"bench\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON "}, {\"bench\": \"iova\"}]}", "result 2" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"bench\": \"other\"}]}", "other" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"bench\": \"map\"}]}", "\"backend\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"spread\": -1}]}", "\"spread\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"live\": null}]}", "\"live\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"live\": \"7\"}]}", "\"live\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"live\": 1e400}]}", "" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"live\": NaN}]}", "" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"live\": 1e19}]}", "\"live\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"series\": 1}]}", "\"series\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"series\": [" WINDOW("1") "]}]}",
		  "\"series\"" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"series\": [" WINDOW("2") ", "
		  WINDOW("1") "]}]}", "ascend" },
		{ "{" MACHINE ", \"results\": [{" COMMON ", \"series\": [" WINDOW("1") ", 2]}]}",
		  "window 2" },
	};
	struct load l = { 0 };
	char error[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = read_text(&l, cases[i].text, strlen(cases[i].text), error, sizeof(error));

		if (err >= 0 || strncmp(error, path, strlen(path)) || !strstr(error, cases[i].says))
			fail_msg("'%s' gives %d, '%s'", cases[i].text, err, error);
	}
	/* A byte of 0 ends no file. */
	assert_true(read_text(&l, "{}\0", 3, error, sizeof(error)) < 0);
	assert_true(load_file(&l, "there is no such file", error, sizeof(error)) < 0);
	assert_non_null(strstr(error, "there is no such file"));
	assert_true(load_file(&l, ".", error, sizeof(error)) < 0);
	/* A message that does not fit is cut. */
	assert_true(load_file(&l, "there is no such file", error, 8) < 0);
	assert_string_equal(error, "there i");
	assert_int_equal(l.n_rows, 0);
	load_free(&l);
}

static void check_ticks(double low, double high, bool log)
{
	double ticks[12];
	unsigned n = chart_ticks(low, high, log, ticks, 12);

	if (n > 12 || (!log && n < 2))
		fail_msg("%u ticks from %g to %g", n, low, high);
	for (unsigned i = 0; i < n; i++) {
		double m = ticks[i] ? ticks[i] / pow(10, floor(log10(fabs(ticks[i])) + 1e-9)) : 1;

		assert_true(ticks[i] >= low * (1 - 1e-6) && ticks[i] <= high * (1 + 1e-6));
		if (i)
			assert_true(ticks[i] > ticks[i - 1]);
		if (log)
			assert_true(fabs(m - 1) < 1e-6 || fabs(m - 2) < 1e-6 || fabs(m - 5) < 1e-6);
	}
}

static void ticks_are_few_and_round(void **state)
{
	double ticks[12];

	(void)state;
	for (double high = 1e-6; high < 1e17; high *= 1.37) {
		check_ticks(0, high, false);
		check_ticks(high / 3, high, true);
		check_ticks(high / 1e7, high, true);
	}
	assert_int_equal(chart_ticks(0, 10, false, ticks, 12), 11);
	assert_float_equal(ticks[10], 10, 1e-9);
	assert_int_equal(chart_ticks(0.5, 200, true, ticks, 12), 9);
	assert_float_equal(ticks[0], 0.5, 1e-9);
	assert_float_equal(ticks[8], 200, 1e-9);
	assert_true(chart_ticks(1e-18, 1e18, true, ticks, 12) <= 12);
}

static char *escaped(const char *text)
{
	char *all = NULL;
	size_t len;
	FILE *f = open_memstream(&all, &len);

	assert_non_null(f);
	chart_text(f, text);
	fclose(f);
	return all;
}

static void text_is_escaped(void **state)
{
	static const char *const cases[][2] = {
		{ "a<b>&\"c", "a&lt;b&gt;&amp;&quot;c" },
		{ "µs …", "µs …" },
		{ "\x80 \xc3", "? ?" },
		{ "\xe2\x80", "??" },
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
		{ "a\nb\tc\x01", "a b c?" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *got = escaped(cases[i][0]);

		assert_string_equal(got, cases[i][1]);
		free(got);
	}
}

static void numbers_and_cuts(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{ 0, "0" }, { 0.25, "0.25" }, { 999, "999" }, { 1000, "1k" }, { 1234567, "1.23M" },
		{ 999600, "1M" }, { 5e9, "5G" }, { -2000, "-2k" }, { 0.001, "0.001" },
	};
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		chart_number(cases[i].value, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
	chart_cut("short", 5, text, sizeof(text));
	assert_string_equal(text, "short");
	chart_cut("longer", 5, text, sizeof(text));
	assert_string_equal(text, "long…");
	chart_cut("äöüäöü", 3, text, sizeof(text));
	assert_string_equal(text, "äö…");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_results, have_file, drop_file),
		cmocka_unit_test(ticks_are_few_and_round),
		cmocka_unit_test(text_is_escaped),
		cmocka_unit_test(numbers_and_cuts),
	};
	const struct CMUnitTest bad[] = { cmocka_unit_test(tells_what_is_wrong) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	strcpy(path, "bench-page-XXXXXX");
	return failed + cmocka_run_group_tests(bad, have_file, drop_file);
}
