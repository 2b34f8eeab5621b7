// SPDX-License-Identifier: BSD-2-Clause
/* The calls of dray/iova.h: checking, rounding, messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dray/stats.h>

#include "iova_test.h"

#include "base/err.h"

static void opens_with_defaults(void **state)
{
	struct dray_iova_space *s = NULL;

	(void)state;
	assert_int_equal(dray_iova_space_open(NULL, &s), 0);
	assert_int_equal(dr_iova_window(s).first, 0);
	assert_int_equal(dr_iova_window(s).last, ((uint64_t)1 << 48) - 1);
	assert_int_equal(dray_iova_alloc(s, 1, 0, 0), ((uint64_t)1 << 48) - 4096);
	dray_iova_space_close(s);
	dray_iova_space_close(NULL);
}

static void refuses_bad_options(void **state)
{
	struct dray_iova_opts opts = {.size = sizeof(opts)};
	struct dray_iova_space *s = NULL;
	struct {
		struct dray_iova_opts opts;
		uint64_t more;
	} newer = {.opts = {.size = sizeof(newer)}};

	(void)state;
#define refused(errno_, ...)                                                                       \
	do {                                                                                       \
		opts = (struct dray_iova_opts){.size = sizeof(opts), __VA_ARGS__};                 \
		assert_int_equal(dray_iova_space_open(&opts, &s), -(errno_));                      \
		assert_null(s);                                                                    \
	} while (0)
	refused(EINVAL, .granule = 2048);
	refused(EINVAL, .granule = 4097);
	refused(EINVAL, .granule = 3 * PAGE);
	refused(EINVAL, .first = 2 * PAGE, .last = PAGE);
	refused(EINVAL, .first = PAGE, .last = 2 * PAGE - 2);
	refused(EINVAL, .first = 0, .last = PAGE - 2);
	refused(EINVAL, .first = PAGE + 1, .last = 3 * PAGE - 2);
	refused(EINVAL, .first = UINT64_MAX - 5, .last = UINT64_MAX);
	refused(EINVAL, .granule = MIB(2), .first = PAGE, .last = MIB(2) + PAGE);
#undef refused
	opts = (struct dray_iova_opts){.size = sizeof(opts)};
	assert_int_equal(dray_iova_space_open(&opts, NULL), -EINVAL);
	opts.size = 0;
	assert_int_equal(dray_iova_space_open(&opts, &s), -EINVAL);
	assert_null(s);

	newer.more = 1;
	assert_int_equal(dray_iova_space_open(&newer.opts, &s), -E2BIG);
	assert_null(s);
	newer.more = 0;
	assert_int_equal(dray_iova_space_open(&newer.opts, &s), 0);
	dray_iova_space_close(s);
	opts.size = offsetof(struct dray_iova_opts, first); /* an older caller */
	opts.granule = KIB(16);
	opts.first = opts.last = 77; /* not his any more */
	assert_int_equal(dray_iova_space_open(&opts, &s), 0);
	assert_int_equal(dr_iova_window(s).last, ((uint64_t)1 << 48) - 1);
	assert_int_equal(dray_iova_alloc(s, 1, 0, 0) % KIB(16), 0);
	dray_iova_space_close(s);
}

static void aligns_naturally(void **state)
{
	static const size_t granules[] = {KIB(4), KIB(16), KIB(64), MIB(2)};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		size_t g = granules[i];
		struct dray_iova_space *s = open_space(g, 0, GIB(4) - 1);

		/* An odd one first, so that nothing is aligned by luck. */
		assert_int_equal(dray_iova_alloc(s, g, 0, 0), GIB(4) - g);
		assert_int_equal(dray_iova_alloc(s, 8 * g, 0, 0), GIB(4) - 16 * g);
		assert_int_equal(dray_iova_alloc(s, 3 * g, 0, 0), GIB(4) - 4 * g);
		/* Rounded up to granules, it is a power of two. */
		assert_int_equal(dray_iova_alloc(s, 3 * g + 1, 0, 0), GIB(4) - 8 * g);
		assert_int_equal(dray_iova_alloc(s, 1, 0, 0), GIB(4) - 17 * g);
		/* Asked for. */
		assert_int_equal(dray_iova_alloc(s, g, 4 * g, 0), GIB(4) - 20 * g);
		assert_int_equal(dray_iova_alloc(s, 2 * g, 1, 0), GIB(4) - 19 * g);
		assert_int_equal(dray_iova_alloc(s, g, 64 * g, 0) % (64 * g), 0);
		dray_iova_free(s, GIB(4) - 8 * g, 3 * g + 2); /* the same granules */
		dray_iova_free(s, GIB(4) - 17 * g, g);
		assert_int_equal(counts_of(s).bad_frees, 0);
		assert_int_equal(counts_of(s).live_ranges, 6);
		assert_true(dr_iova_space_is_valid(s));
		dray_iova_space_close(s);
	}
}

