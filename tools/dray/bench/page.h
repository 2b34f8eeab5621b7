/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of the page that `dray bench report` writes. */
#ifndef BENCH_PAGE_H
#define BENCH_PAGE_H

#include <stdio.h>

#include "bench/load.h"

struct page {
	FILE *out;
	const struct load *load;
};

/* A section each; nothing where no file has such results. 0, -ENOMEM. */
int page_map(const struct page *p);
int page_iova(const struct page *p);
int page_ageing(const struct page *p);
int page_heat(const struct page *p);

/* Everything else: head, machines, what was measured twice, foot. */
void page_begin(const struct page *p);
void page_end(const struct page *p);

/* A table: its headings, a list that ends with NULL and has '<' before those of words; its rows. */
void page_table(const struct page *p, const char *const *headings);
void page_row(const struct page *p);
void page_text_cell(const struct page *p, const char *text);
void page_cell(const struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void page_row_end(const struct page *p);
void page_table_end(const struct page *p);
/* A figure's caption, and its end. */
void page_caption(const struct page *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Cells of what every result has: ops/s, spread; and three percentiles. */
void page_rate_cells(const struct page *p, const struct load_row *r);
void page_ns_cells(const struct page *p, double p50, double p99, double p999);

/* The colour of a contender (and mode), the same in all pictures. */
unsigned page_series(const char *contender, const char *mode);

/* " [2]" where the same setting is in more than one result, so that a name tells which; else "". */
const char *page_which(const struct page *p, const struct load_row *r);

#endif
