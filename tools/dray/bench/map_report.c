// SPDX-License-Identifier: BSD-2-Clause
/* `dray bench map`: the table for people and the JSON for programs. */
#include <json-c/json.h>
#include <stdio.h>

#include "baseline/kernel_dma.h"
#include "bench/machine.h"
#include "bench/map.h"
#include "bench/map_choice.h"
#include "bench/report.h"

static void cost_text(const struct map_config *c, char *text, size_t size)
{
	if (c->backend->has_cost_model)
		snprintf(text, size, "modelled: %u ns an invalidation, %u ns a pinned page, %s",
			 c->cost.invalidate_ns, c->cost.pin_ns,
			 c->cost.check ? "memory checked"
				       : "memory not checked (DRAY_SIM_NOCHECK)");
	else
		snprintf(text, size, "real: whatever this machine takes");
}

/* Per 1,000 operations, or what is there instead of a figure that nobody can know. */
static struct json_object *per_1000_json(double value, bool known)
{
	char text[32];

	if (!known)
		return NULL;
	snprintf(text, sizeof(text), "%.1f", value);
	return json_object_new_double_s(value, text);
}

/* The bounds as they were asked for; 0 is the library's default. */
static void add_queue(struct json_object *row, const struct map_config *c)
{
	json_object_object_add(row, "queue_entries", json_object_new_int64(c->queue_entries));
	json_object_object_add(row, "flush_bytes", json_object_new_uint64(c->flush_bytes));
	json_object_object_add(row, "flush_timeout_us", json_object_new_int64(c->flush_timeout_us));
}

/* What an operation is where it is not one buffer. */
static void add_list(struct json_object *row, const struct map_config *c,
		     const struct map_setting *s)
{
	json_object_object_add(row, "sg", json_object_new_int64(c->sg));
	json_object_object_add(row, "sg_stride",
			       json_object_new_uint64(c->sg_stride ? c->sg_stride : s->size));
}

static struct json_object *row_json(const struct map_run *run, unsigned i, const char *cost)
{
	const struct map_config *c = run->config;
	const struct map_setting *s = &run->settings[i];
	const double *per_1000 = run->results[i].per_1000;
	struct bench_label label = {"map", s->mode->contender, s->workload->name, s->threads};
	struct json_object *row = bench_result_json(&label, &run->results[i]);

	if (!row)
		return NULL;
	json_object_object_add(row, "backend", json_object_new_string(c->backend->name));
	json_object_object_add(row, "mode", json_object_new_string(s->mode->name));
	json_object_object_add(row, "size", json_object_new_int64((int64_t)s->size));
	json_object_object_add(row, "memory", json_object_new_string(c->memory->name));
	json_object_object_add(row, "backend_calls_per_1000",
			       per_1000_json(per_1000[MAP_BACKEND_CALLS], true));
	json_object_object_add(row, "backend_unmaps_per_1000",
			       per_1000_json(per_1000[MAP_BACKEND_UNMAPS], true));
	json_object_object_add(row, "invalidations_per_1000",
			       per_1000_json(per_1000[MAP_INVALIDATIONS],
					     c->backend->counts_invalidations));
	json_object_object_add(row, "bounces_per_1000", per_1000_json(per_1000[MAP_COPIES], true));
	json_object_object_add(row, "cost_model", json_object_new_string(cost));
	if (s->mode->has_queue)
		add_queue(row, c);
	if (c->sg)
		add_list(row, c, s);
	return row;
}

int map_print_json(const struct map_run *run, const struct bench_machine *m)
{
	struct json_object *list = json_object_new_array();
	char cost[128];

	cost_text(run->config, cost, sizeof(cost));
	for (unsigned i = 0; list && i < run->n; i++) {
		struct json_object *row = row_json(run, i, cost);

		if (!row) {
			json_object_put(list);
			list = NULL;
			break;
		}
		json_object_array_add(list, row);
	}
	return bench_print_json(bench_machine_json(m), list);
}

static void print_percentiles(const struct bench_percentiles *p)
{
	char p50[32], p99[32], p999[32];

	bench_format_ns(p->p50, p50, sizeof(p50));
	bench_format_ns(p->p99, p99, sizeof(p99));
	bench_format_ns(p->p999, p999, sizeof(p999));
	printf(" %8s %8s %8s", p50, p99, p999);
}

static void print_bounds(const struct map_run *run)
{
	const struct map_config *c = run->config;
	bool ours = false, kernel = false;

	for (unsigned i = 0; i < run->n; i++) {
		ours = ours || run->settings[i].mode->has_queue;
		kernel = kernel || run->settings[i].mode->open;
	}
	if (ours) {
		printf("queue:");
		printf(c->queue_entries ? " %u entries a thread," : " default entries,",
		       c->queue_entries);
		printf(c->flush_bytes ? " %llu bytes," : " default bytes,",
		       (unsigned long long)c->flush_bytes);
		printf(c->flush_timeout_us ? " %u us\n" : " default time\n", c->flush_timeout_us);
	}
	if (kernel)
		printf("queue of kernel-fq: %u entries a thread, %u ms\n", KERNEL_FQ_ENTRIES - 1,
		       KERNEL_FQ_MS);
}

void map_print_table(const struct map_run *run, const struct bench_machine *m)
{
	const struct map_config *c = run->config;
	char cost[128], rate[32];

	cost_text(c, cost, sizeof(cost));
	bench_machine_print(m);
	printf("cost: %s\n", cost);
	print_bounds(run);
	printf("backend %s, device %s; one operation is a map and an unmap", c->backend->name,
	       c->device);
	if (c->sg && c->sg_stride)
		printf(" of a list of %u elements, %zu bytes apart", c->sg, c->sg_stride);
	else if (c->sg)
		printf(" of a list of %u elements that adjoin", c->sg);
	if (c->memory != map_memories)
		printf("; memory: %s", c->memory->name);
	printf("\n\n");
	printf("%-57s |     ns, batches of %d    |       ns, each alone     |"
	       "   per 1000 operations\n", "", BENCH_BATCH);
	printf("%-11s %9s %3s %-9s %-3s %10s %6s |%8s %8s %8s |%8s %8s %8s |%6s %7s %7s %7s\n",
	       "mode", "bytes", "thr", "contender", "", "ops/s", "spread", "p50", "p99", "p99.9", "p50",
	       "p99", "p99.9", "calls", "unmaps", "inval", "copied");
	for (unsigned i = 0; i < run->n; i++) {
		const struct map_setting *s = &run->settings[i];
		const struct bench_result *r = &run->results[i];

		bench_format_rate(r->ops_per_s.median, rate, sizeof(rate));
		printf("%-11s %9zu %3u %-9s %-3s %10s %5.1f%% |", s->mode->name, s->size,
		       s->threads, s->mode->contender, s->workload->name, rate, r->ops_per_s.spread * 100);
		print_percentiles(&r->batch);
		printf(" |");
		if (r->has_single)
			print_percentiles(&r->single);
		else
			printf(" %8s %8s %8s", "-", "-", "-");
		printf(" |%6.0f %7.1f ", r->per_1000[MAP_BACKEND_CALLS],
		       r->per_1000[MAP_BACKEND_UNMAPS]);
		if (c->backend->counts_invalidations)
			printf("%7.1f", r->per_1000[MAP_INVALIDATIONS]);
		else
			printf("%7s", "-");
		printf(" %7.0f\n", r->per_1000[MAP_COPIES]);
	}
	map_choice_print(run);
}
