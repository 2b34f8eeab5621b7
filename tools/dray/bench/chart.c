// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pictures, drawn by hand.
 *
 * 1. No library: what is needed is two kinds of picture, and each is a few lines, rectangles and
 *    words. SVG in the page scales, prints and can be searched; colours come from the page's style
 *    sheet by class, so that a dark page has other ones.
 *
 * 2. Nobody can tell how wide a word is, because the reader's fonts decide. So words never have to
 *    fit: each bar has a line of its own with its label on the left and its value behind the bar,
 *    the label's room is reckoned at the width of a wide letter for each, and longer labels are
 *    cut. Lines are named in a legend below the picture, which has rows enough.
 *
 * 3. Scales. Linear ones have ticks at 1, 2 or 5 times a power of ten; logarithmic ones at the
 *    powers of ten, and at 2 and 5 times these where there are few. A figure of 0 has no place on
 *    a logarithmic scale; the caller leaves it out.
 *
 * 4. Whiskers are the middle half of the rounds, as far as a spread can tell: as wide as that,
 *    around the median.
 */
#include "bench/chart.h"

#include <math.h>
#include <string.h>

#define WIDTH      860.0
#define LINE       22.0 /* of a bar, and of a row of the legend */
#define LETTER     6.6  /* a wide one, at 12 px */
#define LETTERS    44u  /* of a label in a picture, at most */
#define VALUE_ROOM 112.0
#define PLOT       300.0 /* height of a picture with lines */
#define TICKS      12u

void chart_text(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		unsigned more = *s >= 0xf0 && *s < 0xf5 ? 3 : *s >= 0xe0 && *s < 0xf0 ? 2 :
				*s >= 0xc2 && *s < 0xe0 ? 1 : 0;
		unsigned have = 0;

		while (have < more && (s[1 + have] & 0xc0) == 0x80)
			have++;
		if (*s < 0x20 || *s == 0x7f || (*s >= 0x80 && (!more || have < more)))
			fputs(*s == '\n' || *s == '\t' ? " " : "?", out);
		else if (*s == '<')
			fputs("&lt;", out);
		else if (*s == '>')
			fputs("&gt;", out);
		else if (*s == '&')
			fputs("&amp;", out);
		else if (*s == '"')
			fputs("&quot;", out);
		else
			fwrite(s, 1, 1 + more, out);
		s += have < more ? 1 : 1 + more;
	}
}

static unsigned letters(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

void chart_cut(const char *from, unsigned most, char *text, size_t size)
{
	unsigned n = 0;
	size_t i = 0;

	if (letters(from) <= most) {
		snprintf(text, size, "%s", from);
		return;
	}
	for (; from[i] && i + 4 < size; i++) {
		n += (from[i] & 0xc0) != 0x80;
		if (n == most)
			break;
		text[i] = from[i];
	}
	memcpy(text + i, "…", sizeof("…"));
}

void chart_number(double value, char *text, size_t size)
{
	static const char units[] = " kMGTP";
	unsigned i = 0;
	double v = fabs(value);

	if (v < 1e-9) {
		snprintf(text, size, "0");
		return;
	}
	while (v >= 999.5 && units[i + 1]) {
		v /= 1000;
		value /= 1000;
		i++;
	}
	snprintf(text, size, "%.3g", value);
	if (i) {
		size_t n = strlen(text);

		snprintf(text + n, size - n, "%c", units[i]);
	}
}

unsigned chart_ticks(double low, double high, bool log, double *ret_ticks, unsigned room)
{
	static const double steps[] = { 1, 2, 5 };
	unsigned n = 0;

	if (log) {
		int from = (int)floor(log10(low)), to = (int)ceil(log10(high));
		int stride = 1 + (to - from) / (int)room;
		bool fine = log10(high / low) <= 3;

		for (int e = from; e <= to; e += stride) {
			for (unsigned k = 0; k < (fine ? 3u : 1u); k++) {
				double at = steps[k] * pow(10, e);

				if (at >= low * (1 - 1e-9) && at <= high * (1 + 1e-9) && n < room)
					ret_ticks[n++] = at;
			}
		}
		return n;
	}
	for (int e = (int)floor(log10((high - low) / room)) - 1;; e++) {
		for (unsigned k = 0; k < 3; k++) {
			double step = steps[k] * pow(10, e), first = ceil(low / step - 1e-9);
			double last = floor(high / step + 1e-9);

			if (last - first + 1 > room)
				continue;
			for (double at = first; at <= last; at++)
				ret_ticks[n++] = at * step;
			return n;
		}
	}
}

struct scale {
	double low, high, from, to; /* figures, and where they are in the picture */
	bool log;
};

static double place(const struct scale *s, double value)
{
	double low = s->log ? log10(s->low) : s->low, high = s->log ? log10(s->high) : s->high;
	double at = s->log ? log10(value) : value;

	return s->from + (at - low) / (high - low) * (s->to - s->from);
}

/* A little room, and never nothing. */
static struct scale scale_of(double low, double high, bool log)
{
	if (log) {
		if (high < low * 1.5) {
			low /= 1.5;
			high *= 1.5;
		}
		return (struct scale){ low / 1.08, high * 1.08, 0, 0, true };
	}
	if (high - low < 1e-9)
		high = low + 1;
	return (struct scale){ low, high + (high - low) * 0.04, 0, 0, false };
}

static void begin(FILE *out, double height, const char *title)
{
	fprintf(out, "<svg class=\"chart\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"",
		WIDTH, height);
	chart_text(out, title);
	fputs("\">\n<title>", out);
	chart_text(out, title);
	fputs("</title>\n", out);
}

static void words(FILE *out, double x, double y, const char *class, const char *text)
{
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	chart_text(out, text);
	fputs("</text>\n", out);
}

static void line(FILE *out, double x1, double y1, double x2, double y2, const char *class)
{
	fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1,
		y1, x2, y2, class);
}

