// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a part of a list means is told here a second time, from the device's side and without any
 * notion of runs: byte p of the transfer is at address_of(p). A list is right when the walk meets
 * exactly these addresses in this order. PRP can describe a part when a controller that takes page
 * after page, each from where its first byte is to the page's end, meets them.
 */
#include "check.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

#define POISON 0xa5

/* The rest of a transfer: where its next byte is, and how many follow it in that segment. */
struct rest {
	const struct dray_sg *sg;
	size_t off, left;
};

static void skip(struct rest *r, size_t n)
{
	while (n) {
		size_t here = r->sg->dma_len - r->off;

		if (n < here) {
			r->off += n;
			return;
		}
		n -= here;
		r->off = 0;
		r->sg++;
	}
}

/* Segments may overlap, so together they may have more bytes than there are addresses. */
typedef unsigned __int128 sum;

/* The bytes of all segments up to the first bad one; *ret_good: there is none. */
static sum total(const struct check *c, bool *ret_good)
{
	sum bytes = 0;

	*ret_good = false;
	for (unsigned i = 0; i < c->nsegs; i++) {
		uint64_t last = c->sg[i].iova + c->sg[i].dma_len - 1;

		if (!c->sg[i].dma_len || last < c->sg[i].iova)
			return bytes;
		bytes += c->sg[i].dma_len;
	}
	*ret_good = true;
	return bytes;
}

/* Is the part one that anything could describe? */
static bool inside(const struct check *c, sum bytes)
{
	return c->len && (sum)c->off + c->len <= bytes;
}

static void start(struct rest *r, const struct check *c)
{
	*r = (struct rest){.sg = c->sg, .left = c->len};
	skip(r, c->off);
}

/* Take @len bytes that are said to be at @iova. */
static const char *take(void *ctx, uint64_t iova, uint64_t len)
{
	struct rest *r = ctx;

	if (len > r->left)
		return "more bytes are described than there are";
	r->left -= (size_t)len;
	while (len) {
		size_t n = r->sg->dma_len - r->off;

		if (n > len)
			n = (size_t)len;
		if (r->sg->iova + r->off != iova)
			return "a byte is somewhere else than described";
		skip(r, n);
		iova += n;
		len -= n;
	}
	return NULL;
}

/* As the controller would: the pages of the part, or 0 where it cannot be described by pages. */
static uint64_t pages_of(const struct check *c)
{
	uint64_t pages = 0;
	struct rest r;

	start(&r, c);
	while (r.left) {
		uint64_t at = r.sg->iova + r.off, n = c->page - at % c->page;

		if (pages ? at % c->page : at % 4)
			return 0;
		if (n > r.left)
			n = r.left;
		if (take(&r, at, n))
			return 0;
		if (++pages > CHECK_MOST)
			return pages;
	}
	return pages;
}

/* Descriptors: a new one wherever an address does not follow the one before, or 32 bits end. */
static uint64_t descriptors_of(const struct check *c, bool *ret_aligned)
{
	uint64_t n = 0, next = 0, run = 0;
	struct rest r;

	*ret_aligned = true;
	start(&r, c);
	while (r.left) {
		uint64_t at = r.sg->iova + r.off, here = r.sg->dma_len - r.off;

		if (here > r.left)
			here = r.left;
		if (!n || at != next || !next) {
			if (run % c->align || at % c->align)
				*ret_aligned = false;
			run = 0;
			n++;
		}
		/* 2^32 - 4096: the most of one descriptor. */
		n += (run + here - 1) / 0xfffff000u - (run ? (run - 1) / 0xfffff000u : 0);
		run += here;
		next = at + here;
		r.left -= (size_t)here;
		skip(&r, (size_t)here);
	}
	if (run % c->align)
		*ret_aligned = false;
	return n;
}

struct lists {
	unsigned n;
	unsigned char *bytes;
	struct dray_nvme_list *api;
	struct walk_list *walk;
};

static void free_lists(struct lists *l)
{
	free(l->bytes);
	free(l->api);
	free(l->walk);
}

/* @n list pages, poisoned, scattered over IOVAs as @c says; one more that nobody is told of. */
static void make_lists(struct lists *l, const struct check *c, unsigned n)
{
	size_t align = 4096, room;

	/* For SGL a list page may be of any size. */
	while (align < c->page)
		align *= 2;
	room = (c->page + align - 1) / align * align;
	l->n = n;
	l->bytes = aligned_alloc(align, (n + 1) * room);
	l->api = calloc(n + 1, sizeof(*l->api));
	l->walk = calloc(n + 1, sizeof(*l->walk));
	if (!l->bytes || !l->api || !l->walk)
		abort();
	memset(l->bytes, POISON, (n + 1) * room);
	for (unsigned i = 0; i <= n; i++) {
		/* Ascending, descending or mixed, never two at one place. */
		uint64_t place = c->scatter % 3 == 0 ? i : c->scatter % 3 == 1 ? n - i : i ^ 1;

		l->api[i].va = l->bytes + i * room;
		l->api[i].iova = UINT64_C(0x7a0000000000) + place * room;
		l->walk[i] = (struct walk_list){l->api[i].va, l->api[i].iova, c->page, 0};
	}
}

/* Behind what the walk read nothing was written. */
static const char *rest_is_poison(const struct lists *l, const struct check *c)
{
	for (unsigned i = 0; i <= l->n; i++) {
		const unsigned char *bytes = l->walk[i].bytes;

		for (size_t at = l->walk[i].used; at < c->page; at++)
			if (bytes[at] != POISON)
				return "list memory was written that nobody reads";
	}
	return NULL;
}

