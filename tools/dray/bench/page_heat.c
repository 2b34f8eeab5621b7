// SPDX-License-Identifier: BSD-2-Clause
/*
 * The page's part about where ranges lie. Each cell of a map is a column, filled from below with
 * what it has, so that a picture shows both: where something is, and how much of the room there it
 * takes. Cells go on in the next line, as text does, lowest addresses first.
 */
#include "bench/page.h"

#include <stdio.h>
#include <string.h>

#include "bench/chart.h"

#define WIDTH  900.0
#define HEIGHT 24.0
#define LINE   64u
#define CELL   (WIDTH / LINE)

/* In the order in which they are stacked, and how they are called in the key. */
static const struct {
	const char *name;
	enum load_kind kind;
	unsigned series;
} layers[] = {
	{ "live", LOAD_LIVE, 0 },
	{ "waiting for a flush", LOAD_RETIRED, 3 },
	{ "lost", LOAD_QUARANTINED, 1 },
	{ "left over of rounded sizes", LOAD_SLACK, 4 },
	{ "in magazines", LOAD_CACHED, 2 },
	{ "free in a chunk", LOAD_CHUNK_FREE, 6 },
	{ "reserved", LOAD_RESERVED, 5 },
};

#define LAYERS (sizeof(layers) / sizeof(layers[0]))

static double sum(const double cell[LOAD_KINDS])
{
	double all = 0;

	for (unsigned i = 0; i < LOAD_KINDS; i++)
		all += cell[i];
	return all;
}

static void column(FILE *out, const double cell[LOAD_KINDS], double x, double y, double width)
{
	double all = sum(cell), bottom = y + HEIGHT;

	for (unsigned i = 0; all > 0 && i < LAYERS; i++) {
		double height = cell[layers[i].kind] / all * HEIGHT;

		if (height <= 0)
			continue;
		bottom -= height;
		fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
			"class=\"f%u\"/>\n", x, bottom, width, height, layers[i].series);
	}
}

static void key(FILE *out)
{
	double x = 0;

	for (unsigned i = 0; i < LAYERS; i++) {
		fprintf(out, "<rect x=\"%.1f\" y=\"2\" width=\"10\" height=\"10\" class=\"f%u\"/>\n"
			"<text x=\"%.1f\" y=\"11\" class=\"tick\">", x, layers[i].series, x + 14);
		chart_text(out, layers[i].name);
		fputs("</text>\n", out);
		x += 24 + 6.2 * (double)strlen(layers[i].name);
	}
}

static void map(FILE *out, const struct load_map *m, const char *title)
{
	unsigned lines = (m->n + LINE - 1) / LINE;
	double top = 22;

	fprintf(out, "<svg class=\"chart\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"",
		WIDTH, top + lines * (HEIGHT + 6));
	chart_text(out, title);
	fputs("\">\n<title>", out);
	chart_text(out, title);
	fputs("</title>\n", out);
	key(out);
	for (unsigned i = 0, n; i < m->n; i += n) {
		/* What is alike side by side is drawn once. */
		n = 1;
		while (i + n < m->n && (i + n) % LINE &&
		       !memcmp(m->cells[i + n], m->cells[i], sizeof(m->cells[i])))
			n++;
		column(out, m->cells[i], i % LINE * CELL, top + i / LINE * (HEIGHT + 6), n * CELL);
	}
	for (unsigned i = 0; i < lines; i++) {
		unsigned n = m->n - i * LINE < LINE ? m->n - i * LINE : LINE;

		fprintf(out, "<rect x=\"0\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
			"class=\"grid\" fill=\"none\"/>\n", top + i * (HEIGHT + 6), n * CELL,
			HEIGHT);
	}
	fputs("</svg>\n", out);
}

/* What it is a picture of, and the shares of its pages. */
static void caption(const struct page *p, const struct load_map *m)
{
	double of[LOAD_KINDS] = { 0 }, all = 0;

	for (unsigned i = 0; i < m->n; i++) {
		for (unsigned k = 0; k < LOAD_KINDS; k++)
			of[k] += m->cells[i][k];
		all += sum(m->cells[i]);
	}
	all = all > 0 ? all : 1;
	/* Addresses have 48 bits, for which a double is exact. */
	page_caption(p, "0x%012llx to 0x%012llx, lowest first: %.0f pages, %.3g to a cell. %.1f %% "
		     "are live or wait for a flush, %.1f %% lie in magazines, %.1f %% are free in "
		     "chunks that have some of these.",
		     (unsigned long long)m->first, (unsigned long long)m->last, all, all / m->n,
		     (of[LOAD_LIVE] + of[LOAD_RETIRED]) / all * 100, of[LOAD_CACHED] / all * 100,
		     of[LOAD_CHUNK_FREE] / all * 100);
}

static void maps(const struct page *p, const struct load_row *r)
{
	char title[128], name[CHART_LABEL];

	chart_cut(r->contender, 24, name, sizeof(name));
	snprintf(title, sizeof(title), "%s: where its ranges lie", name);
	fputs("<h3>", p->out);
	chart_text(p->out, r->workload);
	fputs(", ", p->out);
	chart_text(p->out, r->contender);
	fprintf(p->out, ", %.0f thread%s%s</h3>\n", r->threads, r->threads == 1 ? "" : "s",
		page_which(p, r));
	for (unsigned i = 0; i < r->n_maps; i++) {
		fputs("<figure>\n", p->out);
		map(p->out, &r->maps[i], title);
		caption(p, &r->maps[i]);
	}
}

int page_heat(const struct page *p)
{
	const struct load *l = p->load;
	bool any = false;

	for (unsigned i = 0; i < l->n_rows; i++) {
		if (!l->rows[i].n_maps)
			continue;
		if (!any)
			fputs("<h2>Where ranges lie</h2>\n<p>After the run, with what the workload "
			      "still held. A map is as narrow as what it shows; a column is a "
			      "stretch of addresses, filled from below with what it has.</p>\n",
			      p->out);
		any = true;
		maps(p, &l->rows[i]);
	}
	return 0;
}