static void x_axis(FILE *out, const struct scale *s, double top, double bottom, const char *axis)
{
	double ticks[TICKS];
	unsigned n = chart_ticks(s->low, s->high, s->log, ticks, TICKS);

	for (unsigned i = 0; i < n; i++) {
		char text[32];

		chart_number(ticks[i], text, sizeof(text));
		line(out, place(s, ticks[i]), top, place(s, ticks[i]), bottom, "grid");
		words(out, place(s, ticks[i]), bottom + 15, "tick mid", text);
	}
	words(out, (s->from + s->to) / 2, bottom + 33, "axis mid", axis);
}

static void draw_bar(FILE *out, const struct chart_bar *b, const struct scale *s, double from,
		     double y)
{
	double x1 = place(s, from), x2 = place(s, b->value);
	double low = place(s, b->low), high = place(s, b->high), mid = y + LINE / 2;
	double left = x1 < x2 ? x1 : x2, right = x1 < x2 ? x2 : x1;

	fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"f%u\"/>\n",
		left, y + 4, right - left > 1 ? right - left : 1, LINE - 8,
		b->series % CHART_SERIES);
	line(out, low, mid, high, mid, "whisker");
	line(out, low, mid - 4, low, mid + 4, "whisker");
	line(out, high, mid - 4, high, mid + 4, "whisker");
	/* Behind whatever reaches farthest to the right. */
	words(out, (right > high ? right : high) + 6, mid + 4, "value", b->text);
}

void chart_bars(FILE *out, const struct chart_bars *c)
{
	double low = c->from, high = c->from, y = 8, label = 0, height = 8 + 44;
	unsigned n;
	struct scale s;

	for (unsigned i = 0; i < c->n; i++) {
		const struct chart_bar *b = &c->bars[i];

		low = b->low < low ? b->low : low;
		high = b->high > high ? b->high : high;
		/* A group's name is bold, and begins where the labels' room does. */
		n = letters(b->label) > letters(b->group) ? letters(b->label)
							  : letters(b->group) + 2;
		n = n < LETTERS ? n : LETTERS;
		label = n * LETTER > label ? n * LETTER : label;
		height += LINE;
		if (!i || strcmp(b->group, c->bars[i - 1].group))
			height += b->group[0] ? LINE + 4 : 0;
	}
	if (c->high > c->low) {
		low = c->low < low ? c->low : low;
		high = c->high > high ? c->high : high;
	}
	s = scale_of(low, high, c->log);
	s.from = label + 24;
	s.to = WIDTH - VALUE_ROOM;
	begin(out, height, c->title);
	x_axis(out, &s, 4, height - 40, c->axis);
	for (unsigned i = 0; i < c->n; i++) {
		const struct chart_bar *b = &c->bars[i];
		char text[CHART_LABEL * 4];

		if (b->group[0] && (!i || strcmp(b->group, c->bars[i - 1].group))) {
			words(out, 4, y + LINE - 5, "group", b->group);
			y += LINE + 4;
		}
		chart_cut(b->label, LETTERS, text, sizeof(text));
		words(out, s.from - 8, y + LINE / 2 + 4, "label end", text);
		draw_bar(out, b, &s, c->from, y);
		y += LINE;
	}
	line(out, place(&s, c->from), 4, place(&s, c->from), height - 40, "base");
	fputs("</svg>\n", out);
}

