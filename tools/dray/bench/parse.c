// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "bench/parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* strtoull() takes signs and spaces, which nobody means here. */
static bool parse_digits(const char *text, uint64_t *ret_value, const char **ret_end)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*ret_value = strtoull(text, &end, 10);
	*ret_end = end;
	return !errno;
}

bool bench_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "kmgt";
	unsigned shift = 0;
	const char *end, *unit;
	uint64_t value;

	if (!parse_digits(text, &value, &end))
		return false;
	if (*end) {
		unit = strchr(units, tolower((unsigned char)*end));
		if (!unit || end[1])
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (!value || value > UINT64_MAX >> shift)
		return false;
	*ret_bytes = value << shift;
	return true;
}

bool bench_parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *ret_count)
{
	const char *end;
	uint64_t value;

	if (!parse_digits(text, &value, &end) || *end || value < min || value > max)
		return false;
	*ret_count = value;
	return true;
}

bool bench_parse_seconds(const char *text, double min, double max, double *ret_seconds)
{
	char *end;
	double value;

	/* Digits and a point: no "inf", "nan" or hexadecimal. */
	if (!*text || strspn(text, "0123456789.") != strlen(text))
		return false;
	value = strtod(text, &end);
	if (end == text || *end || !isfinite(value) || value < min || value > max)
		return false;
	*ret_seconds = value;
	return true;
}

bool bench_next_word(const char **cursor, char *word, unsigned size)
{
	const char *comma;

	if (!*cursor)
		return false;
	comma = strchrnul(*cursor, ',');
	snprintf(word, size, "%.*s", (int)(comma - *cursor), *cursor);
	*cursor = *comma ? comma + 1 : NULL;
	return true;
}

void bench_refuse(const char *name, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(CMD_USAGE);
}

void bench_take_list(const char *name, const char *list, void (*take)(void *ctx, const char *word),
		     void *ctx, unsigned *inout_n)
{
	char word[64];

	*inout_n = 0;
	while (bench_next_word(&list, word, sizeof(word))) {
		if (*inout_n == BENCH_LIST)
			bench_refuse(name, "a list has at most %d entries", BENCH_LIST);
		take(ctx, word);
	}
}

void bench_take_threads(const char *name, const char *word, uint64_t list[BENCH_LIST],
			unsigned *inout_n)
{
	if (!bench_parse_count(word, 1, BENCH_MAX_THREADS, &list[*inout_n]))
		bench_refuse(name, "'%s' is not a number of threads from 1 to %d", word,
			     BENCH_MAX_THREADS);
	(*inout_n)++;
}

double bench_take_seconds(const char *name, const char *word)
{
	double seconds;

	if (!bench_parse_seconds(word, 0.01, 3600, &seconds))
		bench_refuse(name, "'%s' is not a time in seconds from 0.01 to 3600", word);
	return seconds;
}
