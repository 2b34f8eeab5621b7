// SPDX-License-Identifier: BSD-2-Clause
/* What a device is told of a list: exact cases, and random lists against a slow way to do it. */
#include "../domain/rig.h"

#include "map/segments.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST 48u

/* An element of a case: where its bytes are, and how many. */
struct range {
	dray_iova_t iova;
	size_t len;
};

struct example {
	const char *name;
	size_t max_segment;
	uint64_t boundary_mask;
	size_t min_align;
	struct range in[5], out[6]; /* length 0 ends them */
};

static const struct example examples[] = {
	{ "one element", 0, 0, 0, { { 0x1000, 1 } }, { { 0x1000, 1 } } },
	{ "two that meet", 0, 0, 0, { { 0x1800, 0x800 }, { 0x2000, 0x300 } },
	  { { 0x1800, 0xb00 } } },
	{ "a gap of one byte", 0, 0, 0, { { 0x1800, 0x7ff }, { 0x2000, 0x300 } },
	  { { 0x1800, 0x7ff }, { 0x2000, 0x300 } } },
	{ "an overlap of one byte", 0, 0, 0, { { 0x1800, 0x801 }, { 0x2000, 0x300 } },
	  { { 0x1800, 0x801 }, { 0x2000, 0x300 } } },
	{ "the other way round", 0, 0, 0, { { 0x2000, 0x1000 }, { 0x1000, 0x1000 } },
	  { { 0x2000, 0x1000 }, { 0x1000, 0x1000 } } },
	{ "the same twice", 0, 0, 0, { { 0x2000, 0x1000 }, { 0x2000, 0x1000 } },
	  { { 0x2000, 0x1000 }, { 0x2000, 0x1000 } } },
	{ "exactly the longest", 0x2000, 0, 0, { { 0x1000, 0x1000 }, { 0x2000, 0x1000 } },
	  { { 0x1000, 0x2000 } } },
	{ "one byte over the longest", 0x1fff, 0, 0, { { 0x1000, 0x1000 }, { 0x2000, 0x1000 } },
	  { { 0x1000, 0x1000 }, { 0x2000, 0x1000 } } },
	{ "three, of which two fit", 0x2000, 0, 0,
	  { { 0x1000, 0x1000 }, { 0x2000, 0x1000 }, { 0x3000, 0x1000 } },
	  { { 0x1000, 0x2000 }, { 0x3000, 0x1000 } } },
	{ "whole elements, though a cut would fill up", 0x1800, 0, 0,
	  { { 0x1000, 0x1000 }, { 0x2000, 0x1000 }, { 0x3000, 0x1000 } },
	  { { 0x1000, 0x1000 }, { 0x2000, 0x1000 }, { 0x3000, 0x1000 } } },
	{ "one that is too long", 0x1000, 0, 0, { { 0x1000, 0x2800 } },
	  { { 0x1000, 0x1000 }, { 0x2000, 0x1000 }, { 0x3000, 0x800 } } },
	{ "what is left of it is joined", 0x1000, 0, 0, { { 0x1000, 0x1800 }, { 0x2800, 0x800 } },
	  { { 0x1000, 0x1000 }, { 0x2000, 0x1000 } } },
	{ "what comes before it is not", 0x1000, 0, 0, { { 0x1000, 0x800 }, { 0x1800, 0x1800 } },
	  { { 0x1000, 0x800 }, { 0x1800, 0x1000 }, { 0x2800, 0x800 } } },
	{ "a boundary where they meet", 0, 0xffff, 0, { { 0xf000, 0x1000 }, { 0x10000, 0x1000 } },
	  { { 0xf000, 0x1000 }, { 0x10000, 0x1000 } } },
	{ "a boundary behind both", 0, 0xffff, 0, { { 0xe000, 0x1000 }, { 0xf000, 0x1000 } },
	  { { 0xe000, 0x2000 } } },
	{ "a boundary inside", 0, 0xffff, 0, { { 0xf800, 0x1000 } },
	  { { 0xf800, 0x800 }, { 0x10000, 0x800 } } },
	{ "a boundary of bytes", 0, 0x3f, 0, { { 0x1020, 0x60 }, { 0x1080, 0x40 } },
	  { { 0x1020, 0x20 }, { 0x1040, 0x40 }, { 0x1080, 0x40 } } },
	{ "both limits", 0x1000, 0x1fff, 0, { { 0x1800, 0x1800 } },
	  { { 0x1800, 0x800 }, { 0x2000, 0x1000 } } },
	{ "one byte at a time", 1, 0, 0, { { 0x1000, 2 }, { 0x1002, 1 } },
	  { { 0x1000, 1 }, { 0x1001, 1 }, { 0x1002, 1 } } },
	{ "no boundary but the last one", 0, UINT64_MAX, 0, { { 0x1000, 8 }, { 0x1008, 8 } },
	  { { 0x1000, 16 } } },
	{ "at the end of what tables hold", 0, 0xffff, 0,
	  { { 0xffffffffe000, 0x1000 }, { 0xfffffffff000, 0x1000 } },
	  { { 0xffffffffe000, 0x2000 } } },
	{ "pieces begin at the alignment", 0x1900, 0, 512, { { 0x1000, 0x4000 } },
	  { { 0x1000, 0x1800 }, { 0x2800, 0x1800 }, { 0x4000, 0x1000 } } },
	{ "pieces shorter than the alignment", 100, 0, 512, { { 0x1000, 150 } },
	  { { 0x1000, 100 }, { 0x1064, 50 } } },
};