struct kind {
	int (*count)(const struct check *c, unsigned *ret_lists);
	int (*build)(const struct check *c, const struct dray_nvme_list *lists, unsigned n,
		     unsigned char *ret);
	const char *(*walk)(struct walk *w, const unsigned char *dptr, uint64_t len);
};

static int count_prp(const struct check *c, unsigned *ret_lists)
{
	return dray_prp_count(c->sg, c->nsegs, c->off, c->len, c->page, ret_lists);
}

static int build_prp(const struct check *c, const struct dray_nvme_list *lists, unsigned n,
		     unsigned char *ret)
{
	struct dray_prp prp;
	int rc;

	memcpy(&prp, ret, sizeof(prp));
	rc = dray_prp_build(c->sg, c->nsegs, c->off, c->len, c->page, lists, n, &prp);
	memcpy(ret, &prp, sizeof(prp));
	return rc;
}

static int count_sgl(const struct check *c, unsigned *ret_lists)
{
	return dray_sgl_count(c->sg, c->nsegs, c->off, c->len, c->align, c->page, ret_lists);
}

static int build_sgl(const struct check *c, const struct dray_nvme_list *lists, unsigned n,
		     unsigned char *ret)
{
	struct dray_sgl_desc sgl;
	int rc;

	memcpy(&sgl, ret, sizeof(sgl));
	rc = dray_sgl_build(c->sg, c->nsegs, c->off, c->len, c->align, lists, c->page, n, &sgl);
	memcpy(ret, &sgl, sizeof(sgl));
	return rc;
}

static const struct kind prp_kind = {count_prp, build_prp, walk_prp};
static const struct kind sgl_kind = {count_sgl, build_sgl, walk_sgl};

static bool untouched(const unsigned char *dptr)
{
	for (unsigned i = 0; i < 16; i++)
		if (dptr[i] != POISON)
			return false;
	return true;
}

/* @n list pages are too few, or the part is none: refused with @err and nothing written. */
static const char *refused(const struct check *c, const struct kind *k, struct lists *l, unsigned n,
			   int err)
{
	unsigned char dptr[16];

	memset(dptr, POISON, sizeof(dptr));
	for (unsigned i = 0; i <= l->n; i++)
		l->walk[i].used = 0;
	if (k->build(c, l->api, n, dptr) != -err)
		return "a build that cannot be was not refused, or otherwise";
	if (!untouched(dptr))
		return "a refused build wrote the data pointer";
	return rest_is_poison(l, c);
}

/* It can be described in @want entries or descriptors. */
static const char *described(struct check *c, const struct kind *k, uint64_t want)
{
	unsigned lists = 12345;
	unsigned char dptr[16];
	const char *bad = NULL;
	struct lists l;
	struct rest rest;
	struct walk w;
	int n = k->count(c, &lists);

	if (want > INT_MAX)
		return n == -EMSGSIZE ? NULL : "more was counted than can be";
	if (n < 0 || (uint64_t)n != want)
		return "the count is another one";
	if (want > CHECK_MOST)
		return NULL;
	make_lists(&l, c, lists);
	if (lists)
		bad = refused(c, k, &l, lists - 1, EMSGSIZE);
	memset(dptr, POISON, sizeof(dptr));
	if (!bad && k->build(c, l.api, lists, dptr) != (int)lists)
		bad = "the build was refused, or took another number of list pages";
	start(&rest, c);
	w = (struct walk){.page = c->page, .lists = l.walk, .n_lists = lists, .piece = take,
			  .ctx = &rest};
	if (!bad)
		bad = k->walk(&w, dptr, c->len);
	if (!bad && rest.left)
		bad = "fewer bytes are described than there are";
	if (!bad && (w.visited != lists || w.data != want))
		bad = "the walk met another number of list pages or entries than counted";
	if (!bad)
		bad = rest_is_poison(&l, c);
	free_lists(&l);
	c->described = !bad;
	c->lists = lists;
	return bad;
}

static const char *impossible(const struct check *c, const struct kind *k)
{
	unsigned lists = 12345;
	const char *bad = NULL;
	struct lists l;

	make_lists(&l, c, 2);
	if (k->count(c, &lists) != -EINVAL || lists != 12345)
		bad = "what cannot be described was counted";
	if (!bad)
		bad = refused(c, k, &l, 2, EINVAL);
	free_lists(&l);
	return bad;
}

const char *check_prp(struct check *c)
{
	struct check whole = *c;
	bool good;
	sum bytes = total(c, &good);
	uint64_t pages;

	c->described = false;
	whole.off = 0;
	whole.len = (size_t)bytes;
	/* Of more bytes than one transfer can have, and behind CHECK_MOST pages, nothing is known. */
	if (bytes <= SIZE_MAX) {
		pages = good && bytes ? pages_of(&whole) : 0;
		if (pages <= CHECK_MOST && dray_prp_able(c->sg, c->nsegs, c->page) != (pages > 0))
			return "dray_prp_able() is wrong about the whole";
	}
	/* A part may end before a bad segment. */
	pages = inside(c, bytes) ? pages_of(c) : 0;
	if (pages > CHECK_MOST)
		return NULL;
	return pages ? described(c, &prp_kind, pages) : impossible(c, &prp_kind);
}

const char *check_sgl(struct check *c)
{
	bool good, aligned = false;
	sum bytes = total(c, &good);
	uint64_t descs = 0;

	c->described = false;
	if (inside(c, bytes))
		descs = descriptors_of(c, &aligned);
	return aligned ? described(c, &sgl_kind, descs) : impossible(c, &sgl_kind);
}
