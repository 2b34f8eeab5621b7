// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray bench map`: what the command line says. Every combination of the modes, contenders,
 * workloads, sizes and thread counts asked for is one case; all are measured interleaved.
 */
#include "bench/map.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/machine.h"
#include "bench/parse.h"
#include "cmd.h"

static const char me[] = "dray bench map";

/* What VT-d costs: an invalidation that is waited for, and one page of a bulk pin. */
#define HARDWARE_INVALIDATE_NS 1060
#define HARDWARE_PIN_NS        70

struct options {
	struct map_config config;
	const char *modes[BENCH_LIST], *contenders[BENCH_LIST]; /* names, as the table has them */
	const struct workload *workloads[BENCH_LIST];
	uint64_t sizes[BENCH_LIST], threads[BENCH_LIST];
	unsigned n_modes, n_contenders, n_workloads, n_sizes, n_threads;
	double seconds;
	bool cost_given, json;
};

enum {
	OPT_INVALIDATE = 256, OPT_PIN, OPT_CHECK, OPT_ENTRIES, OPT_BYTES, OPT_TIMEOUT, OPT_SG,
	OPT_STRIDE, OPT_MEMORY,
};

/* More elements than any device takes at once. */
#define MOST_ELEMENTS 65536

static const struct argp_option option_list[] = {
	{"backend", 'b', "NAME", 0,
	 "sim or type1 (default: type1 if there is a --device, else sim)", 0},
	{"device", 'd', "DEVICE", 0, "PCI address, such as 0000:01:00.0", 0},
	{"mode", 'm', "LIST", 0, "strict, lazy; region, in registered memory; bounce, copied; "
	 "auto, the cheapest of strict, lazy and bounce by measured costs, and auto-strict, of "
	 "strict and bounce (default strict)", 0},
	{"contender", 'c', "LIST", 0, "dray, and on sim kernel-fq, the kernel's lazy queue "
	 "(default dray)", 0},
	{"workload", 'w', "LIST", 0, "W0, one warm pair; W1, 4 queues of 128 buffers, unmapped in "
	 "the order of completion (default W0)", 0},
	{"size", 's', "LIST", 0, "bytes of a buffer, with k, m or g (default 4k)", 0},
	{"threads", 't', "LIST", 0, "how many threads map at once (default 1)", 0},
	{"seconds", 'S', "S", 0, "how long to measure each combination (default 1)", 0},
	{"sg", OPT_SG, "N", 0, "map lists of N elements of --size bytes", 0},
	{"sg-stride", OPT_STRIDE, "BYTES", 0,
	 "from one element's beginning to the next one's (default: they adjoin)", 0},
	{"memory", OPT_MEMORY, "KIND", 0, "what buffers are in: mmap, whatever the kernel gives; 4k; "
	 "thp, transparent huge pages; hugetlb, reserved ones (default mmap)", 0},
	{"queue-entries", OPT_ENTRIES, "N", 0, "lazy: entries of a thread that wait at most", 0},
	{"flush-bytes", OPT_BYTES, "SIZE", 0, "lazy: bytes that wait at most", 0},
	{"flush-timeout-us", OPT_TIMEOUT, "US", 0, "lazy: how long an entry waits at most", 0},
	{"invalidate-ns", OPT_INVALIDATE, "NS", 0,
	 "sim: cost of an invalidation (default 1060)", 0},
	{"pin-ns", OPT_PIN, "NS", 0, "sim: cost of a pinned page (default 70)", 0},
	{"check", OPT_CHECK, NULL, 0, "sim: ask the kernel whether memory can be pinned", 0},
	{"json", 'j', NULL, 0, "print JSON", 0},
	{0},
};

/* Adds @name to @text, unless it is in there. */
static void add_name(char *text, size_t size, const char *name)
{
	size_t used = strlen(text);

	if (!strstr(text, name))
		snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
}

static void take_backend(struct options *o, const char *name)
{
	char all[128] = "";

	for (const struct map_backend *b = map_backends; b->name; b++) {
		if (!strcmp(b->name, name)) {
			o->config.backend = b;
			return;
		}
		add_name(all, sizeof(all), b->name);
	}
	bench_refuse(me, "there is no backend '%s'; there is: %s", name, all);
}

static void take_memory(struct options *o, const char *name)
{
	char all[64] = "";

	for (const struct map_memory *m = map_memories; m->name; m++) {
		if (!strcmp(m->name, name)) {
			o->config.memory = m;
			return;
		}
		add_name(all, sizeof(all), m->name);
	}
	bench_refuse(me, "there is no memory '%s'; there is: %s", name, all);
}

