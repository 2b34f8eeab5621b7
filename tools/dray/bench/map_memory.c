// SPDX-License-Identifier: BSD-2-Clause
/*
 * What buffers are in.
 *
 * 1. Whatever the kernel gives for MAP_ANONYMOUS (mmap); small pages for sure (4k); transparent huge
 *    pages (thp); or pages of the reserve, /proc/sys/vm/nr_hugepages (hugetlb). With the last two
 *    all of it is in pages of 2 MiB, or there is no memory: a figure of memory that is so only here
 *    and there says nothing. The kernel tells only by /proc/self/smaps what it made of a wish for
 *    transparent pages.
 *
 * 2. Memory is populated before anything is measured, and starts at a multiple of the buffer's size,
 *    2 MiB at most, or of the page.
 */
#define _GNU_SOURCE
#include "bench/map_world.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL ((size_t)4096)
#define HUGE  ((size_t)2 << 20)

const struct map_memory map_memories[] = {
	{ "mmap", SMALL, 0, 0 },
	{ "4k", SMALL, 0, MADV_NOHUGEPAGE },
	{ "thp", HUGE, 0, MADV_HUGEPAGE },
	{ "hugetlb", HUGE, MAP_HUGETLB, 0 },
	{ 0 },
};

static size_t up(size_t size, size_t align)
{
	return (size + align - 1) & ~(align - 1);
}

static size_t alignment(const struct map_config *c)
{
	size_t align = c->memory->page;

	while (align < c->size && align < HUGE)
		align *= 2;
	return align;
}

size_t map_arena_bytes(const struct map_config *c)
{
	size_t stride = c->sg_stride ? c->sg_stride : c->size;
	size_t bytes = c->sg ? stride * (c->sg - 1) + c->size : up(c->size, SMALL) * c->places;

	return up(bytes, c->memory->page);
}

/* Bytes of [p, p + len) that are in transparent huge pages. */
static size_t transparent(const char *p, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long first, end, kib;
	bool inside = false;
	size_t total = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &first, &end) == 2)
			inside = first < (uintptr_t)p + len && end > (uintptr_t)p;
		else if (inside && sscanf(line, "AnonHugePages: %lu kB", &kib) == 1)
			total += (size_t)kib << 10;
	}
	if (f)
		fclose(f);
	return total;
}

/* What of a reservation of PROT_NONE lies around [start, start + len) goes. */
static void trim(char *p, size_t whole, char *start, size_t len)
{
	if (start > p)
		munmap(p, (size_t)(start - p));
	if (p + whole > start + len)
		munmap(start + len, (size_t)(p + whole - (start + len)));
}

void *map_arena_new(const struct map_config *c)
{
	const struct map_memory *m = c->memory;
	size_t len = map_arena_bytes(c), align = alignment(c);
	char *p = mmap(NULL, len + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	char *start;

	if (p == MAP_FAILED)
		return NULL;
	start = (char *)up((uintptr_t)p, align);
	trim(p, len + align, start, len);
	/* Populated at once, unless the kernel has to be told first what is wanted. */
	if (mmap(start, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | m->flags | (m->advice ? 0 : MAP_POPULATE),
		 -1, 0) == MAP_FAILED)
		goto fail;
	if (m->advice) {
		/* A kernel without huge pages has nothing but small ones. */
		if (madvise(start, len, m->advice) && m->advice == MADV_HUGEPAGE)
			goto fail;
		memset(start, 0, len);
	}
	if (m->advice == MADV_HUGEPAGE && transparent(start, len) < len)
		goto fail;
	return start;
fail:
	munmap(start, len);
	return NULL;
}

void map_arena_free(const struct map_config *c, void *arena)
{
	if (arena)
		munmap(arena, map_arena_bytes(c));
}
