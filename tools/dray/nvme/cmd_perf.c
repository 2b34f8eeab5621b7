// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray nvme perf`: a steady load, its rates and latencies, and what the mapping cost
 *
 * Every command maps and unmaps its buffer. The calls to the backend per command tell how much of
 * that the kernel or the IOMMU saw. The mode printed is the one in effect, not the one asked for.
 * Writing destroys what is on the namespace: on a real controller it has to be allowed.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cmd.h"
#include "nvme/cmds.h"
#include "nvme/load.h"
#include "nvme/report.h"
#include "nvme/target.h"

#define DEFAULT_QUEUES  1u
#define DEFAULT_DEPTH   32u
#define DEFAULT_BYTES   4096u
#define DEFAULT_SECONDS 3u
#define LONGEST_SECONDS 86400u
/* A created image: far more blocks than a load that lasts seconds reads twice in a row. */
#define IMAGE_BYTES (UINT64_C(256) << 20)

enum { KEY_RW = 512, KEY_SECONDS, KEY_COMMANDS, KEY_DESTROY, KEY_MEMORY };

static const struct kind {
	const char *name;
	enum nvme_io_opcode op;
	bool sequential;
} kinds[] = {
	{"randread", NVME_IO_READ, false},
	{"randwrite", NVME_IO_WRITE, false},
	{"read", NVME_IO_READ, true},
	{"write", NVME_IO_WRITE, true},
};

struct job {
	struct nvme_args args;
	const struct kind *kind;
	unsigned seconds; /* 0: not said */
	uint64_t commands; /* 0: however many the time allows */
	bool destroy;
	enum nvme_memory_kind memory;
	/* Filled while it runs. */
	struct nvme_info info;
	size_t bytes;
	struct dray_stats before, after; /* around the load */
	uint64_t strained;               /* maps of the second thread meanwhile */
	struct nvme_load_result res;
	struct nvme_hist map_ns, unmap_ns;
};

static const struct argp_option options[] = {
	{"rw", KEY_RW, "KIND", 0, "randread (default), randwrite, read or write", 0},
	{"seconds", KEY_SECONDS, "N", 0, "how long (default 3)", 0},
	{"commands", KEY_COMMANDS, "N", 0, "so many commands, however long that takes; with --seconds, "
	 "at most", 0},
	{"memory", KEY_MEMORY, "KIND", 0, "what buffers are: mmap (default), malloc or heap", 0},
	{"destroy-data", KEY_DESTROY, NULL, 0, "allow writes to a real controller", 0},
	{0},
};

static const struct argp_child children[] = {{&nvme_args_argp, 0, NULL, 0}, {0}};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(name, kinds[i].name) == 0)
			return &kinds[i];
	return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct job *j = state->input;
	int memory;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &j->args;
		return 0;
	case KEY_RW:
		j->kind = find_kind(arg);
		if (!j->kind)
			argp_error(state, "--rw '%s' is unknown; give randread, randwrite, read or "
					  "write",
				   arg);
		return 0;
	case KEY_SECONDS:
		j->seconds = (unsigned)nvme_args_number(state, "seconds", arg, 1, LONGEST_SECONDS);
		return 0;
	case KEY_COMMANDS:
		j->commands = nvme_args_number(state, "commands", arg, 1, UINT64_C(1) << 40);
		return 0;
	case KEY_MEMORY:
		memory = nvme_memory_find(arg);
		if (memory < 0)
			argp_error(state, "--memory '%s' is unknown; give mmap, malloc or heap",
				   arg);
		j->memory = (enum nvme_memory_kind)memory;
		return 0;
	case KEY_DESTROY:
		j->destroy = true;
		return 0;
	case ARGP_KEY_END:
		if (j->args.device && j->kind->op == NVME_IO_WRITE && !j->destroy)
			argp_error(state, "--rw %s overwrites the data on %s; give --destroy-data "
					  "if nobody needs it",
				   j->kind->name, j->args.device);
		if (!j->seconds)
			j->seconds = j->commands ? LONGEST_SECONDS : DEFAULT_SECONDS;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Load a namespace with reads or writes of one size, every buffer mapped and "
	       "unmapped for its command, and measure: 1 queue of 32 commands of 4096 bytes unless "
	       "told otherwise. With --sim an image that does not exist is created (256 MiB, "
	       "sparse), and --seed chooses the addresses too.",
	.children = children,
};

static int load(struct job *j, struct nvme_target *t)
{
	struct nvme_load l = {
		.ctrl = t->ctrl,
		.dom = t->dom,
		.op = j->kind->op,
		.sequential = j->kind->sequential,
		.ns = (uint64_t)j->seconds * 1000000000,
		.commands = j->commands,
		.seed = j->args.seed ? j->args.seed : 1,
		.memory = j->memory,
	};
	int rc;

	j->info = *nvme_get_info(t->ctrl);
	j->bytes = j->args.io_bytes;
	if (j->bytes % j->info.block || j->bytes > j->info.max_transfer)
		return dr_fail(EINVAL, "--size %zu is not whole blocks of %u up to %zu; choose "
				       "such a size",
			       j->bytes, j->info.block, j->info.max_transfer);
	l.bytes = j->bytes;
	for (unsigned i = 0; i < j->info.queues; i++)
		nvme_queue_record(nvme_get_queue(t->ctrl, i), &j->map_ns, &j->unmap_ns);
	j->before.size = sizeof(j->before);
	j->after.size = sizeof(j->after);
	rc = dray_stats_get(t->dom, &j->before);
	if (!rc && t->strain)
		j->strained = nvme_strain_maps(t->strain);
	if (!rc)
		rc = nvme_load_run(&l, &j->res);
	if (!rc && t->strain)
		j->strained = nvme_strain_maps(t->strain) - j->strained;
	return rc ? rc : dray_stats_get(t->dom, &j->after);
}

