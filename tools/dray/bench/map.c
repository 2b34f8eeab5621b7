// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray bench map`: what the command line says, and how the results are shown. Every combination of
 * the modes, sizes and thread counts asked for is one case; all are measured interleaved.
 */
#include "bench/bench.h"
#include "bench/machine.h"
#include "bench/map_world.h"
#include "bench/parse.h"
#include "bench/report.h"
#include "cmd.h"

#include <argp.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What VT-d costs: an invalidation that is waited for, and one page of a bulk pin. */
#define HARDWARE_INVALIDATE_NS 1060
#define HARDWARE_PIN_NS        70

/* Above this a domain's own bookkeeping is what is measured, if the machine starts them at all. */
#define MAX_THREADS 256

struct options {
	const struct map_backend *backend;
	const char *device;
	const struct map_mode *modes[BENCH_LIST];
	uint64_t sizes[BENCH_LIST], threads[BENCH_LIST];
	unsigned n_modes, n_sizes, n_threads;
	double seconds;
	struct map_cost cost;
	bool cost_given, json;
};

enum { OPT_INVALIDATE = 256, OPT_PIN, OPT_CHECK };

static const struct argp_option option_list[] = {
	{"backend", 'b', "NAME", 0, "sim or type1 (default: type1 if there is a --device, else sim)",
	 0},
	{"device", 'd', "DEVICE", 0, "PCI address, such as 0000:01:00.0", 0},
	{"mode", 'm', "LIST", 0, "strict (default)", 0},
	{"size", 's', "LIST", 0, "bytes of a buffer, with k, m or g (default 4k)", 0},
	{"threads", 't', "LIST", 0, "how many threads map at once (default 1)", 0},
	{"seconds", 'S', "S", 0, "how long to measure each combination (default 1)", 0},
	{"invalidate-ns", OPT_INVALIDATE, "NS", 0, "sim: cost of an invalidation (default 1060)", 0},
	{"pin-ns", OPT_PIN, "NS", 0, "sim: cost of a pinned page (default 70)", 0},
	{"check", OPT_CHECK, NULL, 0, "sim: ask the kernel whether memory can be pinned", 0},
	{"json", 'j', NULL, 0, "print JSON", 0},
	{0},
};

/* Bad arguments end the program here, with one line. */
static void __attribute__((noreturn, format(printf, 1, 2))) refuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("dray bench map: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(CMD_USAGE);
}

/* "a, b" of a table whose entries begin with their name. */
static const char *names(const void *table, size_t entry, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (const char *at = table; *(const char *const *)at; at += entry) {
		int n = snprintf(text + used, size - used, "%s%s", used ? ", " : "",
				 *(const char *const *)at);

		if (n < 0 || (size_t)n >= size - used)
			break;
		used += (size_t)n;
	}
	return text;
}

static void take_backend(struct options *o, const char *name)
{
	char all[128];

	for (o->backend = map_backends; o->backend->name; o->backend++)
		if (!strcmp(o->backend->name, name))
			return;
	refuse("there is no backend '%s'; there is: %s", name,
	       names(map_backends, sizeof(*map_backends), all, sizeof(all)));
}

static void take_mode(struct options *o, const char *name)
{
	const struct map_mode *mode;
	char all[128];

	for (mode = map_modes; mode->name; mode++) {
		if (!strcmp(mode->name, name)) {
			o->modes[o->n_modes++] = mode;
			return;
		}
	}
	refuse("there is no mode '%s'; there is: %s", name,
	       names(map_modes, sizeof(*map_modes), all, sizeof(all)));
}

static void take_size(struct options *o, const char *word)
{
	if (!bench_parse_size(word, &o->sizes[o->n_sizes]))
		refuse("'%s' is not a size; write it like 4096, 4k or 2m", word);
	o->n_sizes++;
}

static void take_threads(struct options *o, const char *word)
{
	if (!bench_parse_count(word, 1, MAX_THREADS, &o->threads[o->n_threads]))
		refuse("'%s' is not a number of threads from 1 to %d", word, MAX_THREADS);
	o->n_threads++;
}

static void take_list(struct options *o, const char *list,
		      void (*take)(struct options *o, const char *word), unsigned *n)
{
	char word[64];

	*n = 0;
	while (bench_next_word(&list, word, sizeof(word))) {
		if (*n == BENCH_LIST)
			refuse("a list has at most %d entries", BENCH_LIST);
		take(o, word);
	}
}

