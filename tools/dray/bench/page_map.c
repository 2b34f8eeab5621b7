// SPDX-License-Identifier: BSD-2-Clause
/*
 * The page's part about map and unmap.
 *
 * A picture shows how one thing matters while all others stay: the number of threads, the size, or
 * the depth of the lazy queue. For each of the three, results that agree in the other two are one
 * picture, if there are two values at least; what no picture shows then comes in one per backend.
 */
#include "bench/page.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/chart.h"
#include "bench/report.h"

enum vary { THREADS, SIZE, DEPTH, ANYTHING };

static bool is_map(const struct load_row *r)
{
	return !strcmp(r->bench, "map");
}

/* Do both belong into one picture of what @vary does? */
static bool agree(const struct load_row *a, const struct load_row *b, enum vary vary)
{
	if (!is_map(b) || strcmp(a->backend, b->backend) || strcmp(a->workload, b->workload) ||
	    strcmp(a->cost_model, b->cost_model))
		return false;
	if (vary == ANYTHING)
		return true;
	return (vary == THREADS || a->threads == b->threads) &&
	       (vary == SIZE || a->size == b->size);
}

static double value_of(const struct load_row *r, enum vary vary)
{
	return vary == THREADS ? r->threads : vary == SIZE ? r->size : r->queue_entries;
}

static void size_text(double bytes, char *text, size_t size)
{
	static const char *const units[] = { "", "K", "M", "G" };
	unsigned i = 0;

	while (i < 3 && bytes >= 1024 && fmod(bytes, 1024) == 0) {
		bytes /= 1024;
		i++;
	}
	snprintf(text, size, "%.0f%s", bytes, units[i]);
}

/* "lazy, 1024 entries"; empty: no queue, or the defaults. */
static void queue_text(const struct load_row *r, char *text, size_t size)
{
	size_t n = 0;
	char bytes[32];

	text[0] = '\0';
	if (r->queue_entries)
		n = (size_t)snprintf(text, size, "%.0f entries", r->queue_entries);
	if (r->flush_bytes) {
		size_text(r->flush_bytes, bytes, sizeof(bytes));
		n += (size_t)snprintf(text + n, size - n, "%s%s", n ? ", " : "", bytes);
	}
	if (r->flush_timeout_us)
		snprintf(text + n, size - n, "%s%.0f us", n ? ", " : "", r->flush_timeout_us);
}

/* The strict one of the same run and setting, or NULL. */
static const struct load_row *strict_of(const struct load *l, const struct load_row *r)
{
	for (unsigned i = 0; i < l->n_rows; i++) {
		const struct load_row *s = &l->rows[i];

		if (is_map(s) && s->file == r->file && !strcmp(s->mode, "strict") &&
		    !strcmp(s->contender, "dray") && !strcmp(s->backend, r->backend) &&
		    !strcmp(s->workload, r->workload) && s->size == r->size &&
		    s->threads == r->threads)
			return s;
	}
	return NULL;
}

static void fill_bar(const struct page *p, const struct load_row *r, enum vary vary,
		     struct chart_bar *b)
{
	char queue[96], bytes[32], rate[24], name[CHART_LABEL * 4];
	int n;

	queue_text(r, queue, sizeof(queue));
	size_text(r->size, bytes, sizeof(bytes));
	memset(b, 0, sizeof(*b));
	if (vary == THREADS)
		snprintf(b->group, sizeof(b->group), "%.0f thread%s", r->threads,
			 r->threads == 1 ? "" : "s");
	else if (vary == SIZE)
		snprintf(b->group, sizeof(b->group), "%s", bytes);
	else if (vary == ANYTHING)
		snprintf(b->group, sizeof(b->group), "%s, %.0f thread%s", bytes, r->threads,
			 r->threads == 1 ? "" : "s");
	n = snprintf(name, sizeof(name), "%s", r->mode);
	if (strcmp(r->contender, "dray"))
		n += snprintf(name + n, sizeof(name) - (size_t)n, " (%.60s)", r->contender);
	if (n < (int)sizeof(name))
		snprintf(name + n, sizeof(name) - (size_t)n, "%s%s%s", queue[0] ? ", " : "", queue,
			 page_which(p, r));
	/* A label is cut between letters, never inside one. */
	chart_cut(name, CHART_LABEL / 4, b->label, sizeof(b->label));
	if (strlen(name) < sizeof(b->label))
		strcpy(b->label, name);
	bench_format_rate(r->ops_per_s, rate, sizeof(rate));
	snprintf(b->text, sizeof(b->text), "%s/s", rate);
	b->series = page_series(r->contender, r->mode);
	b->value = r->ops_per_s;
	b->low = fmax(0, r->ops_per_s * (1 - r->spread / 2));
	b->high = r->ops_per_s * (1 + r->spread / 2);
}

