// SPDX-License-Identifier: BSD-2-Clause
/* The arena: pages of several kinds, each with its name and its cells. */
#define _GNU_SOURCE
#include "churn.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME  UINT64_C(0x6472617900000000) /* and the page's number */
#define CELLS 1024u                        /* in a page */

enum kind { PRIVATE, SHARED, HUGE, TRANSPARENT, READ_ONLY };

/* Runs of memory, by page of the arena; what is in none is private. */
static const struct {
	size_t first, n;
	enum kind kind;
} runs[] = {
	{ 12, 10, SHARED },
	{ 3072, 512, HUGE },
	{ 3584, 512, TRANSPARENT },
	{ 4098, 520, READ_ONLY },
};

/*
 * Places that adjoin, with pages between some that are in none. Whole blocks of 2 MiB, which the
 * table knows as one, parts of them, and places that are both.
 */
static const struct {
	size_t first, n;
} layout[PLACES] = {
	{ 0, 1 }, { 1, 3 }, { 4, 5 },
	{ 12, 8 }, { 20, 2 },
	{ 512, 512 }, { 1024, 517 }, { 1541, 1027 },
	{ 3072, 512 }, { 3584, 512 },
	{ 4098, 4 }, { 4102, 516 },
	{ 5220, 7 }, /* alone in its 2 MiB */
};

struct place places[PLACES];
char *arena;
size_t arena_pages = 5632;
char *arena_many;

static char *read_only_at, *read_only_cpu; /* the same pages, twice */
static size_t read_only_len;

static void *map_at(char *at, size_t len, int prot, int flags, int fd)
{
	return mmap(at, len, prot, flags | MAP_FIXED, fd, 0);
}

static int new_file(size_t len)
{
	int fd = memfd_create("churn", MFD_CLOEXEC);

	MUST(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static void make_read_only(char *at, size_t len)
{
	int fd = new_file(len);

	MUST(map_at(at, len, PROT_READ, MAP_SHARED, fd) == at);
	read_only_cpu = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(read_only_cpu != MAP_FAILED);
	read_only_at = at;
	read_only_len = len;
	close(fd);
}

static void make_shared(char *at, size_t len)
{
	int fd = new_file(len);

	MUST(map_at(at, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd) == at);
	close(fd);
}

static void make(char *at, size_t len, enum kind kind)
{
	const int rw = PROT_READ | PROT_WRITE;

	switch (kind) {
	case READ_ONLY:
		make_read_only(at, len);
		break;
	case SHARED:
		make_shared(at, len);
		break;
	case HUGE:
		/* Where the administrator has set none aside, they are as the next. */
		if (map_at(at, len, rw, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1) == at)
			break;
		MUST(map_at(at, len, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1) == at);
		/* fall through */
	case TRANSPARENT:
		madvise(at, len, MADV_HUGEPAGE);
		break;
	case PRIVATE:
		break;
	}
}

static uint64_t name_of(const char *va)
{
	return NAME + (uint64_t)(va - arena) / KB4;
}

void arena_open(void)
{
	size_t len = arena_pages * KB4;
	char *p = mmap(NULL, len + 2 * MB2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	MUST(p != MAP_FAILED);
	arena = (char *)(((uintptr_t)p + MB2 - 1) & ~(MB2 - 1));
	arena_many = arena + len + KB4;
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
		make(arena + runs[i].first * KB4, runs[i].n * KB4, runs[i].kind);
	for (char *page = arena; page < arena + len; page += KB4) {
		uint64_t name = name_of(page);

		memcpy(cpu_at(page), &name, sizeof(name));
	}
	for (unsigned i = 0; i < PLACES; i++) {
		struct place *pl = &places[i];

		pl->va = arena + layout[i].first * KB4;
		pl->len = layout[i].n * KB4;
		pl->read_only = is_read_only(pl->va, pl->len);
		pl->fixed = FIXED_BASE + layout[i].first * KB4;
		pthread_mutex_init(&pl->lock, NULL);
		atomic_init(&pl->iova, DRAY_IOVA_NONE);
		atomic_init(&pl->changing, DRAY_IOVA_NONE);
	}
}

struct place *place_of(const char *va, size_t len)
{
	for (unsigned i = 0; i < PLACES; i++) {
		struct place *p = &places[i];

		if (va >= p->va && va < p->va + p->len)
			return len <= (size_t)(p->va + p->len - va) ? p : NULL;
	}
	return NULL;
}

char *cpu_at(char *va)
{
	return is_read_only(va, 1) ? read_only_cpu + (va - read_only_at) : va;
}

bool is_read_only(const char *va, size_t len)
{
	return va < read_only_at + read_only_len && va + len > read_only_at;
}

char *cell_of(char *va, unsigned slot)
{
	return (char *)((uintptr_t)va & ~(KB4 - 1)) + CELLS + slot * CELL;
}

int read_name(const struct player *p, dray_iova_t iova, const char *va)
{
	uint64_t name = 0;
	int err = player_read(p, iova & ~(uint64_t)(KB4 - 1), &name, sizeof(name));

	return err ? err : name == name_of((const char *)((uintptr_t)va & ~(KB4 - 1)));
}
