/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Words of a command line: sizes, counts, seconds, and lists of them. The bench_parse_ ones answer;
 * the bench_take_ ones end the program with CMD_USAGE and one line where a word is none.
 */
#ifndef BENCH_PARSE_H
#define BENCH_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Above this the bookkeeping for threads is what is measured, if the machine starts them at all. */
#define BENCH_MAX_THREADS 256

/* Most words of one list. */
#define BENCH_LIST 32

/* "4096", "4k", "2M", "1g": @ret_bytes > 0. False: not a size. */
bool bench_parse_size(const char *text, uint64_t *ret_bytes);

/* A whole decimal number in [min, max]. */
bool bench_parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *ret_count);

/* "2", "0.5": a decimal number in [min, max]. */
bool bench_parse_seconds(const char *text, double min, double max, double *ret_seconds);

/*
 * Takes the next word of a comma-separated list out of *@cursor, which starts as the list, into
 * @word. False at the end; a word that does not fit @size is cut. An empty word is a word.
 */
bool bench_next_word(const char **cursor, char *word, unsigned size);

/* "@name: …" on stderr; the program ends. */
void bench_refuse(const char *name, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/*
 * Hand each word of @list to @take, which counts what it took in *@inout_n, 0 at first; more than
 * BENCH_LIST are refused.
 */
void bench_take_list(const char *name, const char *list, void (*take)(void *ctx, const char *word),
		     void *ctx, unsigned *inout_n);

/* A number of threads, added to @list. */
void bench_take_threads(const char *name, const char *word, uint64_t list[BENCH_LIST],
			unsigned *inout_n);

/* From 0.01 to 3600. */
double bench_take_seconds(const char *name, const char *word);

#endif
