// SPDX-License-Identifier: BSD-2-Clause
/*
 * The page's parts about IOVA allocators: how they compare with ours, and how they age.
 */
#include "bench/page.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/chart.h"
#include "bench/report.h"
#include "workload/workload.h"

/* Bars of one picture, about. */
#define SCREENFUL 24u

/* Of a contender's name in a picture. */
#define NAME_LETTERS 24u

static bool is_iova(const struct load_row *r, bool ageing)
{
	return !strcmp(r->bench, "iova") && r->has_series == ageing;
}

static bool same_run(const struct load_row *a, const struct load_row *b)
{
	return a->file == b->file && !strcmp(a->workload, b->workload) &&
	       a->threads == b->threads && a->held == b->held;
}

/* The result of @contender next to @r, or NULL. */
static const struct load_row *beside(const struct load *l, const struct load_row *r,
				     const char *contender)
{
	for (unsigned i = 0; i < l->n_rows; i++)
		if (is_iova(&l->rows[i], r->has_series) && same_run(&l->rows[i], r) &&
		    !strcmp(l->rows[i].contender, contender))
			return &l->rows[i];
	return NULL;
}

static void fill_bar(const struct page *p, const struct load_row *r, const struct load_row *ours,
		     struct chart_bar *b)
{
	char held[32] = "", name[CHART_LABEL];
	/* As wide as two independent spreads make a ratio's, where rounds were not compared. */
	double half = hypot(r->spread, ours->spread) / 2;

	memset(b, 0, sizeof(*b));
	if (r->held)
		snprintf(held, sizeof(held), ", beside %.0f live", r->held);
	chart_cut(r->workload, 10, name, sizeof(name));
	snprintf(b->group, sizeof(b->group), "%.40s, %.0f thread%s%s", name, r->threads,
		 r->threads == 1 ? "" : "s", held);
	chart_cut(r->contender, NAME_LETTERS, name, sizeof(name) - 12);
	snprintf(b->label, sizeof(b->label), "%.52s%s", name, page_which(p, r));
	snprintf(b->text, sizeof(b->text), "%.3gx", r->ratio);
	b->series = page_series(r->contender, NULL);
	b->value = r->ratio;
	b->low = r->ratio * (half < 0.9 ? 1 - half : 0.1);
	b->high = r->ratio * (1 + half);
	if (r->has_pairs && r->by_clock[0] > 0) {
		b->low = r->by_clock[0];
		b->value = r->by_clock[1];
		b->high = r->by_clock[2];
		snprintf(b->text, sizeof(b->text), "%.3gx", b->value);
	}
}

static int ratios(const struct page *p)
{
	const struct load *l = p->load;
	struct chart_bar *bars = calloc(l->n_rows, sizeof(*bars));
	struct chart_bars c = {
		.title = "throughput as a multiple of dray's", .bars = bars, .log = true, .from = 1,
		.axis = "times as fast as dray (left of 1: slower)",
	};
	unsigned without = 0, n = 0;

	if (!bars)
		return -ENOMEM;
	for (unsigned i = 0; i < l->n_rows; i++) {
		const struct load_row *r = &l->rows[i], *ours;

		if (!is_iova(r, false) || !strcmp(r->contender, "dray"))
			continue;
		ours = beside(l, r, "dray");
		if (ours && r->ratio > 0)
			fill_bar(p, r, ours, &bars[n++]);
		else
			without++;
	}
	for (unsigned i = 0; i < n; i++) {
		c.low = !i || bars[i].low < c.low ? bars[i].low : c.low;
		c.high = !i || bars[i].high > c.high ? bars[i].high : c.high;
	}
	for (c.bars = bars; c.bars < bars + n; c.bars += c.n) {
		unsigned left = (unsigned)(bars + n - c.bars);

		/* A screenful, up to the end of a group. */
		c.n = left < SCREENFUL ? left : SCREENFUL;
		while (c.n < left && !strcmp(c.bars[c.n].group, c.bars[c.n - 1].group))
			c.n++;
		fputs("<figure>\n", p->out);
		chart_bars(p->out, &c);
		page_caption(p, "Throughput in the same run, as a multiple of dray's; the scale "
			     "is logarithmic, and whiskers span the middle half of the rounds. floor "
			     "is a bare stack of each thread's own, which nothing can beat and which "
			     "is no allocator.");
	}
	if (without)
		fprintf(p->out, "<p class=\"note\">%u result%s no dray in the same run to compare "
			"with; the table has %s.</p>\n", without, without == 1 ? " has" : "s have",
			without == 1 ? "it" : "them");
	free(bars);
	return 0;
}

