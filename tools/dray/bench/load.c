// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reads {"machine": {…}, "results": [ … ]} and believes none of it.
 *
 * 1. A file comes from anywhere: it may be no JSON, another JSON, or have a figure that is none.
 *    Every member is looked up by name and type, and the first one that is absent or wrong is told
 *    with the file's name and the result's number. Members that nobody knows are left alone: later
 *    versions print more.
 *
 * 2. Strings are kept as the file has them, in its JSON, which lives as long as the rows. Whoever
 *    prints them escapes them.
 *
 * 3. A figure is a finite number from 0 to 1e18; beyond that a scale would have no sense.
 */
#include "bench/load.h"

#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run prints a few kilobytes, an ageing run of many contenders a few hundred. */
#define MOST_BYTES ((size_t)64 << 20)

#define MOST 1e18

/* Of a map of ranges, and maps of a result. */
#define MOST_CELLS 4096u

/* What is being read, for messages. */
struct place {
	const char *file;
	size_t result; /* from 1 */
	char *error;
	size_t size;
	bool failed;
};

static int __attribute__((format(printf, 2, 3))) wrong(struct place *p, const char *fmt, ...)
{
	va_list ap;
	int n = 0;

	if (p->failed)
		return -EINVAL;
	p->failed = true;
	if (p->result)
		n = snprintf(p->error, p->size, "%s: result %zu: ", p->file, p->result);
	else
		n = snprintf(p->error, p->size, "%s: ", p->file);
	if (n >= 0 && (size_t)n < p->size) {
		va_start(ap, fmt);
		vsnprintf(p->error + n, p->size - (size_t)n, fmt, ap);
		va_end(ap);
	}
	return -EINVAL;
}

static int out_of_memory(struct place *p)
{
	wrong(p, "not enough memory to read it");
	return -ENOMEM;
}

static char *read_all(struct place *p, size_t *ret_len)
{
	FILE *f = fopen(p->file, "re");
	char *text = NULL;
	size_t room = 0, len = 0, n;

	if (!f) {
		wrong(p, "%s", strerror(errno));
		return NULL;
	}
	do {
		if (len == room) {
			char *more = room < MOST_BYTES ? realloc(text, room ? room * 2 : 65536)
						       : NULL;

			if (!more) {
				wrong(p, "too large, or not enough memory to read it");
				break;
			}
			text = more;
			room = room ? room * 2 : 65536;
		}
		n = fread(text + len, 1, room - len, f);
		len += n;
	} while (n);
	if (ferror(f))
		wrong(p, "%s", strerror(errno));
	fclose(f);
	if (p->failed) {
		free(text);
		return NULL;
	}
	*ret_len = len;
	return text;
}

static struct json_object *parse(struct place *p)
{
	struct json_tokener *tok;
	struct json_object *root = NULL;
	size_t len, end;
	char *text = read_all(p, &len);

	if (!text)
		return NULL;
	tok = json_tokener_new();
	if (!tok) {
		out_of_memory(p);
		goto out;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	root = json_tokener_parse_ex(tok, text, (int)len);
	end = json_tokener_get_parse_end(tok);
	if (!root)
		wrong(p, "not JSON, at byte %zu: %s", end,
		      json_tokener_get_error(tok) == json_tokener_continue ?
			      "it ends too early" :
			      json_tokener_error_desc(json_tokener_get_error(tok)));
	while (root && end < len && strchr(" \t\r\n", text[end]) && text[end])
		end++;
	if (root && end < len)
		wrong(p, "not JSON, at byte %zu: something follows it", end);
	json_tokener_free(tok);
out:
	free(text);
	if (p->failed) {
		json_object_put(root);
		return NULL;
	}
	return root;
}

static const char *text_of(struct place *p, struct json_object *o, const char *name)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v) || !json_object_is_type(v, json_type_string)) {
		wrong(p, "\"%s\" is not there, or no text", name);
		return "";
	}
	return json_object_get_string(v);
}

static bool is_number(struct json_object *v, double *ret)
{
	if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
		return false;
	*ret = json_object_get_double(v);
	return true;
}

static double signed_of(struct place *p, struct json_object *o, const char *name)
{
	struct json_object *v;
	double n = 0;

	if (!json_object_object_get_ex(o, name, &v) || !is_number(v, &n))
		wrong(p, "\"%s\" is not there, or no number", name);
	else if (!isfinite(n) || fabs(n) > MOST)
		wrong(p, "\"%s\" is no figure", name);
	return p->failed ? 0 : n;
}

static double number_of(struct place *p, struct json_object *o, const char *name)
{
	double n = signed_of(p, o, name);

	if (n < 0)
		wrong(p, "\"%s\" is below 0", name);
	return n < 0 ? 0 : n;
}

/* @otherwise where it is not there or null. */
static double number_or(struct place *p, struct json_object *o, const char *name, double otherwise)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) && v ? number_of(p, o, name) : otherwise;
}

static bool has(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) && v;
}