static void take_mode(void *ctx, const char *name)
{
	struct options *o = ctx;
	char all[128] = "";

	for (const struct map_mode *m = map_modes; m->name; m++) {
		if (!strcmp(m->name, name)) {
			o->modes[o->n_modes++] = m->name;
			return;
		}
		add_name(all, sizeof(all), m->name);
	}
	bench_refuse(me, "there is no mode '%s'; there is: %s", name, all);
}

static void take_contender(void *ctx, const char *name)
{
	struct options *o = ctx;
	char all[128] = "";

	for (const struct map_mode *m = map_modes; m->name; m++) {
		if (!strcmp(m->contender, name)) {
			o->contenders[o->n_contenders++] = m->contender;
			return;
		}
		add_name(all, sizeof(all), m->contender);
	}
	bench_refuse(me, "there is no contender '%s'; there is: %s", name, all);
}

static void take_workload(void *ctx, const char *name)
{
	struct options *o = ctx;
	const struct workload *w = workload_find(name);

	if (!w || !map_has_workload(w))
		bench_refuse(me, "'%s' is no workload that maps; there is: W0, W1", name);
	o->workloads[o->n_workloads++] = w;
}

static void take_size(void *ctx, const char *word)
{
	struct options *o = ctx;

	if (!bench_parse_size(word, &o->sizes[o->n_sizes]))
		bench_refuse(me, "'%s' is not a size; write it like 4096, 4k or 2m", word);
	o->n_sizes++;
}

static void take_threads(void *ctx, const char *word)
{
	struct options *o = ctx;

	bench_take_threads(me, word, o->threads, &o->n_threads);
}

static uint32_t take_ns(struct options *o, const char *text)
{
	uint64_t ns;

	if (!bench_parse_count(text, 0, 1000000000, &ns))
		bench_refuse(me, "'%s' is not a cost in nanoseconds from 0 to 1000000000", text);
	o->cost_given = true;
	return (uint32_t)ns;
}

static uint32_t take_bound(const char *text, const char *what)
{
	uint64_t n;

	if (!bench_parse_count(text, 1, UINT32_MAX, &n))
		bench_refuse(me, "'%s' is not %s from 1 to %u", text, what, UINT32_MAX);
	return (uint32_t)n;
}

static unsigned take_elements(const char *text)
{
	uint64_t n;

	if (!bench_parse_count(text, 1, MOST_ELEMENTS, &n))
		bench_refuse(me, "'%s' is not a number of elements from 1 to %u", text,
			     MOST_ELEMENTS);
	return (unsigned)n;
}

static size_t take_stride(const char *text)
{
	uint64_t bytes;

	if (!bench_parse_size(text, &bytes) || bytes > SIZE_MAX / 2 / MOST_ELEMENTS)
		bench_refuse(me, "'%s' is not a size; write it like 4096, 4k or 2m", text);
	return (size_t)bytes;
}

