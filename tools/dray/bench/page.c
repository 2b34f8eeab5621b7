// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray bench report`: one page that needs nothing but itself.
 *
 * 1. Every file is read and checked before anything is written; one that is wrong ends the program
 *    with its name. The page is made in memory, so that a full disk leaves no half of one.
 *
 * 2. It says first on which machines it was measured and which settings were measured more than
 *    once: figures of two runs do not compare as those of one do, in which the contenders took
 *    turns. Then pictures, each with the table of all its figures.
 *
 * 3. The page is well-formed XML as well as HTML, has no script, no font and no picture of anybody
 *    else's, and follows the reader's wish for light or dark; printed it is light.
 */
#include "bench/bench.h"
#include "bench/page.h"

#include <argp.h>
#include <dray/stats.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench/chart.h"
#include "bench/parse.h"
#include "bench/report.h"
#include "cmd.h"

static const char me[] = "dray bench report";

/* Colours that differ for every kind of eye (Okabe and Ito), lighter ones where it is dark. */
static const char style[] =
	":root{--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d8dee4;--head:#f3f5f7;"
	"--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b3488b;--c4:#8a6d00;--c5:#6e7781;"
	"--c6:#3aa0dc;--c7:#5b4bbd}\n"
	"@media screen and (prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e4e8ec;"
	"--soft:#9aa4ae;--line:#343b43;--head:#1f252c;--c0:#4ba3e3;--c1:#f08a4b;--c2:#2fc08f;"
	"--c3:#e08abf;--c4:#d9b94a;--c5:#98a2ac;--c6:#8fd0f5;--c7:#a79bf0}}\n"
	"body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;"
	"max-width:60rem;margin:2rem auto;padding:0 1rem}\n"
	"h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.5rem;border-bottom:1px solid "
	"var(--line)}h3{font-size:1rem;margin:1.5rem 0 .3rem}\n"
	"p,figcaption{max-width:46rem}figcaption{color:var(--soft);font-size:.85rem}\n"
	"figure{margin:1rem 0 1.5rem;break-inside:avoid}\n"
	".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.8rem;"
	"font-variant-numeric:tabular-nums;white-space:nowrap}\n"
	"th,td{padding:.2rem .55rem;border-bottom:1px solid var(--line);text-align:right}\n"
	"th{background:var(--head)}th.t,td.t{text-align:left}tr{break-inside:avoid}\n"
	".note{border-left:3px solid var(--c1);padding-left:.8rem}\n"
	".chart{width:100%;height:auto;font:12px system-ui,sans-serif}\n"
	".chart text{fill:var(--fg)}.chart .tick,.chart .axis{fill:var(--soft);font-size:11px}\n"
	".chart .group{font-weight:600}.chart .mid{text-anchor:middle}"
	".chart .end{text-anchor:end}.grid{stroke:var(--line);stroke-width:1}\n"
	".base,.whisker{stroke:var(--fg);stroke-width:1.2}\n"
	".f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}"
	".f4{fill:var(--c4)}.f5{fill:var(--c5)}.f6{fill:var(--c6)}.f7{fill:var(--c7)}\n"
	".l0,.l1,.l2,.l3,.l4,.l5,.l6,.l7{fill:none;stroke-width:1.8;stroke-linejoin:round}\n"
	".l0{stroke:var(--c0)}.l1{stroke:var(--c1);stroke-dasharray:9 3}"
	".l2{stroke:var(--c2);stroke-dasharray:6 3}.l3{stroke:var(--c3);stroke-dasharray:3 2}"
	".l4{stroke:var(--c4);stroke-dasharray:12 3 2 3}"
	".l5{stroke:var(--c5);stroke-dasharray:1 2}"
	".l6{stroke:var(--c6);stroke-dasharray:14 4}"
	".l7{stroke:var(--c7);stroke-dasharray:8 2 2 2}\n"
	"@media print{body{max-width:none;margin:0;font-size:11px}table{font-size:8px}"
	"th,td{padding:.1rem .3rem}.wide{overflow:visible}*{print-color-adjust:exact}}\n"
	"@media print{h2,h3{break-after:avoid}.chart{max-height:150mm}}\n"
	"@page{size:A4 landscape;margin:12mm}\n";