/* The same as a multiple of the strict one of its run: depths are often those of several runs. */
static void fill_ratio(const struct load *l, const struct load_row *r, struct chart_bar *b)
{
	const struct load_row *strict = strict_of(l, r);
	double half = hypot(r->spread, strict->spread) / 2;

	b->value = r->ops_per_s / strict->ops_per_s;
	b->low = fmax(0, b->value * (1 - half));
	b->high = b->value * (1 + half);
	if (r->invalidations < 0)
		snprintf(b->text, sizeof(b->text), "%.3gx", b->value);
	else
		snprintf(b->text, sizeof(b->text), "%.3gx, %.3g inv.", b->value, r->invalidations);
}

/* Leave the strict ones out, if all others can be compared with one of them. */
static bool without_strict(const struct load *l, unsigned *rows, unsigned *inout_n)
{
	unsigned n = 0;

	for (unsigned i = 0; i < *inout_n; i++) {
		const struct load_row *strict = strict_of(l, &l->rows[rows[i]]);

		if (!strict || strict->ops_per_s <= 0)
			return false;
	}
	for (unsigned i = 0; i < *inout_n; i++)
		if (strict_of(l, &l->rows[rows[i]]) != &l->rows[rows[i]])
			rows[n++] = rows[i];
	*inout_n = n;
	return true;
}

/* In a picture: by what varies; then as the files have them. */
static const struct load *sorted_load;
static enum vary sorted_vary;

static int by_value(const void *a, const void *b)
{
	unsigned i = *(const unsigned *)a, k = *(const unsigned *)b;
	const struct load_row *x = &sorted_load->rows[i], *y = &sorted_load->rows[k];
	double u = value_of(x, sorted_vary), v = value_of(y, sorted_vary);

	if (sorted_vary == ANYTHING) {
		u = x->size;
		v = y->size;
		if (u == v) {
			u = x->threads;
			v = y->threads;
		}
	}
	return u != v ? (u > v) - (u < v) : (i > k) - (i < k);
}

static void heading(const struct page *p, const struct load_row *r, enum vary vary)
{
	static const char *const what[] = { "threads", "size", "queue depth" };
	char bytes[32];

	size_text(r->size, bytes, sizeof(bytes));
	fputs("<h3>", p->out);
	chart_text(p->out, r->backend);
	fputs(", ", p->out);
	chart_text(p->out, r->workload);
	if (vary != ANYTHING)
		fprintf(p->out, ": by %s", what[vary]);
	if (vary == THREADS || vary == DEPTH)
		fprintf(p->out, ", %s", bytes);
	if (vary == SIZE || vary == DEPTH)
		fprintf(p->out, ", %.0f thread%s", r->threads, r->threads == 1 ? "" : "s");
	fputs("</h3>\n<figure>\n", p->out);
}

/* One picture of the rows that agree with @of, unless it would show a single value. */
static int picture(const struct page *p, unsigned of, enum vary vary, bool *drawn)
{
	const struct load *l = p->load;
	const struct load_row *first = &l->rows[of];
	unsigned *rows = calloc(l->n_rows, sizeof(*rows)), n = 0;
	struct chart_bar *bars = calloc(l->n_rows, sizeof(*bars));
	struct chart_bars c = { .title = "operations a second", .bars = bars,
				.axis = "operations (a map and an unmap) a second",
				.log = vary == SIZE };
	bool differ = vary == ANYTHING, ratio;
	int err = 0;

	if (!rows || !bars) {
		err = -ENOMEM;
		goto out;
	}
	for (unsigned i = 0; i < l->n_rows; i++) {
		if (!agree(first, &l->rows[i], vary) || (vary == ANYTHING && drawn[i]))
			continue;
		rows[n++] = i;
		/* Depths are compared among those that have a queue. */
		if (vary != ANYTHING && (vary != DEPTH || l->rows[i].has_queue))
			for (unsigned k = 0; k + 1 < n; k++)
				differ = differ ||
					 ((vary != DEPTH || l->rows[rows[k]].has_queue) &&
					  value_of(&l->rows[rows[k]], vary) !=
						  value_of(&l->rows[i], vary));
	}
	if (!differ)
		goto out;
	ratio = vary == DEPTH && without_strict(l, rows, &n);
	if (ratio)
		c.axis = "times as fast as strict in the same run; "
			 "invalidations for 1,000 operations";
	sorted_load = l;
	sorted_vary = vary;
	qsort(rows, n, sizeof(*rows), by_value);
	for (unsigned i = 0; i < n; i++) {
		fill_bar(p, &l->rows[rows[i]], vary, &bars[i]);
		drawn[rows[i]] = true;
		if (ratio)
			fill_ratio(l, &l->rows[rows[i]], &bars[i]);
		if (c.log && bars[i].value <= 0)
			c.log = false;
		if (!i || bars[i].value < c.from)
			c.from = bars[i].value;
	}
	c.n = n;
	/* Sizes differ by more than a straight scale can show. */
	c.from = c.log ? pow(10, floor(log10(c.from / 2))) : 0;
	for (unsigned i = 0; c.log && i < n; i++)
		bars[i].low = fmax(bars[i].low, c.from);
	heading(p, first, vary);
	chart_bars(p->out, &c);
	page_caption(p, "Throughput of all threads together%s; cost %s.",
		     c.log ? ", on a logarithmic scale" : "", first->cost_model);
out:
	free(bars);
	free(rows);
	return err;
}

