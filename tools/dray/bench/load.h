/* SPDX-License-Identifier: BSD-2-Clause */
/* Results of benches, read back from the JSON that they printed. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/* One point of an ageing run. */
struct load_window {
	double ops, p50, p999, live, population;
};

/* What a cell of a map counts, in pages; in this order in the file. */
enum load_kind {
	LOAD_LIVE, LOAD_RETIRED, LOAD_CACHED, LOAD_CHUNK_FREE, LOAD_SLACK, LOAD_RESERVED,
	LOAD_QUARANTINED, LOAD_FREE, LOAD_KINDS
};

/* Where ranges lie in a stretch of addresses. */
struct load_map {
	double first, last;
	double (*cells)[LOAD_KINDS];
	unsigned n;
};

/* One result. Strings belong to the file's JSON. */
struct load_row {
	unsigned file; /* index */
	const char *bench, *contender, *workload;
	double threads, ops, ops_per_s, spread;
	double p50, p99, p999;      /* ns an operation, in batches */
	bool has_single;
	double single_p50, single_p99, single_p999;
	/* bench map */
	const char *backend, *mode, *cost_model;
	double size, calls, unmaps; /* the latter two for 1,000 operations */
	double invalidations;       /* likewise; below 0: not known */
	bool has_queue;
	double queue_entries, flush_bytes, flush_timeout_us; /* 0: default */
	/* bench iova */
	double held, live, population, leaf_tables_per_1000;
	double ratio;               /* to dray; 0: dray did not take part */
	/* To dray, within rounds: quartiles, by the clock and by the threads' own time. */
	bool has_pairs;
	double by_clock[3], by_cpu[3];
	struct load_map *maps;
	unsigned n_maps;
	bool has_series;
	double drift_p50, drift_p999;
	struct load_window *series;
	unsigned n_series;
};

/* A file, and the words about the machine that it was measured on: name and value in turn. */
struct load_file {
	const char *name;
	struct json_object *root, *machine;
};

struct load {
	struct load_file *files;
	struct load_row *rows;
	unsigned n_files, n_rows;
};

/*
 * Read one more file. 0; -EINVAL with what is wrong with it, and where, in @ret_error; -ENOMEM.
 * What was read before stays.
 */
int load_file(struct load *l, const char *name, char *ret_error, size_t error_size);
void load_free(struct load *l);

/* Were both measured the same way, so that only one of them can be meant? */
bool load_same_setting(const struct load_row *a, const struct load_row *b);

#endif