static void fill(struct dray_sg *sg, const struct range *in, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sg[i] = (struct dray_sg){
			.va = &sg[i], .len = in[i].len, .iova = 77, .dma_len = 78,
			/* Element 0 has its domain there, and is told apart. */
			.cookie = { i ? in[i].iova : 79, 80 },
		};
}

static void test_examples(void **state)
{
	(void)state;
	for (size_t e = 0; e < sizeof(examples) / sizeof(examples[0]); e++) {
		const struct example *x = &examples[e];
		struct dray_device dev = {
			.max_segment = x->max_segment, .boundary_mask = x->boundary_mask,
			.min_align = x->min_align,
		};
		struct dray_sg sg[5], out[8] = { 0 };
		unsigned n = 0, wanted = 0, got;

		while (n < 5 && x->in[n].len)
			n++;
		while (wanted < 6 && x->out[wanted].len)
			wanted++;
		fill(sg, x->in, n);
		got = dr_segments(&dev, sg, n, x->in[0].iova, NULL);
		if (got != wanted)
			print_error("%s: %u segments\n", x->name, got);
		assert_int_equal(got, wanted);
		assert_int_equal(dr_segments(&dev, sg, n, x->in[0].iova, out), wanted);
		for (unsigned i = 0; i < wanted; i++) {
			assert_int_equal(out[i].iova, x->out[i].iova);
			assert_int_equal(out[i].dma_len, x->out[i].len);
		}
		/* Nothing but what was counted is written, and of the list nothing at all. */
		assert_int_equal(out[wanted].dma_len, 0);
		for (unsigned i = 0; i < n; i++)
			assert_true(sg[i].iova == 77 && sg[i].dma_len == 78 &&
				    sg[i].len == x->in[i].len && sg[i].cookie[1] == 80);
	}
}

/* --- Random lists ----------------------------------------------------------------------------- */

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	/* xorshift64* */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (seed * UINT64_C(2685821657736338717) >> 11) % n;
}

static bool fits(const struct dray_device *dev, dray_iova_t iova, uint64_t len)
{
	return (!dev->max_segment || len <= dev->max_segment) &&
	       (!dev->boundary_mask ||
		(iova & ~dev->boundary_mask) == ((iova + len - 1) & ~dev->boundary_mask));
}

/* What may be put together: whole elements, and pieces of one that does not fit by itself. */
struct unit {
	struct range r;
	bool joins; /* may be put behind others: no piece of a cut element */
};

static unsigned cut_units(const struct dray_device *dev, const struct range *in, unsigned n,
			  struct unit *units)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++) {
		struct range left = in[i];
		bool whole = fits(dev, left.iova, left.len);

		while (left.len) {
			size_t len = left.len;

			/* Slowly: a byte less until it fits. */
			while (!fits(dev, left.iova, len))
				len--;
			units[k++] = (struct unit){ { left.iova, len }, whole };
			left.iova += len;
			left.len -= len;
		}
	}
	return k;
}