unsigned page_series(const char *contender, const char *mode)
{
	static const struct {
		const char *contender, *mode;
		unsigned series;
	} known[] = {
		{ "dray", "strict", 1 },
		{ "kernel-fq", NULL, 2 },
		{ "dray", NULL, 0 },
		{ "rcache-unbounded", NULL, 1 },
		{ "rcache-fixed-depot", NULL, 3 },
		{ "rcache-256", NULL, 2 },
		{ "rcache-fixed-depot-256", NULL, 7 },
		{ "rbtree", NULL, 4 },
		{ "floor", NULL, 5 },
		{ "dray-tree", NULL, 6 },
		{ "dpdk", NULL, 2 },
	};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(known[i].contender, contender) &&
		    (!known[i].mode || (mode && !strcmp(known[i].mode, mode))))
			return known[i].series;
	return 7;
}

const char *page_which(const struct page *p, const struct load_row *r)
{
	static char text[16];

	for (unsigned i = 0; i < p->load->n_rows; i++) {
		const struct load_row *other = &p->load->rows[i];

		if (other != r && load_same_setting(other, r)) {
			snprintf(text, sizeof(text), " [%u]", r->file + 1);
			return text;
		}
	}
	return "";
}

void page_table(const struct page *p, const char *const *headings)
{
	fputs("<div class=\"wide\"><table>\n<tr>", p->out);
	/* A heading that begins with '<' is of words. */
	for (; *headings; headings++) {
		bool left = **headings == '<';

		fputs(left ? "<th class=\"t\">" : "<th>", p->out);
		chart_text(p->out, *headings + left);
		fputs("</th>", p->out);
	}
	fputs("</tr>\n", p->out);
}

void page_row(const struct page *p)
{
	fputs("<tr>", p->out);
}

void page_text_cell(const struct page *p, const char *text)
{
	fputs("<td class=\"t\">", p->out);
	chart_text(p->out, text);
	fputs("</td>", p->out);
}

void page_cell(const struct page *p, const char *fmt, ...)
{
	va_list ap;

	fputs("<td>", p->out);
	va_start(ap, fmt);
	vfprintf(p->out, fmt, ap);
	va_end(ap);
	fputs("</td>", p->out);
}

void page_row_end(const struct page *p)
{
	fputs("</tr>\n", p->out);
}

void page_table_end(const struct page *p)
{
	fputs("</table></div>\n", p->out);
}

void page_caption(const struct page *p, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fputs("<figcaption>", p->out);
	chart_text(p->out, text);
	fputs("</figcaption>\n</figure>\n", p->out);
}

void page_rate_cells(const struct page *p, const struct load_row *r)
{
	char rate[32];

	bench_format_rate(r->ops_per_s, rate, sizeof(rate));
	page_cell(p, "%s", rate);
	page_cell(p, "%.1f %%", r->spread * 100);
}

void page_ns_cells(const struct page *p, double p50, double p99, double p999)
{
	const double ns[] = { p50, p99, p999 };

	for (unsigned i = 0; i < 3; i++) {
		char text[32];

		bench_format_ns(ns[i], text, sizeof(text));
		page_cell(p, "%s", text);
	}
}

static void machine(const struct page *p, const struct load_file *f, unsigned number)
{
	fprintf(p->out, "<tr><td>%u</td>", number);
	page_text_cell(p, f->name);
	fputs("<td class=\"t\">", p->out);
	for (const struct load_file *other = p->load->files; other < f; other++) {
		if (json_object_equal(other->machine, f->machine)) {
			fprintf(p->out, "as of file %u</td></tr>\n",
				(unsigned)(other - p->load->files) + 1);
			return;
		}
	}
	json_object_object_foreach(f->machine, name, value)
	{
		chart_text(p->out, name);
		fputs(": ", p->out);
		if (json_object_is_type(value, json_type_boolean))
			fputs(json_object_get_boolean(value) ? "yes" : "no", p->out);
		else
			chart_text(p->out, json_object_get_string(value) ?
						   json_object_get_string(value) : "unknown");
		fputs("<br/>", p->out);
	}
	fputs("</td></tr>\n", p->out);
}

static void name_setting(const struct page *p, const struct load_row *r)
{
	chart_text(p->out, r->bench);
	fputs(" ", p->out);
	chart_text(p->out, r->contender);
	if (r->mode) {
		fputs(" ", p->out);
		chart_text(p->out, r->mode);
	}
	fputs(" ", p->out);
	chart_text(p->out, r->workload);
	fprintf(p->out, ", %.0f thread%s", r->threads, r->threads == 1 ? "" : "s");
	if (r->backend)
		fprintf(p->out, ", %.0f bytes", r->size);
}

