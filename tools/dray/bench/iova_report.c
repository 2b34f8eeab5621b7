// SPDX-License-Identifier: BSD-2-Clause
/* `dray bench iova`: the table for people and the JSON for programs. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

#include "bench/iova.h"
#include "bench/iova_heat.h"
#include "bench/machine.h"
#include "bench/report.h"

double iova_leaf_tables_per_1000(const struct iova_case *c)
{
	return c->sight.live ? (double)c->sight.leaf_tables * 1000 / (double)c->sight.live : 0;
}

/* How many times as fast as dray in the same setting; 0 where dray did not take part. */
static double ratio(const struct iova_case *cases, unsigned n, const struct iova_case *of)
{
	for (unsigned i = 0; i < n; i++)
		if (cases[i].contender == &contender_dray && cases[i].workload == of->workload &&
		    cases[i].threads == of->threads)
			return of->result.ops_per_s.median / cases[i].result.ops_per_s.median;
	return 0;
}

static struct json_object *number(double value, const char *format)
{
	char text[64];

	snprintf(text, sizeof(text), format, value);
	return json_object_new_double_s(value, text);
}

static struct json_object *window_json(const struct iova_window *w, uint64_t ops)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ops", json_object_new_uint64(ops));
	json_object_object_add(o, "ops_per_s", number(w->ops_per_s, "%.3f"));
	json_object_object_add(o, "ns_batch64_p50", number(w->batch.p50, "%.3f"));
	json_object_object_add(o, "ns_batch64_p99", number(w->batch.p99, "%.3f"));
	json_object_object_add(o, "ns_batch64_p999", number(w->batch.p999, "%.3f"));
	json_object_object_add(o, "live", json_object_new_uint64(w->sight.live));
	json_object_object_add(o, "population", json_object_new_uint64(w->sight.population));
	json_object_object_add(o, "leaf_tables", json_object_new_uint64(w->sight.leaf_tables));
	json_object_object_add(o, "population_leaf_tables",
			       json_object_new_uint64(w->sight.population_leaf_tables));
	return o;
}

static struct json_object *case_json(const struct iova_case *cases, unsigned n,
				     const struct iova_case *c)
{
	struct bench_label label = { "iova", c->contender->name, c->workload->name, c->threads };
	struct json_object *o = bench_result_json(&label, &c->result), *series;
	double r = ratio(cases, n, c);

	if (!o)
		return NULL;
	json_object_object_add(o, "ratio_to_dray", r > 0 ? number(r, "%.4f") : NULL);
	json_object_object_add(o, "held", json_object_new_uint64(c->held));
	json_object_object_add(o, "live", json_object_new_uint64(c->sight.live));
	json_object_object_add(o, "live_pages", json_object_new_uint64(c->sight.live_pgs));
	json_object_object_add(o, "population", json_object_new_uint64(c->sight.population));
	json_object_object_add(o, "population_pages",
			       json_object_new_uint64(c->sight.population_pgs));
	json_object_object_add(o, "leaf_tables", json_object_new_uint64(c->sight.leaf_tables));
	json_object_object_add(o, "population_leaf_tables",
			       json_object_new_uint64(c->sight.population_leaf_tables));
	json_object_object_add(o, "leaf_tables_per_1000",
			       number(iova_leaf_tables_per_1000(c), "%.3f"));
	iova_pair_json(&c->pairs, o);
	iova_heat_json(c->heat, o);
	if (!c->series)
		return o;
	json_object_object_add(o, "drift_p50", number(c->drift_p50, "%.4f"));
	json_object_object_add(o, "drift_p999", number(c->drift_p999, "%.4f"));
	series = json_object_new_array_ext(IOVA_WINDOWS);
	for (unsigned i = 0; i < IOVA_WINDOWS; i++)
		json_object_array_add(series, window_json(&c->series[i],
							  c->result.ops / IOVA_WINDOWS * (i + 1)));
	json_object_object_add(o, "series", series);
	return o;
}

int iova_print_json(const struct iova_case *cases, unsigned n, const struct bench_machine *m)
{
	struct json_object *list = json_object_new_array_ext((int)n);

	for (unsigned i = 0; list && i < n; i++) {
		struct json_object *o = case_json(cases, n, &cases[i]);

		if (!o) {
			json_object_put(list);
			return -ENOMEM;
		}
		json_object_array_add(list, o);
	}
	return bench_print_json(bench_machine_json(m), list);
}

static void print_row(const struct iova_case *cases, unsigned n, const struct iova_case *c)
{
	const struct bench_result *r = &c->result;
	char rate[32], p50[32], p99[32], p999[32];
	double x = ratio(cases, n, c);

	bench_format_rate(r->ops_per_s.median, rate, sizeof(rate));
	bench_format_ns(r->batch.p50, p50, sizeof(p50));
	bench_format_ns(r->batch.p99, p99, sizeof(p99));
	bench_format_ns(r->batch.p999, p999, sizeof(p999));
	printf("%-4s %-18s %3u %10s %5.1f%% ", c->workload->name, c->contender->name, c->threads,
	       rate, r->ops_per_s.spread * 100);
	if (x > 0)
		printf("%9.4g", x);
	else
		printf("%9s", "-");
	printf(" |%8s %8s %8s |%9llu %10llu %9.1f\n", p50, p99, p999,
	       (unsigned long long)c->sight.live, (unsigned long long)c->sight.population,
	       iova_leaf_tables_per_1000(c));
}

static void print_ageing(const struct iova_case *c)
{
	char first[32], last[32], first999[32], last999[32];
	const struct iova_window *w = c->series;

	bench_format_ns(w[1].batch.p50, first, sizeof(first));
	bench_format_ns(w[IOVA_WINDOWS - 1].batch.p50, last, sizeof(last));
	bench_format_ns(w[1].batch.p999, first999, sizeof(first999));
	bench_format_ns(w[IOVA_WINDOWS - 1].batch.p999, last999, sizeof(last999));
	printf("%-4s %-18s %3u |%8s %8s %+7.1f%% |%8s %8s %+7.1f%% |%10llu %10llu\n",
	       c->workload->name, c->contender->name, c->threads, first, last, c->drift_p50 * 100,
	       first999, last999, c->drift_p999 * 100,
	       (unsigned long long)w[1].sight.population,
	       (unsigned long long)w[IOVA_WINDOWS - 1].sight.population);
}

void iova_print_table(const struct iova_case *cases, unsigned n, const struct bench_machine *m)
{
	bench_machine_print(m);
	printf("one operation is a pair: a range taken, a range given back\n\n");
	printf("%-4s %-18s %3s %10s %6s %9s |%26s |%9s %10s %9s\n", "", "", "", "", "", "",
	       "ns, batches of 64", "", "", "leaf tab.");
	printf("%-4s %-18s %3s %10s %6s %9s |%8s %8s %8s |%9s %10s %9s\n", "", "contender", "thr",
	       "ops/s", "spread", "x dray", "p50", "p99", "p99.9", "live", "population",
	       "per 1000");
	for (unsigned i = 0; i < n; i++) {
		if (i && cases[i].workload != cases[i - 1].workload)
			printf("\n");
		print_row(cases, n, &cases[i]);
	}
	iova_pair_print(cases, n);
	iova_heat_print(cases, n);
	if (!n || !cases[0].series)
		return;
	printf("\nfrom the second window of %u to the last; the drift compares tenths\n",
	       IOVA_WINDOWS);
	printf("%-27s |%26s |%26s |%21s\n", "", "p50, ns", "p99.9, ns", "population");
	for (unsigned i = 0; i < n; i++)
		print_ageing(&cases[i]);
}
