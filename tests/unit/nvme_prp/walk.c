// SPDX-License-Identifier: BSD-2-Clause
/*
 * Written from the rules of the specification alone, byte by byte, and strict: whatever a
 * controller may refuse is refused, and what it need not look at has to be zero.
 */
#include "walk.h"

static uint64_t get(const unsigned char *at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = bytes; i-- > 0;)
		v = v << 8 | at[i];
	return v;
}

/* @n bytes of list memory at @iova; NULL where there is none. */
static const unsigned char *reach(struct walk *w, uint64_t iova, size_t n)
{
	for (unsigned i = 0; i < w->n_lists; i++) {
		struct walk_list *l = &w->lists[i];
		uint64_t off = iova - l->iova;

		if (iova < l->iova || off >= l->len || n > l->len - off)
			continue;
		if (l->used < off + n)
			l->used = (size_t)off + n;
		return l->bytes + off;
	}
	return NULL;
}

static void begin(struct walk *w)
{
	w->visited = 0;
	w->data = 0;
	for (unsigned i = 0; i < w->n_lists; i++)
		w->lists[i].used = 0;
}

static const char *data(struct walk *w, uint64_t iova, uint64_t len)
{
	w->data++;
	return w->piece(w->ctx, iova, len);
}

static const char *prp_list(struct walk *w, uint64_t list, uint64_t left)
{
	const char *bad = NULL;

	while (left && !bad) {
		size_t slot = (size_t)(list % w->page);
		const unsigned char *at = reach(w, list, 8);
		uint64_t entry, n = left < w->page ? left : w->page;

		if (!at)
			return "a list entry is where no list page is";
		entry = get(at, 8);
		if (entry % w->page)
			return "an entry of a list has an offset";
		if (slot + 8 == w->page && left > w->page) {
			/* More than this one entry could carry: it leads to the next page. */
			w->visited++;
			list = entry;
			continue;
		}
		bad = data(w, entry, n);
		left -= n;
		list += 8;
	}
	return bad;
}

const char *walk_prp(struct walk *w, const unsigned char *dptr, uint64_t len)
{
	uint64_t prp1 = get(dptr, 8), prp2 = get(dptr + 8, 8), n = w->page - prp1 % w->page;
	const char *bad;

	begin(w);
	if (prp1 % 4)
		return "PRP1 has a bad offset";
	if (n > len)
		n = len;
	bad = data(w, prp1, n);
	if (bad)
		return bad;
	len -= n;
	if (!len)
		return prp2 ? "PRP2 is not needed and not 0" : NULL;
	if (len <= w->page)
		return prp2 % w->page ? "PRP2 has an offset" : data(w, prp2, len);
	if (prp2 % w->page)
		return "the first list page has an offset";
	w->visited = 1;
	return prp_list(w, prp2, len);
}

/* One descriptor of data; *left goes down. */
static const char *sgl_data(struct walk *w, const unsigned char *at, uint64_t *left)
{
	uint64_t len = get(at + 8, 4);

	if (at[12] | at[13] | at[14])
		return "a reserved byte of a descriptor is not 0";
	if (at[15] != 0x00)
		return "a descriptor is not of data where only data may be";
	if (!len)
		return "a descriptor is empty";
	if (len > *left)
		return "descriptors are longer than the transfer";
	*left -= len;
	return data(w, get(at, 8), len);
}

const char *walk_sgl(struct walk *w, const unsigned char *dptr, uint64_t len)
{
	const unsigned char *at = dptr;
	const char *bad = NULL;

	begin(w);
	/* at: a descriptor that leads on, or the only one there is. */
	while (at[15] == 0x20 || at[15] == 0x30) {
		bool last = at[15] == 0x30;
		uint64_t where = get(at, 8), bytes = get(at + 8, 4);

		if (at[12] | at[13] | at[14])
			return "a reserved byte of a segment's descriptor is not 0";
		if (!bytes || bytes % 16 || where % 8)
			return "a segment is not whole descriptors at an aligned place";
		at = reach(w, where, (size_t)bytes);
		if (!at)
			return "a segment is where no list page is";
		w->visited++;
		for (; bytes > 16 && !bad; bytes -= 16, at += 16)
			bad = sgl_data(w, at, &len);
		if (bad)
			return bad;
		if (last) {
			bad = sgl_data(w, at, &len);
			return bad ? bad : len ? "the list ends before the transfer" : NULL;
		}
		if (at[15] != 0x20 && at[15] != 0x30)
			return "a segment that is not the last does not lead on";
	}
	bad = sgl_data(w, at, &len);
	return bad ? bad : len ? "one descriptor is not the whole transfer" : NULL;
}