/* Each setting that was measured more than once, and in which files. */
static void repeated(const struct page *p)
{
	const struct load *l = p->load;
	bool any = false;

	for (unsigned i = 0; i < l->n_rows; i++) {
		bool first = true, again = false;

		for (unsigned k = 0; k < i; k++)
			first = first && !load_same_setting(&l->rows[k], &l->rows[i]);
		for (unsigned k = i + 1; k < l->n_rows; k++)
			again = again || load_same_setting(&l->rows[k], &l->rows[i]);
		if (!first || !again)
			continue;
		if (!any)
			fputs("<div class=\"note\"><p>Measured more than once, in different "
			      "runs or files; such figures do not compare as those of one run "
			      "do. Numbers in brackets are those of the files.</p><ul>\n",
			      p->out);
		any = true;
		fputs("<li>", p->out);
		name_setting(p, &l->rows[i]);
		fputs(": ", p->out);
		for (unsigned k = i; k < l->n_rows; k++)
			if (load_same_setting(&l->rows[k], &l->rows[i]))
				fprintf(p->out, "[%u] ", l->rows[k].file + 1);
		fputs("</li>\n", p->out);
	}
	if (any)
		fputs("</ul></div>\n", p->out);
}

void page_begin(const struct page *p)
{
	fprintf(p->out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
		"<meta name=\"color-scheme\" content=\"light dark\"/>\n"
		"<title>dray bench report</title>\n<style>\n%s</style>\n</head>\n<body>\n"
		"<h1>dray bench report</h1>\n", style);
	fputs("<p>Ratios of one run mean something: there the contenders took turns. Spread is the "
	      "width of the middle half of the rounds as a share of their median; whiskers in the "
	      "pictures are as wide. Figures of two machines do not compare.</p>\n"
	      "<h2>Measured on</h2>\n<div class=\"wide\"><table>\n<tr><th>file</th>"
	      "<th class=\"t\">name</th><th class=\"t\">machine</th></tr>\n", p->out);
	for (unsigned i = 0; i < p->load->n_files; i++)
		machine(p, &p->load->files[i], i + 1);
	fputs("</table></div>\n", p->out);
	repeated(p);
}

void page_end(const struct page *p)
{
	fprintf(p->out, "<p><small>%u results of %u file%s, by dray %s</small></p>\n"
		"</body>\n</html>\n", p->load->n_rows, p->load->n_files,
		p->load->n_files == 1 ? "" : "s", dray_version());
}

/* --- the command --- */

struct options {
	struct load load;
	const char *out;
};

static const struct argp_option option_list[] = {
	{"output", 'o', "FILE", 0, "where to write the page", 0},
	{0},
};

static error_t take_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	char error[512];

	switch (key) {
	case 'o':
		o->out = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (load_file(&o->load, arg, error, sizeof(error)))
			bench_refuse(me, "%s", error);
		return 0;
	case ARGP_KEY_END:
		if (!o->load.n_files)
			bench_refuse(me, "no file was given; name what benches printed");
		if (!o->out)
			bench_refuse(me, "nowhere to write; name a file with -o");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int write_out(const char *name, const char *text, size_t len)
{
	FILE *f = fopen(name, "we");
	char sentence[512];
	bool good;

	if (!f)
		goto fail;
	good = fwrite(text, 1, len, f) == len;
	if (!fclose(f) && good)
		return CMD_GOOD;
fail:
	snprintf(sentence, sizeof(sentence), "%s: %s", name, strerror(errno));
	return cmd_fail(me, sentence);
}

int bench_report(int argc, char **argv)
{
	static const struct argp argp = { option_list, take_option, "FILE...",
		"Makes one page, with pictures, of what benches printed with --json.", NULL, NULL,
		NULL };
	struct options o = { .out = NULL };
	char *text = NULL;
	size_t len;
	struct page p = { .load = &o.load };
	int code, err;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return CMD_USAGE;
	p.out = open_memstream(&text, &len);
	if (!p.out)
		return cmd_fail(me, "no memory for the page; free some");
	page_begin(&p);
	err = page_map(&p);
	if (!err)
		err = page_iova(&p);
	if (!err)
		err = page_ageing(&p);
	if (!err)
		err = page_heat(&p);
	page_end(&p);
	if (fclose(p.out) || err)
		code = cmd_fail(me, "no memory for the page; free some");
	else
		code = write_out(o.out, text, len);
	free(text);
	load_free(&o.load);
	return code;
}