static void draw_line(FILE *out, const struct chart_line *l, const struct scale *sx,
		      const struct scale *sy)
{
	bool pen = false;

	fprintf(out, "<path class=\"l%u\" d=\"", l->series % CHART_SERIES);
	for (unsigned i = 0; i < l->n; i++) {
		if (sy->log && l->y[i] <= 0) {
			pen = false;
			continue;
		}
		fprintf(out, "%s%.1f %.1f", pen ? " L" : " M", place(sx, l->x[i]),
			place(sy, l->y[i]));
		pen = true;
	}
	fputs("\"/>\n", out);
}

static void y_axis(FILE *out, const struct scale *s, double left, double right, const char *axis)
{
	double ticks[TICKS];
	unsigned n = chart_ticks(s->low, s->high, s->log, ticks, TICKS);

	for (unsigned i = 0; i < n; i++) {
		char text[32];

		chart_number(ticks[i], text, sizeof(text));
		line(out, left, place(s, ticks[i]), right, place(s, ticks[i]), "grid");
		words(out, left - 6, place(s, ticks[i]) + 4, "tick end", text);
	}
	/* Above the picture, not turned: that can be read. */
	words(out, 4, 14, "axis", axis);
}

static void legend(FILE *out, const struct chart_lines *c, double x, double y, unsigned columns)
{
	double width = (WIDTH - x) / columns;

	for (unsigned i = 0; i < c->n; i++) {
		double at = x + width * (i % columns), line_y = y + LINE * (i / columns);
		char text[CHART_LABEL * 4], class[16];

		snprintf(class, sizeof(class), "l%u", c->lines[i].series % CHART_SERIES);
		line(out, at, line_y, at + 30, line_y, class);
		chart_cut(c->lines[i].label, (unsigned)((width - 50) / LETTER), text, sizeof(text));
		words(out, at + 36, line_y + 4, "label", text);
	}
}

void chart_lines(FILE *out, const struct chart_lines *c)
{
	const double left = 62, top = 26, bottom = top + PLOT;
	const unsigned columns = 3, rows = (c->n + columns - 1) / columns;
	double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
	struct scale sx, sy;

	for (unsigned i = 0; i < c->n; i++) {
		for (unsigned k = 0; k < c->lines[i].n; k++) {
			double x = c->lines[i].x[k], y = c->lines[i].y[k];

			if (c->log && y <= 0)
				continue;
			x_low = x < x_low ? x : x_low;
			x_high = x > x_high ? x : x_high;
			y_low = y < y_low ? y : y_low;
			y_high = y > y_high ? y : y_high;
		}
	}
	if (x_low > x_high)
		x_low = y_low = 1, x_high = y_high = 2; /* nothing to draw: an empty picture */
	sx = scale_of(0 < x_low ? 0 : x_low, x_high, false);
	sy = scale_of(c->log ? y_low : 0, y_high, c->log);
	sx.from = left;
	sx.to = WIDTH - 24;
	sy.from = bottom;
	sy.to = top;
	begin(out, bottom + 52 + LINE * rows, c->title);
	y_axis(out, &sy, left, sx.to, c->y_axis);
	x_axis(out, &sx, top, bottom, c->x_axis);
	line(out, left, top, left, bottom, "base");
	line(out, left, bottom, sx.to, bottom, "base");
	for (unsigned i = 0; i < c->n; i++)
		draw_line(out, &c->lines[i], &sx, &sy);
	legend(out, c, left, bottom + 56, columns);
	fputs("</svg>\n", out);
}