static int pictures(const struct page *p, enum vary vary, bool *drawn)
{
	const struct load *l = p->load;
	int err = 0;

	for (unsigned i = 0; !err && i < l->n_rows; i++) {
		bool first = is_map(&l->rows[i]) && !(vary == ANYTHING && drawn[i]);

		for (unsigned k = 0; first && vary != ANYTHING && k < i; k++)
			first = !(is_map(&l->rows[k]) && agree(&l->rows[i], &l->rows[k], vary));
		if (first)
			err = picture(p, i, vary, drawn);
	}
	return err;
}

static void per_1000(const struct page *p, double value)
{
	if (value < 0)
		page_cell(p, "-");
	else
		page_cell(p, "%.1f", value);
}

static void row(const struct page *p, const struct load_row *r)
{
	const struct load_row *strict = strict_of(p->load, r);
	char queue[96];

	queue_text(r, queue, sizeof(queue));
	page_row(p);
	page_cell(p, "%u", r->file + 1);
	page_text_cell(p, r->backend);
	page_text_cell(p, r->mode);
	page_text_cell(p, r->contender);
	page_text_cell(p, r->workload);
	page_cell(p, "%.0f", r->size);
	page_cell(p, "%.0f", r->threads);
	page_text_cell(p, !r->has_queue ? "" : queue[0] ? queue : "default");
	page_rate_cells(p, r);
	if (strict && strict->ops_per_s > 0)
		page_cell(p, "%.2f", r->ops_per_s / strict->ops_per_s);
	else
		page_cell(p, "-");
	page_ns_cells(p, r->p50, r->p99, r->p999);
	if (r->has_single)
		page_ns_cells(p, r->single_p50, r->single_p99, r->single_p999);
	else
		for (unsigned i = 0; i < 3; i++)
			page_cell(p, "-");
	per_1000(p, r->calls);
	per_1000(p, r->unmaps);
	per_1000(p, r->invalidations);
	page_row_end(p);
}

int page_map(const struct page *p)
{
	static const char *const headings[] = {
		"file", "<backend", "<mode", "<contender", "<workload", "bytes", "threads",
		"<queue", "ops/s", "spread", "x strict", "p50", "p99", "p99.9", "alone p50",
		"p99", "p99.9", "calls", "unmaps", "inval.", NULL,
	};
	const struct load *l = p->load;
	bool *drawn = calloc(l->n_rows, sizeof(*drawn)), any = false;
	int err = 0;

	if (!drawn)
		return -ENOMEM;
	for (unsigned i = 0; i < l->n_rows; i++)
		any = any || is_map(&l->rows[i]);
	if (!any)
		goto out;
	fputs("<h2>Map and unmap</h2>\n<p>One operation is a map and an unmap. W0 is one warm "
	      "pair, W1 has 4 queues of 128 buffers that are unmapped as they complete. A strict "
	      "unmap returns when no device reaches the buffer; a lazy one lets that wait, so "
	      "that many are paid for at once.</p>\n", p->out);
	for (enum vary vary = THREADS; !err && vary <= ANYTHING; vary++)
		err = pictures(p, vary, drawn);
	fputs("<p>Nanoseconds an operation, in batches of 64 and, where one takes more than 1 µs, "
	      "each alone; calls, unmap calls and invalidations are for 1,000 operations.</p>\n",
	      p->out);
	page_table(p, headings);
	for (unsigned i = 0; i < l->n_rows; i++)
		if (is_map(&l->rows[i]))
			row(p, &l->rows[i]);
	page_table_end(p);
out:
	free(drawn);
	return err;
}
