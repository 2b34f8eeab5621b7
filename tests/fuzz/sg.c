// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lists: any elements in one piece of memory, any limits of the device. What was mapped is read as
 * the device reads it, byte by byte; what was refused has to have left everything as it was.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dray/dray.h>
#include <dray/sim.h>

#include "shape.h"
#include "target.h"

#define MEMORY ((size_t)256 << 10)
#define MOST   32u

static struct dray_domain *dom;
static unsigned char *memory;

struct list {
	struct dray_device_opts opts;
	struct dray_device *dev;
	struct dray_sg sg[MOST], before[MOST];
	unsigned n;
	size_t total;
	bool empty; /* there is no element, or one without bytes */
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s; %s\n", what, dray_errmsg());
	abort();
}

static void open_world(void)
{
	struct dray_domain_opts opts = {.size = sizeof(opts), .backend = DRAY_BACKEND_SIM,
					.flags = DRAY_DOMAIN_POLLED};

	check(!dray_domain_open(&opts, &dom), "no domain");
	memory = aligned_alloc(4096, MEMORY);
	check(memory != NULL, "no memory");
	for (size_t i = 0; i < MEMORY; i++)
		memory[i] = (unsigned char)(i * 131 + (i >> 8) * 7 + (i >> 16));
}

static size_t element_len(struct shape *s, unsigned how, size_t room)
{
	size_t len;

	if (how % 16 == 15)
		return (size_t)shape_number(s, 1) & 1;
	len = how & 1 ? (size_t)(shape_number(s, 1) % 8 + 1) << 12 : (size_t)shape_number(s, 2) + 1;
	return len < room ? len : room;
}

static void make(struct shape *s, struct list *l)
{
	static const size_t segments[] = {0, 4096, 8192, 65536};
	static const uint64_t boundaries[] = {0, 0xfff, 0xffff, 0xfffff};
	static const size_t aligns[] = {0, 0, 4, 512};
	unsigned limits = (unsigned)shape_number(s, 1);
	size_t at = 0;

	memset(l, 0, sizeof(*l));
	l->opts.size = sizeof(l->opts);
	l->opts.max_segment = segments[limits & 3];
	l->opts.segment_boundary_mask = boundaries[limits >> 2 & 3];
	l->opts.min_align = aligns[limits >> 4 & 3];
	l->n = (unsigned)shape_number(s, 1) % (MOST + 1);
	l->empty = !l->n;
	for (unsigned i = 0; i < l->n; i++) {
		unsigned how = (unsigned)shape_number(s, 1);

		/* Behind the one before, at a page, or anywhere. */
		if (how >> 4 & 1)
			at = (size_t)shape_number(s, 1) % (MEMORY >> 12) << 12;
		else if (how >> 5 & 1)
			at = (size_t)shape_number(s, 3) % MEMORY;
		at %= MEMORY;
		l->sg[i].va = memory + at;
		l->sg[i].len = element_len(s, how, MEMORY - at);
		l->empty |= !l->sg[i].len;
		l->total += l->sg[i].len;
		at += l->sg[i].len;
	}
	memcpy(l->before, l->sg, sizeof(l->sg));
}

/* The segments keep the limits and lead, in their order, to the bytes of the elements. */
static void compare(const struct list *l, unsigned segments)
{
	static unsigned char got[MOST * (size_t)65536], want[MOST * (size_t)65536];
	uint64_t mask = l->opts.segment_boundary_mask;
	size_t at = 0;

	check(segments <= l->n, "more segments than elements");
	for (unsigned i = 0; i < segments; i++) {
		uint64_t first = l->sg[i].iova, last = first + l->sg[i].dma_len - 1;

		check(l->sg[i].dma_len && l->sg[i].dma_len <= l->total - at,
		      "segments are empty or longer than the elements");
		check(!l->opts.max_segment || l->sg[i].dma_len <= l->opts.max_segment,
		      "a segment is too long");
		check(!mask || (first | mask) == (last | mask), "a segment crosses a boundary");
		check(!l->opts.min_align || first % l->opts.min_align == 0,
		      "a segment begins where the device cannot");
		check(!dray_sim_read(l->dev, first, got + at, l->sg[i].dma_len),
		      "a segment cannot be read");
		at += l->sg[i].dma_len;
	}
	check(at == l->total, "segments are shorter than the elements");
	at = 0;
	for (unsigned i = 0; i < l->n; at += l->before[i++].len) {
		check(l->sg[i].va == l->before[i].va && l->sg[i].len == l->before[i].len,
		      "an element was changed");
		memcpy(want + at, l->before[i].va, l->before[i].len);
	}
	check(!memcmp(got, want, at), "a byte is another one");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dray_stats st = {.size = sizeof(st)};
	struct shape s = {data, size};
	struct list l;
	int rc;

	if (!dom)
		open_world();
	make(&s, &l);
	check(!dray_device_open(dom, "sim0", &l.opts, &l.dev), "no device");
	rc = dray_map_sg(l.dev, l.sg, l.n, size & 1 ? DRAY_TO_DEVICE : DRAY_BIDIRECTIONAL, 0);
	if (rc > 0) {
		check(!l.empty, "an empty element was mapped");
		compare(&l, (unsigned)rc);
		dray_unmap_sg(l.dev, l.sg, l.n);
	} else {
		check(rc == (l.empty ? -EINVAL : -EMSGSIZE) ||
			      (rc == -ENOTSUP && l.opts.min_align && !l.empty),
		      "refused with another error");
		check(rc != -EMSGSIZE || l.opts.max_segment || l.opts.segment_boundary_mask ||
			      l.opts.min_align,
		      "too many segments, and the device has no limits");
		check(!memcmp(l.sg, l.before, sizeof(l.sg)), "a refused list was written");
	}
	check(!dray_stats_get(dom, &st) && st.maps == st.unmaps && !st.bad_unmaps,
	      "the books are not balanced");
	dray_device_close(l.dev);
	check(!dray_stats_get(dom, &st) && !st.leaks, "something was left mapped");
	return 0;
}
