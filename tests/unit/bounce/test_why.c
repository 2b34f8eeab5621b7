// SPDX-License-Identifier: BSD-2-Clause
/* The reasons for a copy, as a table. */
#include "rig.h"

#include "bounce/why.h"

#define TO   DRAY_TO_DEVICE
#define FROM DRAY_FROM_DEVICE
#define BIDI DRAY_BIDIRECTIONAL

struct row {
	struct dr_bounce_facts facts;
	uintptr_t va;
	size_t len;
	enum dray_dir dir;
	enum dr_bounce_why why;
};

static const struct row rows[] = {
	/* Nothing is known against it. */
	{ { 0 }, 0x12345, 77, BIDI, DR_BOUNCE_NO },
	{ { .trusted = true, .granule = 4096 }, 0x12345, 77, BIDI, DR_BOUNCE_NO },
	/* Out of reach, whatever else. */
	{ { .unreachable = true }, 0x1000, 4096, TO, DR_BOUNCE_MASK },
	{ { .unreachable = true, .min_align = 8, .unpinnable = true }, 3, 1, TO, DR_BOUNCE_MASK },
	/* Alignment is that of the beginning alone. */
	{ { .min_align = 512 }, 0x1200, 7, BIDI, DR_BOUNCE_NO },
	{ { .min_align = 512 }, 0x1201, 512, BIDI, DR_BOUNCE_ALIGN },
	{ { .min_align = 8192 }, 0x1000, 8192, BIDI, DR_BOUNCE_ALIGN },
	{ { .min_align = 1 }, 0x1235, 1, BIDI, DR_BOUNCE_NO },
	/* Whole granules are safe to show. */
	{ { .granule = 4096 }, 0x1000, 8192, FROM, DR_BOUNCE_NO },
	{ { .granule = 4096 }, 0x1000, 8191, FROM, DR_BOUNCE_EDGE },
	{ { .granule = 4096 }, 0x1001, 4095, TO, DR_BOUNCE_EDGE },
	{ { .granule = 65536 }, 0x11000, 65536, TO, DR_BOUNCE_EDGE },
	{ { .granule = 4096, .trusted = true }, 0x1001, 4095, TO, DR_BOUNCE_NO },
	/* Lines count where the device writes, at any size of line. */
	{ { .trusted = true, .line = 64 }, 0x1040, 64, BIDI, DR_BOUNCE_NO },
	{ { .trusted = true, .line = 64 }, 0x1040, 65, FROM, DR_BOUNCE_LINE },
	{ { .trusted = true, .line = 64 }, 0x1041, 63, BIDI, DR_BOUNCE_LINE },
	{ { .trusted = true, .line = 64 }, 0x1041, 63, TO, DR_BOUNCE_NO },
	{ { .trusted = true, .line = 128 }, 0x1040, 128, FROM, DR_BOUNCE_LINE },
	{ { .trusted = true, .line = 256 }, 0x1100, 256, FROM, DR_BOUNCE_NO },
	{ { .granule = 4096, .line = 64 }, 0x1041, 63, FROM, DR_BOUNCE_EDGE },
	/* Cannot be pinned. */
	{ { .trusted = true, .unpinnable = true }, 0x1000, 1, TO, DR_BOUNCE_PIN },
	{ { .trusted = true, .unpinnable = true, .threshold = 10 }, 0x1000, 1, TO, DR_BOUNCE_PIN },
	/* Cheaper, up to and with the threshold. */
	{ { .trusted = true, .threshold = 4096 }, 0x1000, 4096, TO, DR_BOUNCE_CHEAPER },
	{ { .trusted = true, .threshold = 4096 }, 0x1000, 4097, TO, DR_BOUNCE_NO },
	{ { .trusted = true, .threshold = 4096, .min_align = 16 }, 0x1008, 1, TO, DR_BOUNCE_ALIGN },
};

static void test_why(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		enum dr_bounce_why why =
			dr_bounce_why(&r->facts, (void *)r->va, r->len, r->dir);

		if (why != r->why)
			fail_msg("row %u: %s, not %s", i, dr_bounce_why_name(why),
				 dr_bounce_why_name(r->why));
	}
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DR_BOUNCE_WHYS; i++) {
		const char *name = dr_bounce_why_name((enum dr_bounce_why)i);

		assert_non_null(name);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(name, dr_bounce_why_name((enum dr_bounce_why)k));
	}
	assert_string_equal(dr_bounce_why_name(DR_BOUNCE_WHYS), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_why),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