static error_t take_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'b':
		take_backend(o, arg);
		return 0;
	case 'd':
		o->config.device = arg;
		return 0;
	case 'm':
		bench_take_list(me, arg, take_mode, o, &o->n_modes);
		return 0;
	case 'c':
		bench_take_list(me, arg, take_contender, o, &o->n_contenders);
		return 0;
	case 'w':
		bench_take_list(me, arg, take_workload, o, &o->n_workloads);
		return 0;
	case 's':
		bench_take_list(me, arg, take_size, o, &o->n_sizes);
		return 0;
	case 't':
		bench_take_list(me, arg, take_threads, o, &o->n_threads);
		return 0;
	case 'S':
		o->seconds = bench_take_seconds(me, arg);
		return 0;
	case OPT_SG:
		o->config.sg = take_elements(arg);
		return 0;
	case OPT_STRIDE:
		o->config.sg_stride = take_stride(arg);
		return 0;
	case OPT_MEMORY:
		take_memory(o, arg);
		return 0;
	case OPT_ENTRIES:
		o->config.queue_entries = take_bound(arg, "a number of entries");
		return 0;
	case OPT_BYTES:
		if (!bench_parse_size(arg, &o->config.flush_bytes))
			bench_refuse(me, "'%s' is not a size; write it like 4096, 4k or 2m", arg);
		return 0;
	case OPT_TIMEOUT:
		o->config.flush_timeout_us = take_bound(arg, "a time in microseconds");
		return 0;
	case OPT_INVALIDATE:
		o->config.cost.invalidate_ns = take_ns(o, arg);
		return 0;
	case OPT_PIN:
		o->config.cost.pin_ns = take_ns(o, arg);
		return 0;
	case OPT_CHECK:
		o->cost_given = o->config.cost.check = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		bench_refuse(me, "'%s' is not an option; see dray bench map --help", arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static uint64_t greatest(const uint64_t *list, unsigned n)
{
	uint64_t max = 0;

	for (unsigned i = 0; i < n; i++)
		max = list[i] > max ? list[i] : max;
	return max;
}

static bool has_name(const char *const *list, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

/* What lists can be measured with. */
static void check_lists(const struct options *o)
{
	const struct map_config *c = &o->config;

	if (!c->sg && c->sg_stride)
		bench_refuse(me, "--sg-stride is for lists; give --sg N too");
	if (!c->sg)
		return;
	if (c->sg_stride && c->sg_stride < c->size)
		bench_refuse(me, "elements of %zu bytes at a --sg-stride of %zu would overlap",
			     c->size, c->sg_stride);
	for (unsigned i = 0; i < o->n_workloads; i++)
		if (map_places(o->workloads[i]) > 1)
			bench_refuse(me, "--sg measures one list after the other; use "
				     "--workload W0");
	if (has_name(o->contenders, o->n_contenders, "kernel-fq"))
		bench_refuse(me, "kernel-fq maps no lists; leave --sg or it out");
	if (c->sg > 1 && has_name(o->modes, o->n_modes, "bounce"))
		bench_refuse(me, "in a list only what must be copied is; leave --sg or "
			     "--mode bounce out");
}

/* What no single option tells. */
static void check_options(struct options *o)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	struct map_config *c = &o->config;
	bool regions = has_name(o->modes, o->n_modes, "region");

	if (!c->backend)
		take_backend(o, c->device ? "type1" : "sim");
	if (!c->device)
		c->device = c->backend->default_device;
	if (!c->device)
		bench_refuse(me, "backend %s needs a --device; `dray doctor` lists them",
			     c->backend->name);
	if (o->cost_given && !c->backend->has_cost_model)
		bench_refuse(me, "backend %s is real hardware; its cost cannot be set",
			     c->backend->name);
	c->threads = (unsigned)greatest(o->threads, o->n_threads);
	c->size = greatest(o->sizes, o->n_sizes);
	for (unsigned i = 0; i < o->n_workloads; i++)
		if (map_places(o->workloads[i]) > c->places)
			c->places = map_places(o->workloads[i]);
	c->measures = has_name(o->modes, o->n_modes, "auto") ||
		      has_name(o->modes, o->n_modes, "auto-strict");
	check_lists(o);
	/* Pinned memory cannot be swapped: half of it leaves the machine usable. */
	if (c->size > memory / 2 / c->threads / c->places / (c->sg ? c->sg : 1) / (1 + regions) ||
	    map_arena_bytes(c) > memory / 2 / c->threads / (1 + regions))
		bench_refuse(me, "%u threads with %u buffers of %zu bytes take more than half of "
			     "this machine's memory; ask for a smaller --size", c->threads,
			     c->sg ? c->sg : c->places, c->size);
}

static bool takes_part(const struct options *o, const struct map_mode *m)
{
	return has_name(o->modes, o->n_modes, m->name) &&
	       has_name(o->contenders, o->n_contenders, m->contender);
}

/* The table's modes that were asked for; every contender named has at least one. */
static unsigned count_modes(const struct options *o)
{
	unsigned n = 0;

	for (const struct map_mode *m = map_modes; m->name; m++) {
		n += takes_part(o, m);
		if (takes_part(o, m) && m->is_modelled && !o->config.backend->has_cost_model)
			bench_refuse(me, "contender %s needs the cost model of backend sim",
				     m->contender);
	}
	for (unsigned i = 0; i < o->n_contenders; i++) {
		bool any = false;

		for (const struct map_mode *m = map_modes; m->name; m++)
			any = any || (takes_part(o, m) && !strcmp(m->contender, o->contenders[i]));
		if (!any)
			bench_refuse(me, "contender %s has none of these modes; kernel-fq needs "
				     "--mode lazy", o->contenders[i]);
	}
	return n;
}

/* Settings of every combination; one mode of the same thing next to the other. */
static void combine(const struct options *o, struct map_world *world, struct map_setting *settings)
{
	unsigned n = 0;

	for (unsigned w = 0; w < o->n_workloads; w++)
		for (const struct map_mode *m = map_modes; m->name; m++)
			for (unsigned s = 0; takes_part(o, m) && s < o->n_sizes; s++)
				for (unsigned t = 0; t < o->n_threads; t++)
					settings[n++] = (struct map_setting){
						.world = world,
						.mode = m,
						.workload = o->workloads[w],
						.size = o->sizes[s],
						.threads = (unsigned)o->threads[t],
					};
}

static void show_progress(unsigned round, unsigned rounds)
{
	fprintf(stderr, "\r%s: round %u of %u%s", me, round, rounds,
		round < rounds ? "" : ", then the percentiles\n");
}

static int measure(const struct options *o, struct map_world *world, unsigned total)
{
	struct bench_plan plan = {.seconds = o->seconds,
				  .progress = isatty(STDERR_FILENO) ? show_progress : NULL};
	struct map_setting *settings = calloc(total, sizeof(*settings));
	struct bench_result *results = calloc(total, sizeof(*results));
	struct bench_case *cases = calloc(total, sizeof(*cases));
	struct map_run run = {&world->config, settings, results, total};
	struct bench_machine machine;
	char error[512];
	unsigned n = 0;
	int code;

	if (!settings || !results || !cases) {
		code = cmd_fail(me, "no memory for so many combinations; ask for fewer");
		goto out;
	}
	combine(o, world, settings);
	for (; n < total; n++) {
		if (map_setting_open(&settings[n])) {
			map_setting_close(&settings[n]);
			code = cmd_fail(me, dray_errmsg());
			goto out;
		}
		cases[n] = map_case(&settings[n]);
	}
	if (bench_measure(&plan, cases, total, results, error, sizeof(error))) {
		code = cmd_fail(me, error);
		goto out;
	}
	bench_machine_read(&machine);
	code = CMD_GOOD;
	if (!o->json)
		map_print_table(&run, &machine);
	else if (map_print_json(&run, &machine))
		code = CMD_FAILED;
out:
	while (n)
		map_setting_close(&settings[--n]);
	free(cases);
	free(results);
	free(settings);
	return code;
}

/* A figure of a run in which an unmap failed is no figure. */
static int check_domain(const struct map_world *world)
{
	struct dray_stats stats = {.size = sizeof(stats)};

	dray_stats_get(world->dom, &stats);
	if (!stats.unmap_errors && stats.maps == stats.unmaps)
		return CMD_GOOD;
	fprintf(stderr,
		"%s: %llu of %llu mappings were not unmapped cleanly; the kernel log (dmesg) may "
		"say why\n",
		me, (unsigned long long)(stats.maps - stats.unmaps + stats.unmap_errors),
		(unsigned long long)stats.maps);
	return CMD_FAILED;
}

int bench_map(int argc, char **argv)
{
	static const struct argp argp = {
	    option_list,
	    take_option,
	    NULL,
	    "Measures dray_map() and dray_unmap(). LIST is comma-separated; every combination is "
	    "measured, all of them interleaved."
	    "\vAn operation is a map and an unmap. ops/s is the median of 20 rounds; spread is the "
	    "width of their middle half as a share of it. Percentiles come from passes of their "
	    "own. Calls are map and unmap calls to the backend, for 1,000 operations.",
	    NULL,
	    NULL,
	    NULL};
	struct options o = {
	    .config = {.memory = map_memories,
		       .cost = {HARDWARE_INVALIDATE_NS, HARDWARE_PIN_NS, false}},
	    .modes = {"strict"},
	    .n_modes = 1,
	    .contenders = {"dray"},
	    .n_contenders = 1,
	    .workloads = {workload_find("W0")},
	    .n_workloads = 1,
	    .sizes = {4096},
	    .n_sizes = 1,
	    .threads = {1},
	    .n_threads = 1,
	    .seconds = 1,
	};
	struct map_world world;
	const char *error;
	unsigned total;
	int code;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return CMD_USAGE;
	check_options(&o);
	total = count_modes(&o) * o.n_workloads * o.n_sizes * o.n_threads;
	if (map_world_open(&world, &o.config, &error))
		return cmd_fail(me, error);
	code = measure(&o, &world, total);
	if (!code)
		code = check_domain(&world);
	map_world_close(&world);
	return code;
}
