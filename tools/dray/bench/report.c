// SPDX-License-Identifier: BSD-2-Clause
#include "bench/report.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

/* Three digits after the point: enough for any figure here, and the same text on every libc. */
static void add_number(struct json_object *o, const char *name, double value)
{
	char text[64];

	snprintf(text, sizeof(text), "%.3f", value);
	json_object_object_add(o, name, json_object_new_double_s(value, text));
}

static void add_percentiles(struct json_object *o, const char *prefix,
			    const struct bench_percentiles *p)
{
	char name[32];

	snprintf(name, sizeof(name), "%s_p50", prefix);
	add_number(o, name, p->p50);
	snprintf(name, sizeof(name), "%s_p99", prefix);
	add_number(o, name, p->p99);
	snprintf(name, sizeof(name), "%s_p999", prefix);
	add_number(o, name, p->p999);
}

struct json_object *bench_result_json(const struct bench_label *label, const struct bench_result *r)
{
	struct json_object *o = json_object_new_object();
	char text[32];

	if (!o)
		return NULL;
	json_object_object_add(o, "bench", json_object_new_string(label->bench));
	json_object_object_add(o, "contender", json_object_new_string(label->contender));
	json_object_object_add(o, "workload", json_object_new_string(label->workload));
	json_object_object_add(o, "threads", json_object_new_int64(label->threads));
	json_object_object_add(o, "ops", json_object_new_int64((int64_t)r->ops));
	add_number(o, "ops_per_s", r->ops_per_s.median);
	snprintf(text, sizeof(text), "%.4f", r->ops_per_s.spread);
	json_object_object_add(o, "spread", json_object_new_double_s(r->ops_per_s.spread, text));
	add_percentiles(o, "ns_batch64", &r->batch);
	if (r->has_single)
		add_percentiles(o, "ns", &r->single);
	return o;
}

int bench_print_json(struct json_object *machine, struct json_object *results)
{
	struct json_object *all = json_object_new_object();
	const char *text = NULL;
	int err = 0;

	if (all && machine && results) {
		json_object_object_add(all, "machine", machine);
		json_object_object_add(all, "results", results);
		text = json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY |
							       JSON_C_TO_STRING_SPACED |
							       JSON_C_TO_STRING_NOSLASHESCAPE);
	} else {
		json_object_put(machine);
		json_object_put(results);
	}
	if (!text)
		err = -ENOMEM;
	else if (puts(text) < 0 || fflush(stdout))
		err = -EIO;
	json_object_put(all);
	return err;
}

void bench_format_rate(double per_s, char *text, unsigned size)
{
	static const char units[] = " kMGT";
	unsigned i = 0;
	int decimals;

	while (per_s >= 999.95 && units[i + 1]) {
		per_s /= 1000;
		i++;
	}
	decimals = per_s >= 100 ? 1 : per_s >= 10 ? 2 : 3;
	snprintf(text, size, "%.*f %c", decimals, per_s, units[i]);
}

void bench_format_ns(double ns, char *text, unsigned size)
{
	snprintf(text, size, "%.*f", ns < 100 ? 1 : 0, ns);
}
