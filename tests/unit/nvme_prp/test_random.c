// SPDX-License-Identifier: BSD-2-Clause
/*
 * Random lists and random parts of them, long enough for chains of list pages.
 * Counts and seeds: DRAY_OPS and DRAY_SEED. The seed is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>

#include <cmocka.h>

#include "check.h"

#define SEGS 1200u

static uint64_t seed = 0x5eed, ops = 3000;
static struct dray_sg sg[SEGS];

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t below(uint64_t n)
{
	return next() % n;
}

/*
 * @n segments as a mapped list may have them: whole pages in the middle, cut anywhere where they
 * adjoin. One list in @spoil has a place where pages do not fit.
 */
static size_t make(unsigned n, size_t page, unsigned spoil)
{
	unsigned bad = below(spoil) ? n : (unsigned)below(n);
	size_t total = 0;
	uint64_t end = 0;

	for (unsigned i = 0; i < n; i++) {
		bool adjoin = i && below(3) == 0;
		uint64_t at = adjoin ? end : page * (1 + below(UINT64_C(1) << 30));
		size_t len = page * (1 + below(below(8) ? 3 : 40));

		if (!i) {
			at += 4 * below(page / 4);
		} else if (adjoin && below(2)) {
			/* Cut the one before somewhere: this one begins there. */
			size_t cut = below(sg[i - 1].dma_len);

			sg[i - 1].dma_len -= cut;
			total -= cut;
			at -= cut;
			len += cut;
		}
		if (i == bad)
			at += 1 + below(page - 1);
		len -= i + 1 == n ? below(page) : (at + len) & (page - 1);
		if (!len)
			len = page - (at & (page - 1));
		sg[i] = (struct dray_sg){.iova = at, .dma_len = len};
		total += len;
		end = at + len;
	}
	return total;
}

static void run(const char *(*check)(struct check *), bool prp)
{
	uint64_t described = 0, chained = 0, refused = 0;

	print_message("seed %llu, %llu lists\n", (unsigned long long)seed, (unsigned long long)ops);
	for (uint64_t i = 0; i < ops; i++) {
		uint64_t before = seed;
		size_t page = prp ? (size_t)4096 << below(3) : 16 * (2 + below(255));
		unsigned n = 1 + (unsigned)below(below(8) ? 40 : SEGS);
		size_t total = make(n, prp ? page : 4096, 4);
		struct check c = {.sg = sg, .nsegs = n, .len = total, .page = page,
				  .align = below(2) ? 1 : 4, .scatter = (unsigned)below(3)};
		const char *bad;

		if (below(2)) {
			c.off = below(total);
			c.off -= below(4) ? c.off % 4 : 0;
			c.len = 1 + below(total - c.off);
		}
		bad = check(&c);
		if (bad)
			fail_msg("list %llu (seed %llu): %u segments, %zu bytes from %zu of %zu, "
				 "pages of %zu: %s",
				 (unsigned long long)i, (unsigned long long)before, n, c.len, c.off,
				 total, page, bad);
		described += c.described;
		chained += c.described && c.lists > 1;
		refused += !c.described;
	}
	print_message("%llu described, %llu of them chained, %llu refused\n",
		      (unsigned long long)described, (unsigned long long)chained,
		      (unsigned long long)refused);
	/* Of each enough, or the lists are not what they are meant to be. */
	assert_true(ops < 1000 || (described > ops / 4 && chained > ops / 50 && refused > ops / 50));
}

static void random_prp(void **state)
{
	(void)state;
	run(check_prp, true);
}

static void random_sgl(void **state)
{
	(void)state;
	run(check_sgl, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_prp),
		cmocka_unit_test(random_sgl),
	};

	if (getenv("DRAY_SEED"))
		seed = strtoull(getenv("DRAY_SEED"), NULL, 0);
	if (getenv("DRAY_OPS"))
		ops = strtoull(getenv("DRAY_OPS"), NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