static double per_second(const struct job *j, uint64_t n)
{
	return j->res.ns ? (double)n / ((double)j->res.ns / 1e9) : 0;
}

/* The second thread's maps and unmaps are operations like a command's. */
static double calls_per_command(const struct job *j)
{
	uint64_t ops = j->res.commands + j->strained;
	uint64_t before = j->before.backend_maps + j->before.backend_unmaps;
	uint64_t after = j->after.backend_maps + j->after.backend_unmaps;

	return ops ? (double)(after - before) / (double)ops : 0;
}

static double mib_per_second(const struct job *j)
{
	return per_second(j, j->res.commands * j->bytes) / 1048576.0;
}

static double us(const struct job *j, unsigned permille)
{
	return (double)nvme_hist_permille(&j->res.latency, permille) / 1000.0;
}

static void print_text(const struct job *j, const struct nvme_target *t)
{
	printf("%s of %zu bytes on %s (%s): %u queues of %u, %s on %s\n", j->kind->name, j->bytes,
	       nvme_report_device(t), j->info.model, j->info.queues, j->info.depth,
	       nvme_report_mode(t->mode), t->backend);
	printf("  %-18s %llu in %.2f s\n", "commands", (unsigned long long)j->res.commands,
	       (double)j->res.ns / 1e9);
	printf("  %-18s %.0f per second, %.1f MiB/s\n", "rate", per_second(j, j->res.commands),
	       mib_per_second(j));
	printf("  %-18s p50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n", "latency",
	       us(j, 500), us(j, 990), us(j, 999), (double)j->res.latency.max / 1000.0);
	printf("  %-18s %.3f%s\n", "calls per command", calls_per_command(j),
	       j->args.strain ? " (the second thread's maps count as commands)" : "");
	printf("  %-18s %s\n", "buffers", nvme_memory_name(j->memory));
	nvme_report_maps_text(t, &j->map_ns, &j->unmap_ns);
}

static struct json_object *to_json(const struct job *j, const struct nvme_target *t)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "command", json_object_new_string("nvme perf"));
	json_object_object_add(o, "device", json_object_new_string(nvme_report_device(t)));
	json_object_object_add(o, "backend", json_object_new_string(t->backend));
	json_object_object_add(o, "mode", json_object_new_string(nvme_report_mode(t->mode)));
	json_object_object_add(o, "rw", json_object_new_string(j->kind->name));
	json_object_object_add(o, "size", json_object_new_uint64(j->bytes));
	json_object_object_add(o, "queues", json_object_new_int64(j->info.queues));
	json_object_object_add(o, "depth", json_object_new_int64(j->info.depth));
	json_object_object_add(o, "memory", json_object_new_string(nvme_memory_name(j->memory)));
	json_object_object_add(o, "ops", json_object_new_uint64(j->res.commands));
	json_object_object_add(o, "seconds", json_object_new_double((double)j->res.ns / 1e9));
	json_object_object_add(o, "ops_per_s",
			       json_object_new_double(per_second(j, j->res.commands)));
	json_object_object_add(o, "mib_per_s", json_object_new_double(mib_per_second(j)));
	json_object_object_add(o, "ns_p50",
			       json_object_new_uint64(nvme_hist_permille(&j->res.latency, 500)));
	json_object_object_add(o, "ns_p99",
			       json_object_new_uint64(nvme_hist_permille(&j->res.latency, 990)));
	json_object_object_add(o, "ns_p999",
			       json_object_new_uint64(nvme_hist_permille(&j->res.latency, 999)));
	json_object_object_add(o, "ns_max", json_object_new_uint64(j->res.latency.max));
	json_object_object_add(o, "backend_calls_per_op",
			       json_object_new_double(calls_per_command(j)));
	nvme_report_maps_json(o, t, &j->map_ns, &j->unmap_ns);
	return o;
}

int cmd_nvme_perf(int argc, char **argv)
{
	static struct job j = {
		.args.queues = DEFAULT_QUEUES,
		.args.depth = DEFAULT_DEPTH,
		.args.io_bytes = DEFAULT_BYTES,
		.kind = &kinds[0],
	};
	struct nvme_target t;
	char why[512];
	int rc, bad;

	if (nvme_args_parse(&argp, argc, argv, &j))
		return cmd_fail(argv[0], "the command line cannot be read; see --help");
	rc = nvme_target_open(&j.args, j.args.image_bytes ? j.args.image_bytes : IMAGE_BYTES, &t);
	if (rc)
		return cmd_fail(argv[0], dray_errmsg());
	rc = load(&j, &t);
	snprintf(why, sizeof(why), "%s", dray_errmsg());
	bad = nvme_target_close(&t);
	if (rc || bad)
		return cmd_fail(argv[0], rc ? why : dray_errmsg());
	if (j.args.json)
		return nvme_report_json(argv[0], to_json(&j, &t));
	print_text(&j, &t);
	return nvme_report_end(argv[0]);
}
