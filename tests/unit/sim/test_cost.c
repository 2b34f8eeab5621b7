// SPDX-License-Identifier: BSD-2-Clause
/* What the modelled hardware costs, by a clock that moves only when it is looked at. */
#include "rig.h"

#define IOVA (UINT64_C(5) << 30)
#define STEP 10u

static struct space s;
static struct dr_backend_device *dev;
static char *mem;
#define MEM (8 * KB4)
static bool held_always, held_ever;

static int setup(void **state)
{
	rig_setup(state);
	s = space_open(DRAY_DOMAIN_PAGING);
	dev = device_open(&s, "sim0");
	mem = memory(MEM, KB4);
	rig_clock_step = STEP;
	return 0;
}

static int teardown(void **state)
{
	rig_clock_look = NULL;
	device_close(dev);
	space_close(&s);
	memory_free(mem, MEM);
	return rig_teardown(state);
}

static void look(void)
{
	bool held = dr_sim_queue_is_held();

	held_always &= held;
	held_ever |= held;
}

/* Run @act and tell how long it took; at most two looks more than the cost. */
#define TOOK(act)                              \
	({                                     \
		uint64_t t0 = rig_clock;       \
		held_always = true;            \
		held_ever = false;             \
		rig_clock_look = look;         \
		act;                           \
		rig_clock_look = NULL;         \
		rig_clock - t0;                \
	})

static void nothing_costs_at_open(void **state)
{
	(void)state;
	rig_clock_looks = 0;
	space_map(&s, IOVA, mem, MEM, RW);
	space_unmap(&s, IOVA, MEM);
	assert_int_equal(rig_clock_looks, 0);
}

static void pins_cost_by_the_page_and_outside_locks(void **state)
{
	uint64_t ns;

	(void)state;
	dr_sim_set_cost(s.be, 0, 700, DRAY_SIM_NOCHECK);
	ns = TOOK(space_map(&s, IOVA, mem, 8 * KB4, RW));
	assert_in_range(ns, 5600, 5600 + 2 * STEP);
	assert_false(held_ever);
	ns = TOOK(space_unmap(&s, IOVA, 8 * KB4));
	assert_int_equal(ns, 0);
	ns = TOOK(space_map(&s, IOVA, mem, KB4, RW));
	assert_in_range(ns, 700, 700 + 2 * STEP);
	/* What is refused costs nothing. */
	ns = TOOK(s.be->ops->map(s.be, IOVA + 1, mem, KB4, RW));
	assert_int_equal(ns, 0);
}

static void invalidations_cost_by_the_piece_and_under_the_lock(void **state)
{
	uint64_t ns;
	size_t gone;

	(void)state;
	dr_sim_set_cost(s.be, 1060, 0, 0);
	ns = TOOK(space_map(&s, IOVA, mem, 8 * KB4, RW));
	assert_int_equal(ns, 0);
	ns = TOOK(s.be->ops->unmap(s.be, IOVA, 8 * KB4, &gone));
	assert_int_equal(ns, 0);
	/* However long the range. */
	ns = TOOK(s.be->ops->invalidate(s.be, IOVA, IOVA + 8 * KB4 - 1));
	assert_in_range(ns, 1060, 1060 + 2 * STEP);
	assert_true(held_always);
	ns = TOOK(s.be->ops->invalidate(s.be, 0, UINT64_MAX));
	assert_in_range(ns, 1060, 1060 + 2 * STEP);
	ns = TOOK(dr_sim_invalidate_all(s.be));
	assert_in_range(ns, 1060, 1060 + 2 * STEP);
	assert_true(held_always);
	assert_false(dr_sim_queue_is_held());
}

static void leaving_costs_an_invalidation(void **state)
{
	struct space to = space_open(DRAY_DOMAIN_PAGING);
	uint64_t ns;

	(void)state;
	dr_sim_set_cost(s.be, 1060, 0, 0);
	ns = TOOK(s.be->ops->switch_to(dev, to.be));
	assert_in_range(ns, 1060, 1060 + 2 * STEP);
	/* The space it is in now has no cost of its own; the one it left has no devices. */
	ns = TOOK(to.be->ops->invalidate(to.be, 0, UINT64_MAX));
	assert_int_equal(ns, 0);
	ns = TOOK(s.be->ops->invalidate(s.be, 0, UINT64_MAX));
	assert_int_equal(ns, 0);
	ns = TOOK(s.be->ops->switch_to(dev, s.be));
	assert_int_equal(ns, 0);
	space_close(&to);
}

/* Map and unmap one page so often: how long that took, of which only pins cost anything. */
static uint64_t pins(unsigned n)
{
	uint64_t t0 = rig_clock;

	while (n--) {
		space_map(&s, IOVA, mem, KB4, RW);
		space_unmap(&s, IOVA, KB4);
	}
	return rig_clock - t0;
}

static void what_is_spun_too_long_is_paid_back(void **state)
{
	(void)state;
	/* No multiple of it is any of the costs; the last is less than a look. */
	rig_clock_step = 16;
	dr_sim_set_cost(s.be, 0, 70, DRAY_SIM_NOCHECK);
	assert_in_range(pins(1), 70, 70 + 16);
	assert_in_range(pins(99), 99 * 70 - 16, 99 * 70 + 16);
	dr_sim_set_cost(s.be, 0, 1001, DRAY_SIM_NOCHECK);
	assert_in_range(pins(100), 100 * 1001, 100 * 1001 + 16);
	dr_sim_set_cost(s.be, 0, 5, DRAY_SIM_NOCHECK);
	assert_in_range(pins(100), 100 * 5, 100 * 5 + 2 * 16);
}

static void lose_the_processor(void)
{
	rig_clock += 1000000;
	rig_clock_look = NULL;
}

static void a_lost_processor_is_not_paid_back(void **state)
{
	(void)state;
	dr_sim_set_cost(s.be, 0, 700, DRAY_SIM_NOCHECK);
	rig_clock_look = lose_the_processor;
	assert_in_range(pins(1), 1000000, 1000700 + STEP);
	assert_in_range(pins(1), 700, 700 + STEP);
	assert_in_range(pins(10), 7000 - STEP, 7000 + STEP);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nothing_costs_at_open),
		T(pins_cost_by_the_page_and_outside_locks),
		T(invalidations_cost_by_the_piece_and_under_the_lock),
		T(leaving_costs_an_invalidation),
		T(what_is_spun_too_long_is_paid_back),
		T(a_lost_processor_is_not_paid_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