static uint32_t take_ns(struct options *o, const char *text)
{
	uint64_t ns;

	if (!bench_parse_count(text, 0, 1000000000, &ns))
		refuse("'%s' is not a cost in nanoseconds from 0 to 1000000000", text);
	o->cost_given = true;
	return (uint32_t)ns;
}

static error_t take_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'b':
		take_backend(o, arg);
		return 0;
	case 'd':
		o->device = arg;
		return 0;
	case 'm':
		take_list(o, arg, take_mode, &o->n_modes);
		return 0;
	case 's':
		take_list(o, arg, take_size, &o->n_sizes);
		return 0;
	case 't':
		take_list(o, arg, take_threads, &o->n_threads);
		return 0;
	case 'S':
		if (!bench_parse_seconds(arg, 0.01, 3600, &o->seconds))
			refuse("'%s' is not a time in seconds from 0.01 to 3600", arg);
		return 0;
	case OPT_INVALIDATE:
		o->cost.invalidate_ns = take_ns(o, arg);
		return 0;
	case OPT_PIN:
		o->cost.pin_ns = take_ns(o, arg);
		return 0;
	case OPT_CHECK:
		o->cost_given = o->cost.check = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		refuse("'%s' is not an option; see dray bench map --help", arg);
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

/* What no single option tells. */
static void check_options(struct options *o)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t threads = greatest(o->threads, o->n_threads);

	if (!o->backend)
		take_backend(o, o->device ? "type1" : "sim");
	if (!o->device)
		o->device = o->backend->default_device;
	if (!o->device)
		refuse("backend %s needs a --device; `dray doctor` lists them", o->backend->name);
	if (o->cost_given && !o->backend->has_cost_model)
		refuse("backend %s is real hardware; its cost cannot be set", o->backend->name);
	/* Pinned memory cannot be swapped: half of it leaves the machine usable. */
	if (greatest(o->sizes, o->n_sizes) > memory / 2 / threads)
		refuse("%llu threads with buffers of %llu bytes take more than half of this "
		       "machine's memory; ask for a smaller --size",
		       (unsigned long long)threads,
		       (unsigned long long)greatest(o->sizes, o->n_sizes));
}

static void cost_text(const struct options *o, char *text, size_t size)
{
	if (o->backend->has_cost_model)
		snprintf(text, size, "modelled: %u ns an invalidation, %u ns a pinned page, %s",
			 o->cost.invalidate_ns, o->cost.pin_ns,
			 o->cost.check ? "memory checked"
				       : "memory not checked (DRAY_SIM_NOCHECK)");
	else
		snprintf(text, size, "real: whatever this machine takes");
}

