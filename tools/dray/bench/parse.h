/* SPDX-License-Identifier: BSD-2-Clause */
/* Words of a command line: sizes, counts, seconds, and lists of them. */
#ifndef BENCH_PARSE_H
#define BENCH_PARSE_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
