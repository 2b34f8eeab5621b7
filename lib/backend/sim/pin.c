// SPDX-License-Identifier: BSD-2-Clause
/*
 * Could this memory be pinned? The software IOMMU pins nothing, but what a kernel would refuse it
 * refuses too, and says where and why.
 *
 * MADV_POPULATE_READ and _WRITE (Linux 5.14) fault pages in as a pin does and change nothing else.
 * They tell that something is wrong, not where: the place is found by halving. A kernel without
 * them answers EINVAL to everything; then /proc/self/maps says what is mapped and how, which is
 * slower and misses only what goes wrong while faulting in.
 */
#include "backend/sim/machine.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE ((size_t)4096)

/* 0 or an errno. */
static int populate(char *va, size_t len, bool writable)
{
	int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

	while (dr_hooks->madvise(va, len, advice))
		if (errno != EINTR)
			return errno;
	return 0;
}

/* Does the kernel know the advice? Asked only when it has refused something. */
static bool can_populate(void)
{
	static char page[4096] __attribute__((aligned(4096)));

	return !populate(page, sizeof(page), false);
}

/* The first page that cannot be populated, and why. [va, va + len) is known to have one. */
static char *first_bad(char *va, size_t len, bool writable, int *inout_err)
{
	while (len > PAGE) {
		size_t half = dr_align_up(len / 2, PAGE);
		int err = populate(va, half, writable);

		if (err) {
			*inout_err = err;
			len = half;
		} else {
			va += half;
			len -= half;
		}
	}
	return va;
}

static int bad(const char *at, bool writable, int err)
{
	switch (err) {
	case ENOMEM:
		return dr_fail(EFAULT, "cannot pin %p: nothing is mapped there", (const void *)at);
	case EINVAL:
	case EACCES:
		return dr_fail(EFAULT, "cannot pin %p: the memory is not %s, or is no ordinary "
			       "memory; %s", (const void *)at, writable ? "writable" : "readable",
			       writable ? "map it DRAY_TO_DEVICE" : "mprotect it PROT_READ");
	case EFAULT:
		return dr_fail(EFAULT, "cannot pin %p: touching it would be a bus error (past the "
			       "end of its file?)", (const void *)at);
	default:
		return dr_fail(EFAULT, "cannot pin %p: %s", (const void *)at, strerror(err));
	}
}

/* Lines of /proc/self/maps, read in pieces; a line may begin in one and end in the next. */
#define MAPS_BUF 4096

struct maps {
	int fd;
	off_t off;
	size_t begin, end;      /* of what is unread in text */
	char text[MAPS_BUF + 1];
};

/* The next line, ended by 0; NULL at the end. */
static char *next_line(struct maps *m)
{
	for (;;) {
		char *line = m->text + m->begin;
		char *newline = memchr(line, '\n', m->end - m->begin);
		ssize_t got;

		if (newline) {
			*newline = 0;
			m->begin = (size_t)(newline + 1 - m->text);
			return line;
		}
		memmove(m->text, line, m->end - m->begin);
		m->end -= m->begin;
		m->begin = 0;
		got = dr_hooks->pread(m->fd, m->text + m->end, MAPS_BUF - m->end, m->off);
		if (got <= 0)
			return NULL;
		m->end += (size_t)got;
		m->off += got;
	}
}

static int check_maps(const char *va, size_t len, bool writable)
{
	uintptr_t at = (uintptr_t)va, end = at + len;
	struct maps m = { .fd = dr_hooks->open("/proc/self/maps", O_RDONLY) };
	char *line, r, w;
	int err = ENOMEM;

	if (m.fd < 0)
		return dr_fail(EFAULT, "cannot tell whether %p can be pinned: /proc/self/maps: %s; "
			       "mount /proc, or use DRAY_SIM_NOCHECK", (const void *)va,
			       strerror(errno));
	while (at < end && (line = next_line(&m))) {
		uint64_t low, high;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %c%c", &low, &high, &r, &w) != 4 ||
		    high <= at)
			continue;
		if (low > at)
			break;
		if (r != 'r' || (writable && w != 'w')) {
			err = EINVAL;
			break;
		}
		at = (uintptr_t)high;
	}
	dr_hooks->close(m.fd);
	return at < end ? bad((const char *)at, writable, err) : 0;
}

int dr_pin_check(const void *va, size_t len, bool writable)
{
	char *at = (char *)(uintptr_t)va; /* populating changes no byte */
	int err = populate(at, len, writable);

	if (!err)
		return 0;
	if (err == EINVAL && !can_populate())
		return check_maps(at, len, writable);
	at = first_bad(at, len, writable, &err);
	return bad(at, writable, err);
}
