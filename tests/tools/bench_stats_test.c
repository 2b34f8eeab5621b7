// SPDX-License-Identifier: BSD-2-Clause
/* What benches make of figures, and what they make of a command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/parse.h"
#include "bench/report.h"
#include "bench/stats.h"

static void median_and_spread(void **state)
{
	double five[] = {50, 10, 40, 20, 30};
	double four[] = {4, 1, 3, 2};
	double outlier[] = {100, 100, 100, 100, 100, 100, 100, 100, 1e9};
	double one[] = {7};
	double zero[] = {0, 0, 0};
	struct bench_value v;

	(void)state;
	v = bench_value_of(five, 5);
	assert_float_equal(v.median, 30, 1e-9);
	assert_float_equal(v.spread, (40.0 - 20.0) / 30.0, 1e-9);
	v = bench_value_of(four, 4);
	assert_float_equal(v.median, 2.5, 1e-9);
	assert_float_equal(v.spread, (3.25 - 1.75) / 2.5, 1e-9);
	v = bench_value_of(outlier, 9);
	assert_float_equal(v.median, 100, 1e-9);
	assert_float_equal(v.spread, 0, 1e-9);
	v = bench_value_of(one, 1);
	assert_float_equal(v.median, 7, 1e-9);
	assert_float_equal(v.spread, 0, 1e-9);
	v = bench_value_of(zero, 3);
	assert_float_equal(v.spread, 0, 1e-9);
}

static void percentiles(void **state)
{
	uint64_t thousand[1000], one[] = {640}, two[] = {20, 10};
	struct bench_percentiles p;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		thousand[i] = (i * 7919u) % 1000 + 1; /* 1 … 1000, shuffled */
	p = bench_percentiles_of(thousand, 1000, 1);
	assert_float_equal(p.p50, 500, 1e-9);
	assert_float_equal(p.p99, 990, 1e-9);
	assert_float_equal(p.p999, 999, 1e-9);
	p = bench_percentiles_of(one, 1, 64);
	assert_float_equal(p.p50, 10, 1e-9);
	assert_float_equal(p.p999, 10, 1e-9);
	/* Always a sample that was seen, never one in between. */
	p = bench_percentiles_of(two, 2, 1);
	assert_float_equal(p.p50, 10, 1e-9);
	assert_float_equal(p.p99, 20, 1e-9);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: refused */
	} cases[] = {
		{"4096", 4096},
		{"4k", 4096},
		{"4K", 4096},
		{"2m", 2097152},
		{"1G", 1u << 30},
		{"1t", UINT64_C(1) << 40},
		{"1", 1},
		{"0", 0},
		{"0k", 0},
		{"", 0},
		{"k", 0},
		{"-1", 0},
		{"+1", 0},
		{" 1", 0},
		{"4kb", 0},
		{"4x", 0},
		{"4 k", 0},
		{"0x10", 0},
		{"1.5k", 0},
		{"18446744073709551615", UINT64_MAX},
		{"18446744073709551616", 0},
		{"18014398509481983k", UINT64_C(18014398509481983) << 10},
		{"18014398509481984k", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;
		bool good = bench_parse_size(cases[i].text, &bytes);

		if (good != (cases[i].bytes != 0) || bytes != cases[i].bytes)
			fail_msg("'%s' gives %d, %llu", cases[i].text, good,
				 (unsigned long long)bytes);
	}
}

static void counts_and_seconds(void **state)
{
	uint64_t n = 0;
	double s = 0;

	(void)state;
	assert_true(bench_parse_count("1", 1, 8, &n) && n == 1);
	assert_true(bench_parse_count("8", 1, 8, &n) && n == 8);
	assert_false(bench_parse_count("0", 1, 8, &n));
	assert_false(bench_parse_count("9", 1, 8, &n));
	assert_false(bench_parse_count("2 ", 1, 8, &n));
	assert_false(bench_parse_count("", 0, 8, &n));
	assert_true(bench_parse_seconds("0.5", 0.01, 10, &s) && s > 0.49 && s < 0.51);
	assert_true(bench_parse_seconds("2", 0.01, 10, &s) && s > 1.99 && s < 2.01);
	assert_false(bench_parse_seconds("0", 0.01, 10, &s));
	assert_false(bench_parse_seconds("11", 0.01, 10, &s));
	assert_false(bench_parse_seconds("nan", 0.01, 10, &s));
	assert_false(bench_parse_seconds("inf", 0.01, 10, &s));
	assert_false(bench_parse_seconds("1.2.3", 0.01, 10, &s));
	assert_false(bench_parse_seconds(".", 0.01, 10, &s));
	assert_false(bench_parse_seconds("", 0.01, 10, &s));
}

static void lists(void **state)
{
	const char *cursor = "4k,,64k", *single = "1", *trailing = "1,";
	char word[4];

	(void)state;
	assert_true(bench_next_word(&cursor, word, sizeof(word)));
	assert_string_equal(word, "4k");
	assert_true(bench_next_word(&cursor, word, sizeof(word)));
	assert_string_equal(word, "");
	assert_true(bench_next_word(&cursor, word, sizeof(word)));
	assert_string_equal(word, "64k");
	assert_false(bench_next_word(&cursor, word, sizeof(word)));
	assert_true(bench_next_word(&single, word, sizeof(word)));
	assert_false(bench_next_word(&single, word, sizeof(word)));
	assert_true(bench_next_word(&trailing, word, sizeof(word)));
	assert_true(bench_next_word(&trailing, word, sizeof(word)));
	assert_string_equal(word, "");
	assert_false(bench_next_word(&trailing, word, sizeof(word)));
}

static void formats(void **state)
{
	char text[32];

	(void)state;
	bench_format_rate(1234567, text, sizeof(text));
	assert_string_equal(text, "1.235 M");
	bench_format_rate(999949, text, sizeof(text));
	assert_string_equal(text, "999.9 k");
	bench_format_rate(999960, text, sizeof(text));
	assert_string_equal(text, "1.000 M");
	bench_format_rate(12, text, sizeof(text));
	assert_string_equal(text, "12.00  ");
	bench_format_ns(37.24, text, sizeof(text));
	assert_string_equal(text, "37.2");
	bench_format_ns(2371.4, text, sizeof(text));
	assert_string_equal(text, "2371");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(median_and_spread),
	    cmocka_unit_test(percentiles),
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(counts_and_seconds),
	    cmocka_unit_test(lists),
	    cmocka_unit_test(formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