static void read_map(struct place *p, struct json_object *o, struct load_row *r)
{
	r->backend = text_of(p, o, "backend");
	r->mode = text_of(p, o, "mode");
	r->cost_model = text_of(p, o, "cost_model");
	r->size = number_of(p, o, "size");
	r->calls = number_of(p, o, "backend_calls_per_1000");
	r->unmaps = number_or(p, o, "backend_unmaps_per_1000", -1);
	r->invalidations = number_or(p, o, "invalidations_per_1000", -1);
	r->has_queue = has(o, "queue_entries");
	r->queue_entries = number_or(p, o, "queue_entries", 0);
	r->flush_bytes = number_or(p, o, "flush_bytes", 0);
	r->flush_timeout_us = number_or(p, o, "flush_timeout_us", 0);
}

static int read_series(struct place *p, struct json_object *o, struct load_row *r)
{
	struct json_object *list;
	size_t n;

	json_object_object_get_ex(o, "series", &list);
	if (!json_object_is_type(list, json_type_array))
		return wrong(p, "\"series\" is no list");
	n = json_object_array_length(list);
	if (n < 2 || n > 100000)
		return wrong(p, "\"series\" has %zu windows; a picture needs 2 to 100000", n);
	r->series = calloc(n, sizeof(*r->series));
	if (!r->series)
		return out_of_memory(p);
	for (size_t i = 0; i < n; i++) {
		struct json_object *w = json_object_array_get_idx(list, i);

		if (!json_object_is_type(w, json_type_object))
			return wrong(p, "window %zu of \"series\" is no object", i + 1);
		r->series[i] = (struct load_window){
			.ops = number_of(p, w, "ops"),
			.p50 = number_of(p, w, "ns_batch64_p50"),
			.p999 = number_of(p, w, "ns_batch64_p999"),
			.live = number_of(p, w, "live"),
			.population = number_of(p, w, "population"),
		};
		if (i && r->series[i].ops <= r->series[i - 1].ops)
			return wrong(p, "\"series\" does not ascend in \"ops\"");
	}
	r->n_series = (unsigned)n;
	r->has_series = true;
	r->drift_p50 = signed_of(p, o, "drift_p50");
	r->drift_p999 = signed_of(p, o, "drift_p999");
	return p->failed ? -EINVAL : 0;
}

static struct json_object *list_of(struct place *p, struct json_object *o, const char *name)
{
	struct json_object *list = NULL;

	if (!json_object_object_get_ex(o, name, &list) ||
	    !json_object_is_type(list, json_type_array)) {
		wrong(p, "\"%s\" is not there, or no list", name);
		return NULL;
	}
	return list;
}

