/* SPDX-License-Identifier: BSD-2-Clause */
/* Pictures as SVG inside a page, whose style sheet has the colours. */
#ifndef BENCH_CHART_H
#define BENCH_CHART_H

#include <stdbool.h>
#include <stdio.h>

/* How many series have a colour and a dash of their own; further ones begin again. */
#define CHART_SERIES 8u

#define CHART_LABEL 64

/* A bar has a line of its own: its label, the bar with its whisker, its value. */
struct chart_bar {
	char group[CHART_LABEL]; /* a heading, shown where it differs from the bar's before */
	char label[CHART_LABEL];
	char text[32];
	unsigned series;
	double value, low, high; /* low <= value <= high; with a logarithmic scale > 0 */
};

struct chart_bars {
	const char *title; /* for who cannot see it */
	const char *axis;  /* what is measured, and its unit */
	const struct chart_bar *bars;
	unsigned n;
	bool log;
	double from; /* where bars begin; with a logarithmic scale > 0 */
	double low, high; /* what the scale holds at least, so that pictures compare; or 0,0 */
};

struct chart_line {
	char label[CHART_LABEL];
	unsigned series;
	const double *x, *y; /* x ascends; with a logarithmic scale y <= 0 is left out */
	unsigned n;
};

struct chart_lines {
	const char *title, *x_axis, *y_axis;
	const struct chart_line *lines;
	unsigned n;
	bool log; /* y */
};

void chart_bars(FILE *out, const struct chart_bars *c);
void chart_lines(FILE *out, const struct chart_lines *c);

/* Text for HTML and SVG, attribute values included; what is not UTF-8 or no character is '?'. */
void chart_text(FILE *out, const char *text);

/* 1234567 → "1.23M", 0.25 → "0.25", 0 → "0". */
void chart_number(double value, char *text, size_t size);

/* The first @most characters of @from, with an ellipsis if there were more. @size > 4 * @most. */
void chart_cut(const char *from, unsigned most, char *text, size_t size);

/* Where an axis from @low to @high (low < high; log: 0 < low) has ticks: at most @room of them. */
unsigned chart_ticks(double low, double high, bool log, double *ret_ticks, unsigned room);

#endif