static void show_progress(unsigned round, unsigned rounds)
{
	fprintf(stderr, "\rdray bench map: round %u of %u%s", round, rounds,
		round < rounds ? "" : ", then the percentiles\n");
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

static int print_json(const struct options *o, const struct map_setting *settings,
		      const struct bench_result *results, unsigned n,
		      const struct bench_machine *machine)
{
	struct json_object *list = json_object_new_array();
	char cost[128];

	cost_text(o, cost, sizeof(cost));
	for (unsigned i = 0; list && i < n; i++) {
		const struct map_setting *s = &settings[i];
		const struct bench_result *r = &results[i];
		struct bench_label label = {"map", "dray", "W0", s->threads};
		struct json_object *row = bench_result_json(&label, r);

		if (!row) {
			json_object_put(list);
			list = NULL;
			break;
		}
		json_object_object_add(row, "backend", json_object_new_string(o->backend->name));
		json_object_object_add(row, "mode", json_object_new_string(s->mode->name));
		json_object_object_add(row, "size", json_object_new_int64((int64_t)s->size));
		json_object_object_add(row, "backend_calls_per_1000",
				       per_1000_json(r->per_1000[MAP_BACKEND_CALLS], true));
		json_object_object_add(row, "invalidations_per_1000",
				       per_1000_json(r->per_1000[MAP_INVALIDATIONS],
						     o->backend->counts_invalidations));
		json_object_object_add(row, "cost_model", json_object_new_string(cost));
		json_object_array_add(list, row);
	}
	return bench_print_json(bench_machine_json(machine), list);
}

static void print_percentiles(const struct bench_percentiles *p)
{
	char p50[32], p99[32], p999[32];

	bench_format_ns(p->p50, p50, sizeof(p50));
	bench_format_ns(p->p99, p99, sizeof(p99));
	bench_format_ns(p->p999, p999, sizeof(p999));
	printf(" %8s %8s %8s", p50, p99, p999);
}

static void print_table(const struct options *o, const struct map_setting *settings,
			const struct bench_result *results, unsigned n,
			const struct bench_machine *machine)
{
	char cost[128], rate[32];

	cost_text(o, cost, sizeof(cost));
	bench_machine_print(machine);
	printf("cost: %s\n", cost);
	printf("backend %s, device %s; one operation is a map and its unmap\n\n", o->backend->name,
	       o->device);
	printf("                                        |     ns, batches of %d    |"
	       "       ns, each alone     | per 1000 ops\n",
	       BENCH_BATCH);
	printf("%-7s %9s %3s %10s %6s |%8s %8s %8s |%8s %8s %8s |%6s %6s\n", "mode", "bytes", "thr",
	       "ops/s", "spread", "p50", "p99", "p99.9", "p50", "p99", "p99.9", "calls", "inval");
	for (unsigned i = 0; i < n; i++) {
		const struct map_setting *s = &settings[i];
		const struct bench_result *r = &results[i];

		bench_format_rate(r->ops_per_s.median, rate, sizeof(rate));
		printf("%-7s %9zu %3u %10s %5.1f%% |", s->mode->name, s->size, s->threads, rate,
		       r->ops_per_s.spread * 100);
		print_percentiles(&r->batch);
		printf(" |");
		if (r->has_single)
			print_percentiles(&r->single);
		else
			printf(" %8s %8s %8s", "-", "-", "-");
		printf(" |%6.0f ", r->per_1000[MAP_BACKEND_CALLS]);
		if (o->backend->counts_invalidations)
			printf("%6.0f\n", r->per_1000[MAP_INVALIDATIONS]);
		else
			printf("%6s\n", "-");
	}
}

static int measure(const struct options *o, struct map_world *world)
{
	struct bench_plan plan = {.seconds = o->seconds,
				  .progress = isatty(STDERR_FILENO) ? show_progress : NULL};
	unsigned n = 0, total = o->n_modes * o->n_sizes * o->n_threads;
	struct map_setting *settings = calloc(total, sizeof(*settings));
	struct bench_result *results = calloc(total, sizeof(*results));
	struct bench_case *cases = calloc(total, sizeof(*cases));
	struct bench_machine machine;
	char error[512];
	int code;

	if (!settings || !results || !cases) {
		code =
		    cmd_fail("dray bench map", "no memory for so many combinations; ask for fewer");
		goto out;
	}
	for (unsigned m = 0; m < o->n_modes; m++) {
		for (unsigned s = 0; s < o->n_sizes; s++) {
			for (unsigned t = 0; t < o->n_threads; t++, n++) {
				settings[n] = (struct map_setting){world, o->modes[m], o->sizes[s],
								   (unsigned)o->threads[t]};
				cases[n] = map_case(&settings[n]);
			}
		}
	}
	if (bench_measure(&plan, cases, n, results, error, sizeof(error))) {
		code = cmd_fail("dray bench map", error);
		goto out;
	}
	bench_machine_read(&machine);
	code = CMD_GOOD;
	if (!o->json)
		print_table(o, settings, results, n, &machine);
	else if (print_json(o, settings, results, n, &machine))
		code = CMD_FAILED;
out:
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
		"dray bench map: %llu of %llu mappings were not unmapped cleanly; the kernel "
		"log (dmesg) may say why\n",
		(unsigned long long)(stats.maps - stats.unmaps + stats.unmap_errors),
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
	    "\vAn operation is one map and its unmap. ops/s is the median of 20 rounds; spread is "
	    "the "
	    "width of their middle half as a share of it. Percentiles come from passes of their "
	    "own.",
	    NULL,
	    NULL,
	    NULL};
	struct options o = {
	    .modes = {&map_modes[0]},
	    .n_modes = 1,
	    .sizes = {4096},
	    .n_sizes = 1,
	    .threads = {1},
	    .n_threads = 1,
	    .seconds = 1,
	    .cost = {HARDWARE_INVALIDATE_NS, HARDWARE_PIN_NS, false},
	};
	struct map_world world;
	const char *error;
	int code;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return CMD_USAGE;
	check_options(&o);
	if (map_world_open(&world, o.backend, o.device, &o.cost,
			   (unsigned)greatest(o.threads, o.n_threads), greatest(o.sizes, o.n_sizes),
			   &error)) {
		return cmd_fail("dray bench map", error);
	}
	code = measure(&o, &world);
	if (!code)
		code = check_domain(&world);
	map_world_close(&world);
	return code;
}
