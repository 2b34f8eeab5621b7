// SPDX-License-Identifier: BSD-2-Clause
/*
 * A number of map and unmap pairs on the software IOMMU without modelled cost, one way at a time,
 * and nothing else: for callgrind, which takes the difference of two runs, and for profiles.
 *
 * Several ways take turns, each in a domain of its own, and each turn is short against a time slice;
 * with --time the medians and quartiles of the turns are printed, and what each way takes more than
 * the first.
 *
 * usage: map-pairs WAY[,WAY...] PAIRS [--time]
 */
#include <dray/dray.h>
#include <dray/sim.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define LEN ((size_t)16 << 20)
#define MAX_LIST 512
#define MAX_WAYS 8
#define TURNS 401

struct way;

/* A way and what it works on. */
struct place {
	const struct way *way;
	struct dray_domain *dom;
	struct dray_device *dev;
	char *memory;
	struct dray_sg list[MAX_LIST];
	unsigned list_n;
	double ns[TURNS]; /* of a pair */
};

static struct place places[MAX_WAYS];

static void must(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "map-pairs: %s: %s\n", what, dray_errmsg());
	exit(1);
}

static void one(struct place *p, size_t len)
{
	struct dray_mapping m;

	must(dray_map(p->dev, p->memory, len, DRAY_BIDIRECTIONAL, 0, &m), "map");
	dray_unmap(p->dev, &m);
}

static void many(struct place *p)
{
	must(dray_map_sg(p->dev, p->list, p->list_n, DRAY_BIDIRECTIONAL, 0), "map list");
	dray_unmap_sg(p->dev, p->list, p->list_n);
}

static void fill_list(struct place *p, unsigned n, size_t stride)
{
	p->list_n = n;
	for (unsigned i = 0; i < n; i++)
		p->list[i] = (struct dray_sg){ .va = p->memory + i * stride, .len = 4096 };
}

static const struct way {
	const char *name, *what;
	enum dray_invalidation invalidation;
	size_t threshold, len;
	bool registered;
	unsigned n;
	size_t stride;
} ways[] = {
	{ "strict", "4 KiB, mapped and unmapped", DRAY_STRICT, 0, 4096, false, 0, 0 },
	{ "lazy", "4 KiB, unmapped later", DRAY_LAZY, 0, 4096, false, 0, 0 },
	{ "region", "4 KiB of registered memory", DRAY_STRICT, 0, 4096, true, 0, 0 },
	{ "bounce", "4 KiB, copied", DRAY_STRICT, 4096, 4096, false, 0, 0 },
	{ "sg-1", "a list of one element", DRAY_STRICT, 0, 4096, false, 1, 4096 },
	{ "sg-region-1", "the same, registered", DRAY_STRICT, 0, 4096, true, 1, 4096 },
	{ "sg-region-256", "256 registered elements", DRAY_STRICT, 0, 4096, true, 256, 8192 },
	{ "sg-adjoining-512", "512 elements that adjoin", DRAY_STRICT, 0, 4096, false, 512, 4096 },
	{ "sg-scattered-512", "512 elements that do not", DRAY_STRICT, 0, 4096, false, 512, 8192 },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static const struct way *find(const char *name)
{
	for (size_t i = 0; i < N_WAYS; i++)
		if (!strcmp(ways[i].name, name))
			return &ways[i];
	fprintf(stderr, "map-pairs: no way \"%s\"; there are\n", name);
	for (size_t i = 0; i < N_WAYS; i++)
		fprintf(stderr, "  %-18s %s\n", ways[i].name, ways[i].what);
	exit(2);
}

static void set_up(struct place *p, const struct way *w)
{
	struct dray_domain_opts o = {
		.size = sizeof(o), .backend = DRAY_BACKEND_SIM, .invalidation = w->invalidation,
		.bounce_threshold = w->threshold,
	};
	struct dray_region *region;
	char name[16];

	p->way = w;
	/* Each in a group of its own. */
	snprintf(name, sizeof(name), "sim%u", (unsigned)(p - places));
	must(dray_domain_open(&o, &p->dom), "open domain");
	must(dray_device_open(p->dom, name, NULL, &p->dev), "open device");
	must(dray_sim_set_cost(p->dom, 0, 0, DRAY_SIM_NOCHECK), "set cost");
	p->memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->memory == MAP_FAILED) {
		perror("map-pairs: mmap");
		exit(1);
	}
	memset(p->memory, 1, LEN);
	if (w->registered)
		must(dray_region_register(p->dom, p->memory, LEN, 0, &region), "register");
	if (w->n)
		fill_list(p, w->n, w->stride);
}

static void run(struct place *p, unsigned long pairs)
{
	for (unsigned long i = 0; i < pairs; i++) {
		if (p->way->n)
			many(p);
		else
			one(p, p->way->len);
	}
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void take_turns(unsigned n, unsigned long pairs)
{
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (unsigned i = 0; i < n; i++) {
			double start;

			/* What the others' turns have pushed out. */
			run(&places[i], pairs / 8);
			start = now_ns();
			run(&places[i], pairs);
			places[i].ns[turn] = (now_ns() - start) / (double)pairs;
		}
	for (unsigned i = 0; i < n; i++)
		qsort(places[i].ns, TURNS, sizeof(places[i].ns[0]), compare);
}

int main(int argc, char **argv)
{
	unsigned long pairs;
	unsigned n = 0;

	if (argc < 3)
		find("");
	for (char *name = strtok(argv[1], ","); name && n < MAX_WAYS; name = strtok(NULL, ",")) {
		set_up(&places[n], find(name));
		n++;
	}
	pairs = strtoul(argv[2], NULL, 0);
	if (argc == 3) {
		for (unsigned i = 0; i < n; i++)
			run(&places[i], pairs);
		return 0;
	}
	take_turns(n, pairs / TURNS + 1);
	for (unsigned i = 0; i < n; i++) {
		const double *ns = places[i].ns;

		printf("%-18s %8.2f ns  (%.2f .. %.2f)  %+.2f\n", places[i].way->name,
		       ns[TURNS / 2], ns[TURNS / 4], ns[3 * TURNS / 4],
		       ns[TURNS / 2] - places[0].ns[TURNS / 2]);
	}
	return 0;
}