static void row(const struct page *p, const struct load_row *r)
{
	page_row(p);
	page_cell(p, "%u", r->file + 1);
	page_text_cell(p, r->workload);
	page_cell(p, "%.0f", r->threads);
	page_cell(p, "%.0f", r->held);
	page_text_cell(p, r->contender);
	page_rate_cells(p, r);
	if (r->ratio > 0)
		page_cell(p, "%.4g", r->ratio);
	else
		page_cell(p, "-");
	page_ns_cells(p, r->p50, r->p99, r->p999);
	page_cell(p, "%.0f", r->live);
	page_cell(p, "%.0f", r->population);
	page_cell(p, "%.1f", r->leaf_tables_per_1000);
	page_row_end(p);
}

/* What the letters of the workloads stand for, of those that are there. */
static void explain(const struct page *p, bool ageing)
{
	fputs("<p>", p->out);
	for (const struct workload *w = workloads; w->name; w++) {
		for (unsigned i = 0; i < p->load->n_rows; i++) {
			if (!is_iova(&p->load->rows[i], ageing) ||
			    strcmp(p->load->rows[i].workload, w->name))
				continue;
			fprintf(p->out, "<b>%s</b> ", w->name);
			chart_text(p->out, w->what);
			fputs(". ", p->out);
			break;
		}
	}
	fputs("</p>\n", p->out);
}

int page_iova(const struct page *p)
{
	static const char *const headings[] = {
		"file", "<workload", "threads", "beside", "<contender", "ops/s", "spread", "x dray",
		"p50", "p99", "p99.9", "live", "population", "leaf tables", NULL,
	};
	const struct load *l = p->load;
	bool any = false;
	int err;

	for (unsigned i = 0; i < l->n_rows; i++)
		any = any || is_iova(&l->rows[i], false);
	if (!any)
		return 0;
	fputs("<h2>IOVA allocators</h2>\n<p>One operation is a pair: a range taken, a range given "
	      "back.</p>\n", p->out);
	explain(p, false);
	err = ratios(p);
	fputs("<p>Nanoseconds an operation, in batches of 64. Live is the most ranges that were "
	      "out, population the most that were out or cached, leaf tables those that 1,000 live "
	      "ranges lie in.</p>\n", p->out);
	page_table(p, headings);
	for (unsigned i = 0; i < l->n_rows; i++)
		if (is_iova(&l->rows[i], false))
			row(p, &l->rows[i]);
	page_table_end(p);
	return err;
}

enum curve { P50, P999, POPULATION };

/* Nothing that it holds comes back from another thread: its population says nothing. */
static bool is_floor(const struct load_row *r)
{
	return !strncmp(r->contender, "floor", strlen("floor"));
}

static double curve_of(const struct load_window *w, enum curve curve)
{
	return curve == P50 ? w->p50 : curve == P999 ? w->p999 : w->population;
}