static void refuses_bad_requests_in_words(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, PAGE, MIB(1) - 1);
	static struct picture before, after;

	(void)state;
	draw(s, &before);
#define refused(call, text)                                                                        \
	do {                                                                                       \
		dr_fail(1, " ");                                                                   \
		assert_int_equal(call, DRAY_IOVA_NONE);                                            \
		assert_non_null(strstr(dray_errmsg(), text));                                      \
	} while (0)
	refused(dray_iova_alloc(NULL, PAGE, 0, 0), "space is NULL");
	refused(dray_iova_alloc(s, 0, 0, 0), "length 0");
	refused(dray_iova_alloc(s, SIZE_MAX, 0, 0), "overflows");
	refused(dray_iova_alloc(s, SIZE_MAX - PAGE + 2, 0, 0), "overflows");
	refused(dray_iova_alloc(s, PAGE, 3, 0), "power of two");
	refused(dray_iova_alloc(s, PAGE, PAGE + 1, 0), "power of two");
	refused(dray_iova_alloc(s, SIZE_MAX - PAGE + 1, 0, 0), "0xfffff");
	refused(dray_iova_alloc(s, MIB(1), 0, 0), "at or below 0xfffff");
	refused(dray_iova_alloc(s, 2 * PAGE, 0, 0x1fff), "at or below 0x1fff");
	refused(dray_iova_alloc(s, PAGE, 0, 1), "at or below 0x1;");
	refused(dray_iova_alloc(s, PAGE, (size_t)1 << 63, 0), "at or below 0xfffff");
#undef refused
	draw(s, &after);
	assert_same_picture(&before, &after);
	dray_iova_space_close(s);
}

static void frees_what_it_handed_out_and_nothing_else(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, MIB(1) - 1);
	dray_iova_t a = dray_iova_alloc(s, 5000, 0, 0);

	(void)state;
	dray_iova_free(s, a, 4096);
	dray_iova_free(s, a, 8193);
	dray_iova_free(s, a, 0);
	dray_iova_free(s, a, SIZE_MAX);
	dray_iova_free(s, a + 1, 5000);
	dray_iova_free(s, DRAY_IOVA_NONE, 5000);
	assert_int_equal(counts_of(s).bad_frees, 6);
	assert_int_equal(counts_of(s).live_bytes, 8192);
	dray_iova_free(s, a, 5000);
	assert_int_equal(counts_of(s).bad_frees, 6);
	assert_int_equal(counts_of(s).live_bytes, 0);
	dray_iova_free(s, a, 5000);
	assert_int_equal(counts_of(s).bad_frees, 7);
	dray_iova_free(NULL, a, 5000);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void reserves(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, PAGE, MIB(1) - 1);
	dray_iova_t a;

	(void)state;
	assert_int_equal(dray_iova_reserve(NULL, PAGE, 2 * PAGE - 1), -EINVAL);
	assert_int_equal(dray_iova_reserve(s, PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(dray_iova_reserve(s, PAGE + 512, 2 * PAGE - 1), -EINVAL);
	assert_int_equal(dray_iova_reserve(s, 0, PAGE - 1), -ERANGE);
	assert_int_equal(dray_iova_reserve(s, MIB(1) - PAGE, MIB(2) - 1), -ERANGE);
	assert_int_equal(dray_iova_reserve(s, PAGE, KIB(512) - 1), 0);
	a = dray_iova_alloc(s, KIB(512), 0, 0);
	assert_int_equal(a, KIB(512));
	assert_int_equal(dray_iova_alloc(s, 1, 0, 0), DRAY_IOVA_NONE);
	assert_int_equal(dray_iova_reserve(s, a, a + PAGE - 1), -EEXIST);
	dray_iova_free(s, a, KIB(512));
	assert_int_equal(dray_iova_reserve(s, a, a + PAGE - 1), 0);
	assert_int_equal(dray_iova_alloc(s, KIB(508), 0, 0), a + PAGE);
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_with_defaults),
		cmocka_unit_test(refuses_bad_options),
		cmocka_unit_test(aligns_naturally),
		cmocka_unit_test(refuses_bad_requests_in_words),
		cmocka_unit_test(frees_what_it_handed_out_and_nothing_else),
		cmocka_unit_test(reserves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
