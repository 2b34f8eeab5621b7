// SPDX-License-Identifier: BSD-2-Clause
/*
 * Vectors
 *
 * 1. A vector is cut from its length and laid out in memory with gaps in front of its elements. It
 *    has one of five shapes, chosen by its number and the seed, so that every way a driver may
 *    take is taken: one buffer; one buffer at an odd offset; pages with holes between them, the
 *    first with an offset, which PRP entries can describe; pieces of odd lengths at odd offsets,
 *    which only a scatter-gather list or a copy can; and pieces of odd lengths that adjoin.
 * 2. Some elements are empty: a vector may have them.
 * 3. Elements ascend in memory, so what lies between two of them is known, and a device that wrote
 *    there is found out.
 */
#include "nvme/vector.h"

#include <string.h>

#define PAGE ((size_t)4096)

enum shape { ONE, ODD_ONE, PAGES, ODD, ADJOINING, SHAPES };

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n)
{
	return (size_t)(next(state) % n);
}

size_t nvme_vector_room(size_t len)
{
	/* The widest gap is a page, and rounding up to the next one. */
	return len + (NVME_VECTOR_MAX + 1) * 2 * PAGE;
}

/* Bytes of the next element, of @left; what the last one gets is not asked for. */
static size_t cut(uint64_t *state, enum shape shape, size_t at, size_t left)
{
	size_t n;

	if (shape == PAGES) {
		n = (1 + below(state, 8)) * PAGE - at % PAGE;
	} else {
		if (below(state, 16) == 0)
			return 0;
		n = 1 + below(state, below(state, 2) ? 64 : left);
	}
	return n < left ? n : left;
}

unsigned nvme_vector_make(uint64_t seed, uint64_t n, unsigned char *mem, size_t len,
			  struct iovec *ret_iov)
{
	uint64_t state = seed ^ n * UINT64_C(0xd1342543de82ef95);
	enum shape shape = (enum shape)below(&state, SHAPES);
	unsigned most = shape <= ODD_ONE ? 1 : 1 + (unsigned)below(&state, NVME_VECTOR_MAX);
	unsigned count = 0;
	size_t at = 0;

	if (shape == ODD_ONE)
		at = 1 + 2 * below(&state, PAGE / 2);
	else if (shape == ADJOINING)
		at = below(&state, PAGE);
	else if (shape == PAGES)
		at = 4 * below(&state, PAGE / 4);
	while (len) {
		size_t bytes = count + 1 == most ? len : cut(&state, shape, at, len);

		if (shape == ODD)
			at += 1 + below(&state, 300);
		else if (shape == PAGES && count)
			at += PAGE * below(&state, 2);
		ret_iov[count++] = (struct iovec){mem + at, bytes};
		at += bytes;
		len -= bytes;
	}
	return count;
}

void nvme_vector_scatter(const struct iovec *iov, unsigned n, const unsigned char *from)
{
	/* An empty element may be nowhere, which memcpy() may not be given. */
	for (unsigned i = 0; i < n; from += iov[i++].iov_len)
		if (iov[i].iov_len)
			memcpy(iov[i].iov_base, from, iov[i].iov_len);
}

void nvme_vector_gather(const struct iovec *iov, unsigned n, unsigned char *to)
{
	for (unsigned i = 0; i < n; to += iov[i++].iov_len)
		if (iov[i].iov_len)
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
}

bool nvme_vector_guarded(const struct iovec *iov, unsigned n, const unsigned char *mem, size_t room,
			 unsigned char guard)
{
	const unsigned char *at = mem;

	for (unsigned i = 0; i <= n; i++) {
		const unsigned char *end = i < n ? iov[i].iov_base : mem + room;

		for (; at < end; at++)
			if (*at != guard)
				return false;
		if (i < n)
			at += iov[i].iov_len;
	}
	return true;
}
