// SPDX-License-Identifier: BSD-2-Clause
/*
 * A number of map and unmap pairs on the software IOMMU without modelled cost, one way at a time,
 * and nothing else: for callgrind, which takes the difference of two runs, and for profiles.
 *
 * usage: map-pairs WAY PAIRS [--time]
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

static struct dray_domain *dom;
static struct dray_device *dev;
static char *memory;
static struct dray_sg list[MAX_LIST];
static unsigned list_n;

static void must(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "map-pairs: %s: %s\n", what, dray_errmsg());
	exit(1);
}

static void one(size_t len)
{
	struct dray_mapping m;

	must(dray_map(dev, memory, len, DRAY_BIDIRECTIONAL, 0, &m), "map");
	dray_unmap(dev, &m);
}

static void many(void)
{
	must(dray_map_sg(dev, list, list_n, DRAY_BIDIRECTIONAL, 0), "map list");
	dray_unmap_sg(dev, list, list_n);
}

static void fill_list(unsigned n, size_t stride)
{
	list_n = n;
	for (unsigned i = 0; i < n; i++)
		list[i] = (struct dray_sg){ .va = memory + i * stride, .len = 4096 };
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

static void set_up(const struct way *w)
{
	struct dray_domain_opts o = {
		.size = sizeof(o), .backend = DRAY_BACKEND_SIM, .invalidation = w->invalidation,
		.bounce_threshold = w->threshold,
	};
	struct dray_region *region;

	must(dray_domain_open(&o, &dom), "open domain");
	must(dray_device_open(dom, "sim0", NULL, &dev), "open device");
	must(dray_sim_set_cost(dom, 0, 0, DRAY_SIM_NOCHECK), "set cost");
	memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("map-pairs: mmap");
		exit(1);
	}
	memset(memory, 1, LEN);
	if (w->registered)
		must(dray_region_register(dom, memory, LEN, 0, &region), "register");
	if (w->n)
		fill_list(w->n, w->stride);
}

int main(int argc, char **argv)
{
	struct timespec t[2];
	const struct way *w;
	unsigned long pairs;

	if (argc < 3)
		find("");
	w = find(argv[1]);
	pairs = strtoul(argv[2], NULL, 0);
	set_up(w);
	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	for (unsigned long i = 0; i < pairs; i++) {
		if (w->n)
			many();
		else
			one(w->len);
	}
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	if (argc > 3 && !strcmp(argv[3], "--time"))
		printf("%s: %.2f ns\n", w->name,
		       ((double)(t[1].tv_sec - t[0].tv_sec) * 1e9 +
			(double)(t[1].tv_nsec - t[0].tv_nsec)) / (double)pairs);
	return 0;
}