/* The fewest segments there can be: for every end the best of every beginning. */
static unsigned fewest(const struct dray_device *dev, const struct unit *u, unsigned n)
{
	static unsigned best[MOST * 600];

	best[0] = 0;
	for (unsigned end = 1; end <= n; end++) {
		uint64_t len = 0;

		best[end] = UINT32_MAX;
		for (unsigned i = end; i--;) {
			len += u[i].r.len;
			if (!fits(dev, u[i].r.iova, len))
				break;
			if (best[i] + 1 < best[end])
				best[end] = best[i] + 1;
			if (!u[i].joins || !i || u[i - 1].r.iova + u[i - 1].r.len != u[i].r.iova)
				break;
		}
	}
	return best[n];
}

/* The segments' bytes are the elements' bytes, in order. */
static void assert_same_bytes(const struct range *in, unsigned n, const struct dray_sg *out,
			      unsigned n_out)
{
	unsigned k = 0;
	size_t used = 0;

	for (unsigned i = 0; i < n; i++)
		for (size_t done = 0; done < in[i].len;) {
			size_t now = in[i].len - done;

			assert_true(k < n_out);
			assert_int_equal(out[k].iova + used, in[i].iova + done);
			if (now > out[k].dma_len - used)
				now = out[k].dma_len - used;
			assert_true(now > 0);
			done += now;
			used += now;
			if (used == out[k].dma_len) {
				k++;
				used = 0;
			}
		}
	assert_int_equal(k, n_out);
	assert_int_equal(used, 0);
}

static void random_case(void)
{
	static struct unit units[MOST * 600];
	static struct dray_sg out[MOST * 600];
	struct dray_device dev = { .max_segment = 0 };
	unsigned n = 1 + (unsigned)below(MOST), n_out;
	struct range in[MOST];
	struct dray_sg sg[MOST];
	dray_iova_t at = below(1 << 20);
	size_t longest = (size_t)2 << below(11);
	bool each_fits = true;

	if (below(3))
		dev.boundary_mask = (UINT64_C(8) << below(14)) - 1;
	if (below(3))
		dev.max_segment = 4 + below(5000);
	for (unsigned i = 0; i < n; i++) {
		if (!below(4))
			at += below(64);
		if (!below(16))
			at = below(1 << 20);
		in[i] = (struct range){ at, 1 + below(longest) };
		if (!below(4)) /* up to where things meet */
			in[i].len = 64 - (at & 63);
		at += in[i].len;
		each_fits = each_fits && fits(&dev, in[i].iova, in[i].len);
	}
	fill(sg, in, n);
	n_out = dr_segments(&dev, sg, n, in[0].iova, NULL);
	assert_int_equal(dr_segments(&dev, sg, n, in[0].iova, out), n_out);
	assert_same_bytes(in, n, out, n_out);
	for (unsigned i = 0; i < n_out; i++)
		assert_true(fits(&dev, out[i].iova, out[i].dma_len));
	if (each_fits)
		assert_true(n_out <= n);
	assert_int_equal(n_out, fewest(&dev, units, cut_units(&dev, in, n, units)));
	if (n_out > n)
		return;
	/* In place it is the same. */
	assert_int_equal(dr_segments(&dev, sg, n, in[0].iova, sg), n_out);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(sg[i].iova, i < n_out ? out[i].iova : 77);
		assert_int_equal(sg[i].dma_len, i < n_out ? out[i].dma_len : 78);
		assert_int_equal(sg[i].cookie[0], i ? in[i].iova : 79);
		assert_int_equal(sg[i].len, in[i].len);
	}
}

static void test_random(void **state)
{
	const char *given = getenv("DRAY_SEED");
	uint64_t first = given ? strtoull(given, NULL, 0) : 0x5e61;

	(void)state;
	print_message("DRAY_SEED=0x%llx\n", (unsigned long long)first);
	seed = first;
	for (int i = 0; i < 20000; i++)
		random_case();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
