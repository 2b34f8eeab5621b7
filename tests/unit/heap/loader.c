// SPDX-License-Identifier: BSD-2-Clause
/*
 * Loads libdray-heap late, as a plug-in does, and uses it.
 *
 * usage: loader LIBDRAY LIBDRAY-HEAP
 */
#include <dlfcn.h>
#include <stdio.h>

#include <dray/dray.h>
#include <dray/heap.h>

static void *find(void *lib, const char *name)
{
	void *p = dlsym(lib, name);

	if (!p)
		printf("no %s\n", name);
	return p;
}

int main(int argc, char **argv)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };
	struct dray_domain *dom;
	struct dray_heap *heap;
	void *dray, *dray_heap, *p;
	int (*domain_open)(const struct dray_domain_opts *, struct dray_domain **);
	void (*domain_close)(struct dray_domain *);
	int (*heap_open)(struct dray_domain *, const struct dray_heap_opts *, struct dray_heap **);
	void *(*heap_alloc)(struct dray_heap *, size_t, size_t);
	void (*heap_free)(struct dray_heap *, void *);
	void (*heap_close)(struct dray_heap *);

	if (argc != 3)
		return 2;
	dray = dlopen(argv[1], RTLD_NOW);
	dray_heap = dray ? dlopen(argv[2], RTLD_NOW) : NULL;
	if (!dray_heap) {
		printf("%s\n", dlerror());
		return 1;
	}
	/* The one way that C has of taking a function from dlsym(). */
	*(void **)&domain_open = find(dray, "dray_domain_open");
	*(void **)&domain_close = find(dray, "dray_domain_close");
	*(void **)&heap_open = find(dray_heap, "dray_heap_open");
	*(void **)&heap_alloc = find(dray_heap, "dray_heap_alloc");
	*(void **)&heap_free = find(dray_heap, "dray_heap_free");
	*(void **)&heap_close = find(dray_heap, "dray_heap_close");
	if (!domain_open || !domain_close || !heap_open || !heap_alloc || !heap_free || !heap_close)
		return 1;
	if (domain_open(&opts, &dom) || heap_open(dom, NULL, &heap)) {
		puts("no heap");
		return 1;
	}
	p = heap_alloc(heap, 10000, 64);
	if (!p) {
		puts("no block");
		return 1;
	}
	heap_free(heap, p);
	heap_close(heap);
	domain_close(dom);
	puts("good");
	return 0;
}
