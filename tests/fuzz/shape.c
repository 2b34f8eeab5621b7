// SPDX-License-Identifier: BSD-2-Clause
/*
 * Each segment is a byte that says how it lies beside the one before and how long it is, and the
 * bytes of the numbers that this needs. Nearly all inputs make lists that are nearly right, because
 * a fuzzer finds out by itself how to break them, and hardly how to make them.
 */
#include "shape.h"

uint64_t shape_number(struct shape *s, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++) {
		v = v << 8 | (s->left ? *s->bytes : 0);
		if (s->left) {
			s->bytes++;
			s->left--;
		}
	}
	return v;
}

static uint64_t place(struct shape *s, unsigned how, uint64_t end)
{
	switch (how) {
	case 0:
	case 1:
		/* Adjoins the one before. */
		return end;
	case 2:
	case 3:
		return shape_number(s, 2) << 16;
	case 4:
		return shape_number(s, 3) << 12;
	case 5:
		return shape_number(s, 4) << 2;
	case 6:
		return shape_number(s, 5);
	default:
		/* Near the end of all addresses. */
		return (uint64_t)0 - (shape_number(s, 2) << 8);
	}
}

static uint64_t length(struct shape *s, unsigned how, uint64_t at)
{
	switch (how) {
	case 0:
	case 1:
		/* To a page's end, and some pages. */
		return ((shape_number(s, 1) + 1) << 12) - (at & 0xfff);
	case 2:
		return ((shape_number(s, 1) + 1) << 16) - (at & 0xffff);
	case 3:
		return shape_number(s, 1) + 1;
	case 4:
		return (shape_number(s, 2) + 1) << 2;
	case 5:
		return shape_number(s, 3);
	case 6:
		return shape_number(s, 5);
	default:
		return shape_number(s, 8);
	}
}

unsigned shape_list(struct shape *s, struct dray_sg *ret_sg, size_t *ret_total)
{
	unsigned n = (unsigned)shape_number(s, 1) % (SHAPE_SEGS + 1);
	uint64_t end = 0x10000;

	*ret_total = 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned how = (unsigned)shape_number(s, 1);
		uint64_t at = place(s, how & 7, end), len = length(s, how >> 3 & 7, at);

		ret_sg[i] = (struct dray_sg){.iova = at, .dma_len = (size_t)len};
		*ret_total += (size_t)len;
		end = at + len;
	}
	return n;
}

void shape_part(struct shape *s, size_t total, size_t *ret_off, size_t *ret_len)
{
	unsigned how = (unsigned)shape_number(s, 1);

	*ret_off = 0;
	*ret_len = total;
	if (how & 1) {
		*ret_off = (size_t)shape_number(s, how & 2 ? 2 : 8);
		if (total && !(how & 4))
			*ret_off %= total;
		if (how & 8)
			*ret_off &= ~(size_t)0xfff;
	}
	if (how & 16) {
		*ret_len = (size_t)shape_number(s, how & 32 ? 3 : 8);
		if (total > *ret_off && !(how & 64))
			*ret_len = 1 + *ret_len % (total - *ret_off);
	} else if (total > *ret_off) {
		*ret_len = total - *ret_off;
	}
}
