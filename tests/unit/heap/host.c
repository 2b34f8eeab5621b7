// SPDX-License-Identifier: BSD-2-Clause
/*
 * A program that is linked with libdray-heap: its malloc is what it was, and what it says to its
 * own allocator is not heard in the heap. Says "good", or what is not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dray/dray.h>
#include <dray/heap.h>
#include <dray/region.h>
#include <dray/sim.h>

#define CHECK(what) do { \
	if (!(what)) { \
		printf("line %d: not so: %s (%s)\n", __LINE__, #what, dray_errmsg()); \
		return 1; \
	} \
} while (0)

/* Which file a function lies in. */
static const char *home(const char *function)
{
	Dl_info info;
	void *p = dlsym(RTLD_DEFAULT, function);

	return p && dladdr(p, &info) ? info.dli_fname : "";
}

int main(void)
{
	static const char *const mallocs[] = { "malloc", "free", "calloc", "realloc",
					       "posix_memalign", "aligned_alloc" };
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_heap *heap;
	char *p, *host, got[4];
	size_t len = 100;

	for (size_t i = 0; i < sizeof(mallocs) / sizeof(*mallocs); i++)
		CHECK(strstr(home(mallocs[i]), "libc.so"));
	CHECK(!dlsym(RTLD_DEFAULT, "mallctl"));
	CHECK(!dlsym(RTLD_DEFAULT, "mallocx"));
	CHECK(!dlsym(RTLD_DEFAULT, "dr_je_mallocx"));

	CHECK(!dray_domain_open(&opts, &dom));
	CHECK(!dray_device_open(dom, "sim0", NULL, &dev));
	/* The message of a failure in the heap is found in the one place for them. */
	CHECK(dray_heap_open(NULL, NULL, &heap) < 0 && strstr(dray_errmsg(), "domain is NULL"));
	CHECK(!dray_heap_open(dom, NULL, &heap));
	p = dray_heap_alloc(heap, 100, 0);
	CHECK(p);
	memcpy(p, "heap", 4);
	CHECK(!dray_sim_read(dev, dray_translate(dom, p, &len), got, 4) && !memcmp(got, "heap", 4));
	CHECK(len == 100);
	/* Blocks of either kind side by side, both ways. */
	for (int i = 1; i < 2000; i++) {
		void *q = dray_heap_alloc(heap, (size_t)i * 10, 0);

		host = malloc((size_t)i * 10);
		CHECK(q && host);
		CHECK(dray_translate(dom, q, NULL) != DRAY_IOVA_NONE);
		CHECK(dray_translate(dom, host, NULL) == DRAY_IOVA_NONE);
		memset(q, 1, (size_t)i * 10);
		memset(host, 2, (size_t)i * 10);
		host = realloc(host, (size_t)i * 20);
		CHECK(host && host[0] == 2);
		free(host);
		dray_heap_free(heap, q);
	}
	dray_heap_free(heap, p);
	dray_heap_close(heap);
	dray_device_close(dev);
	dray_domain_close(dom);
	puts("good");
	return 0;
}