/* Exactly @n figures, none below 0. */
static void read_figures(struct place *p, struct json_object *list, const char *name, size_t n,
			 double *ret)
{
	if (!json_object_is_type(list, json_type_array) || json_object_array_length(list) != n) {
		wrong(p, "\"%s\" has not %zu figures", name, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!is_number(json_object_array_get_idx(list, i), &ret[i]) ||
		    !isfinite(ret[i]) || ret[i] < 0 || ret[i] > MOST)
			wrong(p, "\"%s\" has something that is no figure", name);
}

static void read_pairs(struct place *p, struct json_object *o, struct load_row *r)
{
	struct json_object *both;

	json_object_object_get_ex(o, "paired_to_dray", &both);
	if (!json_object_is_type(both, json_type_object)) {
		wrong(p, "\"paired_to_dray\" is no object");
		return;
	}
	read_figures(p, list_of(p, both, "by_clock"), "by_clock", 3, r->by_clock);
	read_figures(p, list_of(p, both, "by_cpu"), "by_cpu", 3, r->by_cpu);
	r->has_pairs = true;
}

static int read_map_of_ranges(struct place *p, struct json_object *o, struct load_map *m)
{
	struct json_object *cells;
	size_t n;

	if (!json_object_is_type(o, json_type_object))
		return wrong(p, "a map of \"heat\" is no object");
	m->first = number_of(p, o, "first");
	m->last = number_of(p, o, "last");
	cells = list_of(p, o, "cells");
	n = cells ? json_object_array_length(cells) : 0;
	if (!n || n > MOST_CELLS || m->last < m->first)
		return wrong(p, "a map of \"heat\" has %zu cells; a picture needs 1 to %u, and a "
			     "\"last\" above its \"first\"", n, MOST_CELLS);
	m->cells = calloc(n, sizeof(*m->cells));
	if (!m->cells)
		return out_of_memory(p);
	m->n = (unsigned)n;
	for (size_t i = 0; i < n; i++)
		read_figures(p, json_object_array_get_idx(cells, i), "cells", LOAD_KINDS,
			     m->cells[i]);
	return 0;
}

static int read_heat(struct place *p, struct json_object *o, struct load_row *r)
{
	struct json_object *list = list_of(p, o, "heat");
	size_t n = list ? json_object_array_length(list) : 0;
	int err = 0;

	if (n > MOST_CELLS)
		return wrong(p, "\"heat\" has %zu maps; a page has room for %u", n, MOST_CELLS);
	r->maps = calloc(n + 1, sizeof(*r->maps));
	if (!r->maps)
		return out_of_memory(p);
	for (; !err && r->n_maps < n; r->n_maps++)
		err = read_map_of_ranges(p, json_object_array_get_idx(list, r->n_maps),
					 &r->maps[r->n_maps]);
	return err;
}

static void free_row(struct load_row *r)
{
	free(r->series);
	for (unsigned i = 0; i < r->n_maps; i++)
		free(r->maps[i].cells);
	free(r->maps);
}

static int read_row(struct place *p, struct json_object *o, struct load_row *r)
{
	int err = 0;

	if (!json_object_is_type(o, json_type_object))
		return wrong(p, "no object");
	r->bench = text_of(p, o, "bench");
	r->contender = text_of(p, o, "contender");
	r->workload = text_of(p, o, "workload");
	r->threads = number_of(p, o, "threads");
	r->ops = number_of(p, o, "ops");
	r->ops_per_s = number_of(p, o, "ops_per_s");
	r->spread = number_of(p, o, "spread");
	r->p50 = number_of(p, o, "ns_batch64_p50");
	r->p99 = number_of(p, o, "ns_batch64_p99");
	r->p999 = number_of(p, o, "ns_batch64_p999");
	r->has_single = has(o, "ns_p50");
	if (r->has_single) {
		r->single_p50 = number_of(p, o, "ns_p50");
		r->single_p99 = number_of(p, o, "ns_p99");
		r->single_p999 = number_of(p, o, "ns_p999");
	}
	if (p->failed)
		return -EINVAL;
	if (!strcmp(r->bench, "map")) {
		read_map(p, o, r);
	} else if (!strcmp(r->bench, "iova")) {
		r->held = number_or(p, o, "held", 0);
		r->live = number_of(p, o, "live");
		r->population = number_of(p, o, "population");
		r->leaf_tables_per_1000 = number_of(p, o, "leaf_tables_per_1000");
		r->ratio = number_or(p, o, "ratio_to_dray", 0);
		if (has(o, "paired_to_dray"))
			read_pairs(p, o, r);
		if (has(o, "series"))
			err = read_series(p, o, r);
		if (!err && has(o, "heat"))
			err = read_heat(p, o, r);
	} else {
		return wrong(p, "bench \"%s\" is none whose results are known; there is map, iova",
			     r->bench);
	}
	return err ? err : p->failed ? -EINVAL : 0;
}

static int grow(struct place *p, struct load *l, size_t rows)
{
	struct load_file *files = realloc(l->files, (l->n_files + 1) * sizeof(*files));
	struct load_row *more;

	if (!files)
		return out_of_memory(p);
	l->files = files;
	more = realloc(l->rows, (l->n_rows + rows + 1) * sizeof(*more));
	if (!more)
		return out_of_memory(p);
	l->rows = more;
	memset(l->rows + l->n_rows, 0, rows * sizeof(*more));
	return 0;
}

int load_file(struct load *l, const char *name, char *ret_error, size_t error_size)
{
	struct place p = { .file = name, .error = ret_error, .size = error_size };
	struct json_object *root = parse(&p), *machine, *results;
	size_t n, i = 0;
	int err;

	if (!root)
		return -EINVAL;
	err = -EINVAL;
	if (!json_object_is_type(root, json_type_object) ||
	    !json_object_object_get_ex(root, "machine", &machine) ||
	    !json_object_is_type(machine, json_type_object) ||
	    !json_object_object_get_ex(root, "results", &results) ||
	    !json_object_is_type(results, json_type_array)) {
		wrong(&p, "not what a bench prints: an object with \"machine\" and \"results\"");
		goto fail;
	}
	n = json_object_array_length(results);
	if (!n) {
		wrong(&p, "\"results\" is empty");
		goto fail;
	}
	err = grow(&p, l, n);
	for (; !err && i < n; i++) {
		struct load_row *r = &l->rows[l->n_rows + i];

		p.result = i + 1;
		r->file = l->n_files;
		err = read_row(&p, json_object_array_get_idx(results, i), r);
	}
	if (err)
		goto fail;
	l->files[l->n_files++] = (struct load_file){ name, root, machine };
	l->n_rows += (unsigned)n;
	return 0;
fail:
	while (i)
		free_row(&l->rows[l->n_rows + --i]);
	json_object_put(root);
	return err;
}

void load_free(struct load *l)
{
	for (unsigned i = 0; i < l->n_rows; i++)
		free_row(&l->rows[i]);
	for (unsigned i = 0; i < l->n_files; i++)
		json_object_put(l->files[i].root);
	free(l->rows);
	free(l->files);
	*l = (struct load){ 0 };
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

bool load_same_setting(const struct load_row *a, const struct load_row *b)
{
	return same(a->bench, b->bench) && same(a->contender, b->contender) &&
	       same(a->workload, b->workload) && a->threads == b->threads &&
	       same(a->backend, b->backend) && same(a->mode, b->mode) &&
	       same(a->cost_model, b->cost_model) && a->size == b->size &&
	       a->has_queue == b->has_queue && a->queue_entries == b->queue_entries &&
	       a->flush_bytes == b->flush_bytes && a->flush_timeout_us == b->flush_timeout_us &&
	       a->held == b->held && a->has_series == b->has_series;
}
