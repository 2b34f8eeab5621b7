// SPDX-License-Identifier: BSD-2-Clause
/* Where in a gap a request goes: against counting on fingers, exhaustively for small numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "iova_test.h"

#include "iova/fit.h"

/* Addresses of the small world: granule 1, a few periods of the largest alignment or boundary. */
#define WORLD 96u

static bool is_position(const struct dr_iova_request *req, uint64_t iova)
{
	uint64_t period = req->boundary_mask + 1;

	if (iova % req->align != req->phase)
		return false;
	return !req->boundary_mask || iova / period == (iova + req->len - 1) / period;
}

/* The highest position in [first, last], by looking at every address. */
static bool slow_place(const struct dr_iova_request *req, unsigned first, unsigned last,
		       uint64_t *ret_iova)
{
	for (unsigned end = last + 1; end >= first + req->len; end--) {
		if (is_position(req, end - req->len)) {
			*ret_iova = end - req->len;
			return true;
		}
	}
	return false;
}

static void check_gap(const struct dr_fit *fit, const struct dr_iova_request *req, unsigned first,
		      unsigned last)
{
	uint64_t want = 0, got = 0;
	bool fits = slow_place(req, first, last, &want);

	assert_int_equal(dr_fit_place(fit, first, last, &got), fits);
	assert_int_equal(got, want);
}

/* Every gap of fit->sure takes it, some gap of one granule less does not. */
static void check_sure(const struct dr_fit *fit, const struct dr_iova_request *req)
{
	uint64_t iova;
	bool smaller_always = true;

	for (unsigned first = 0; first < 32; first++) {
		assert_true(slow_place(req, first, first + (unsigned)fit->sure - 1, &iova));
		if (fit->sure > 1)
			smaller_always &=
				slow_place(req, first, first + (unsigned)fit->sure - 2, &iova);
		else
			smaller_always = false;
	}
	assert_false(smaller_always);
}

static void check_request(const struct dr_iova_request *req)
{
	struct dr_fit fit;
	uint64_t iova;
	bool any = slow_place(req, 0, WORLD - 1, &iova);

	assert_int_equal(dr_fit_init(&fit, req, 1), any ? 0 : -EINVAL);
	if (!any)
		return;
	check_sure(&fit, req);
	for (unsigned first = 0; first < 40; first++)
		for (unsigned last = first; last < 72; last++)
			check_gap(&fit, req, first, last);
}

static void places_as_counted_on_fingers(void **state)
{
	(void)state;
	for (unsigned boundary = 1; boundary <= 32; boundary *= 2)
		for (unsigned align = 1; align <= 32; align *= 2)
			for (unsigned phase = 0; phase < align; phase += align / 8 + 1)
				for (unsigned len = 1; len <= 20; len++) {
					/* boundary 1 stands for none: its mask is 0. */
					const struct dr_iova_request req = {
						.len = len,
						.align = align,
						.phase = phase,
						.boundary_mask = boundary - 1,
					};

					check_request(&req);
				}
}

static void refuses_malformed(void **state)
{
	const struct dr_iova_request good = {
		.len = 3 * PAGE,
		.align = 4 * PAGE,
		.phase = PAGE,
		.boundary_mask = 16 * PAGE - 1,
	};
	struct dr_iova_request req;
	struct dr_fit fit;

	(void)state;
	assert_int_equal(dr_fit_init(&fit, &good, PAGE), 0);
#define refused(field, value)                                                                      \
	do {                                                                                       \
		req = good;                                                                        \
		req.field = (value);                                                               \
		assert_int_equal(dr_fit_init(&fit, &req, PAGE), -EINVAL);                          \
	} while (0)
	refused(len, 0);
	refused(len, PAGE + 1);
	refused(len, PAGE / 2);
	refused(align, 0);
	refused(align, 3 * PAGE);
	refused(align, PAGE / 2);
	refused(phase, 4 * PAGE);
	refused(phase, 1);
	refused(boundary_mask, 16 * PAGE);
	refused(boundary_mask, 2 * PAGE - 1); /* shorter than the range */
	refused(boundary_mask, 511);          /* shorter than a granule */
	refused(len, 16 * PAGE);              /* as long as the period, but phase moves it */
	refused(len, 17 * PAGE);
#undef refused
}

static void reaches_both_ends_of_64_bits(void **state)
{
	struct dr_iova_request req = {.len = PAGE, .align = PAGE};
	struct dr_fit fit;
	uint64_t iova;

	(void)state;
	assert_int_equal(dr_fit_init(&fit, &req, PAGE), 0);
	assert_int_equal(fit.sure, PAGE);
	assert_true(dr_fit_place(&fit, PAGE, UINT64_MAX, &iova));
	assert_int_equal(iova, UINT64_MAX - PAGE + 1);
	assert_true(dr_fit_place(&fit, UINT64_MAX - PAGE + 1, UINT64_MAX, &iova));
	assert_false(dr_fit_place(&fit, UINT64_MAX - PAGE + 2, UINT64_MAX, &iova));
	assert_false(dr_fit_place(&fit, 2 * PAGE, PAGE, &iova));

	/* All there is but the granule at 0. */
	req.len = (size_t)-PAGE;
	assert_int_equal(dr_fit_init(&fit, &req, PAGE), 0);
	assert_true(dr_fit_place(&fit, PAGE, UINT64_MAX, &iova));
	assert_int_equal(iova, PAGE);
	assert_false(dr_fit_place(&fit, 2 * PAGE, UINT64_MAX, &iova));

	/* No gap is ever sure to hold it at such an alignment: saturated. */
	req.align = (size_t)1 << 63;
	assert_int_equal(dr_fit_init(&fit, &req, PAGE), 0);
	assert_int_equal(fit.sure, UINT64_MAX);
	assert_false(dr_fit_place(&fit, PAGE, UINT64_MAX, &iova));
	req.len = (size_t)1 << 63;
	assert_int_equal(dr_fit_init(&fit, &req, PAGE), 0);
	assert_true(dr_fit_place(&fit, PAGE, UINT64_MAX, &iova));
	assert_int_equal(iova, (uint64_t)1 << 63);
	req.phase = PAGE;
	assert_int_equal(dr_fit_init(&fit, &req, PAGE), 0);
	assert_true(dr_fit_place(&fit, PAGE, UINT64_MAX, &iova));
	assert_int_equal(iova, PAGE);

	/* A mask of all ones is crossed by nothing. */
	req = (struct dr_iova_request){.len = GIB(8), .align = PAGE, .boundary_mask = UINT64_MAX};
	assert_int_equal(dr_fit_init(&fit, &req, PAGE), 0);
	assert_int_equal(fit.sure, GIB(8));
	assert_true(dr_fit_place(&fit, PAGE, UINT64_MAX, &iova));
	assert_int_equal(iova, UINT64_MAX - GIB(8) + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_as_counted_on_fingers),
		cmocka_unit_test(refuses_malformed),
		cmocka_unit_test(reaches_both_ends_of_64_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