/* One picture of everything that aged beside @first. */
static int curves(const struct page *p, const struct load_row *first, enum curve curve)
{
	static const char *const titles[] = {
		"p50 over the run", "p99.9 over the run", "population over the run",
	};
	static const char *const axes[] = {
		"p50, ns an operation", "p99.9, ns an operation", "ranges out or cached",
	};
	const struct load *l = p->load;
	struct chart_line *lines = calloc(l->n_rows + 1, sizeof(*lines));
	struct chart_lines c = { .title = titles[curve], .x_axis = "operations done",
				 .y_axis = axes[curve], .lines = lines,
				 .log = curve != POPULATION };
	int err = lines ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < l->n_rows; i++) {
		const struct load_row *r = &l->rows[i];
		double *xy;

		if (!is_iova(r, true) || !same_run(r, first) ||
		    (curve == POPULATION && is_floor(r)))
			continue;
		xy = calloc(r->n_series, 2 * sizeof(*xy));
		if (!xy) {
			err = -ENOMEM;
			break;
		}
		for (unsigned k = 0; k < r->n_series; k++) {
			xy[k] = r->series[k].ops;
			xy[r->n_series + k] = curve_of(&r->series[k], curve);
		}
		lines[c.n] = (struct chart_line){ .series = page_series(r->contender, NULL),
						  .x = xy, .y = xy + r->n_series,
						  .n = r->n_series };
		chart_cut(r->contender, NAME_LETTERS, lines[c.n].label, CHART_LABEL);
		c.n++;
	}
	if (!err && c.n) {
		fputs("<figure>\n", p->out);
		chart_lines(p->out, &c);
		page_caption(p, "%s.", curve == POPULATION ?
			     "What each allocator has taken from its space, at the end of each "
			     "window; floor takes without end, being no allocator" :
			     "In batches of 64, of each window; the upright scale is logarithmic "
			     "and does not begin at 0");
	}
	for (unsigned i = 0; lines && i < c.n; i++)
		free((double *)lines[i].x);
	free(lines);
	return err;
}

static void drift_row(const struct page *p, const struct load_row *r)
{
	const struct load_row *control = beside(p->load, r, "floor");
	const struct load_window *last = &r->series[r->n_series - 1];

	page_row(p);
	page_cell(p, "%u", r->file + 1);
	page_text_cell(p, r->contender);
	page_cell(p, "%.4g", r->ops);
	page_rate_cells(p, r);
	page_ns_cells(p, r->p50, r->p99, r->p999);
	page_cell(p, "%+.1f %%", r->drift_p50 * 100);
	if (control)
		page_cell(p, "%+.1f %%", (r->drift_p50 - control->drift_p50) * 100);
	else
		page_cell(p, "-");
	page_cell(p, "%+.1f %%", r->drift_p999 * 100);
	if (control)
		page_cell(p, "%+.1f %%", (r->drift_p999 - control->drift_p999) * 100);
	else
		page_cell(p, "-");
	page_cell(p, "%.0f", r->live);
	page_cell(p, "%.0f", r->series[0].population);
	page_cell(p, "%.0f", last->population);
	page_cell(p, "%.0f", r->population);
	page_row_end(p);
}

static int aged(const struct page *p, const struct load_row *first)
{
	static const char *const headings[] = {
		"file", "<contender", "ops", "ops/s", "spread", "p50", "p99", "p99.9", "p50 drift",
		"less control", "p99.9 drift", "less control", "most live", "population: first",
		"last", "most", NULL,
	};
	const struct load *l = p->load;
	int err = 0;

	fputs("<h3>", p->out);
	chart_text(p->out, first->workload);
	fprintf(p->out, ", %.0f thread%s", first->threads, first->threads == 1 ? "" : "s");
	if (first->held)
		fprintf(p->out, ", beside %.0f live", first->held);
	fprintf(p->out, "%s</h3>\n", page_which(p, first));
	for (enum curve c = P50; !err && c <= POPULATION; c++)
		err = curves(p, first, c);
	page_table(p, headings);
	for (unsigned i = 0; i < l->n_rows; i++)
		if (is_iova(&l->rows[i], true) && same_run(&l->rows[i], first))
			drift_row(p, &l->rows[i]);
	page_table_end(p);
	return err;
}

int page_ageing(const struct page *p)
{
	const struct load *l = p->load;
	bool any = false;
	int err = 0;

	for (unsigned i = 0; !err && i < l->n_rows; i++) {
		bool first = is_iova(&l->rows[i], true);

		for (unsigned k = 0; first && k < i; k++)
			first = !(is_iova(&l->rows[k], true) && same_run(&l->rows[k], &l->rows[i]));
		if (!first)
			continue;
		if (!any) {
			fputs("<h2>Ageing</h2>\n<p>A fixed number of operations in windows, the "
			      "contenders in turn. Drift is the last tenth of the windows over "
			      "the first, less 1; floor cannot age, so its drift is the "
			      "machine's, and is taken off in the column beside.</p>\n", p->out);
			explain(p, true);
		}
		any = true;
		err = aged(p, &l->rows[i]);
	}
	return err;
}
