// SPDX-License-Identifier: BSD-2-Clause
/* Memory that a kernel would not pin is refused, with the place and the reason. */
#define _GNU_SOURCE
#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/sim/machine.h"

#define PAGES 9u
#define LEN   (PAGES * KB4)
#define HOLE  5u /* the page that is wrong */

static char *mem;

static int setup(void **state)
{
	rig_setup(state);
	mem = memory(LEN, KB4);
	return 0;
}

static int teardown(void **state)
{
	memory_free(mem, LEN);
	return rig_teardown(state);
}

static void check_refused(bool writable, unsigned page, const char *why)
{
	char where[32];

	snprintf(where, sizeof(where), "%p:", (void *)(mem + page * KB4));
	assert_int_equal(dr_pin_check(mem, LEN, writable), -EFAULT);
	assert_non_null(strstr(dray_errmsg(), where));
	assert_non_null(strstr(dray_errmsg(), why));
}

/* The same cases for both ways of asking. */
static void holes_and_rights(void)
{
	assert_int_equal(dr_pin_check(mem, LEN, true), 0);
	assert_int_equal(dr_pin_check(mem, LEN, false), 0);

	mprotect(mem + HOLE * KB4, KB4, PROT_READ);
	assert_int_equal(dr_pin_check(mem, LEN, false), 0);
	check_refused(true, HOLE, "not writable");
	mprotect(mem + (HOLE - 1) * KB4, KB4, PROT_NONE);
	check_refused(true, HOLE - 1, "not writable");
	check_refused(false, HOLE - 1, "not readable");
	munmap(mem + (HOLE - 2) * KB4, KB4);
	check_refused(true, HOLE - 2, "nothing is mapped");
	munmap(mem, KB4);
	check_refused(false, 0, "nothing is mapped");
	munmap(mem + (PAGES - 1) * KB4, KB4);
	assert_int_equal(dr_pin_check(mem + (PAGES - 1) * KB4, KB4, false), -EFAULT);
	assert_int_equal(dr_pin_check(mem + KB4, KB4, false), 0);
}

static void the_first_bad_page_is_named(void **state)
{
	(void)state;
	holes_and_rights();
}

/* As on a kernel that does not know the advice. */
static void an_old_kernel_is_asked_another_way(void **state)
{
	(void)state;
	rig_madvise = (struct rig_madvise){ .first = NULL, .end = (char *)UINTPTR_MAX,
					    .err = EINVAL };
	holes_and_rights();
	assert_true(rig_madvise.calls > 0);
}

/* A mapping found only in a second piece of the text, in a process with many mappings. */
static void long_maps_are_read_to_the_end(void **state)
{
	enum { ISLANDS = 400 };
	char *islands = memory(2 * ISLANDS * KB4, KB4);

	(void)state;
	for (unsigned i = 0; i < ISLANDS; i++)
		mprotect(islands + 2 * i * KB4, KB4, PROT_READ);
	rig_madvise = (struct rig_madvise){ .first = NULL, .end = (char *)UINTPTR_MAX,
					    .err = EINVAL };
	for (unsigned i = 0; i < 2 * ISLANDS; i++) {
		assert_int_equal(dr_pin_check(islands + i * KB4, KB4, true),
				 i % 2 ? 0 : -EFAULT);
		assert_int_equal(dr_pin_check(islands + i * KB4, KB4, false), 0);
	}
	assert_int_equal(dr_pin_check(islands, 2 * ISLANDS * KB4, false), 0);
	/* Lines in pieces. */
	rig_pread_limit = 37;
	assert_int_equal(dr_pin_check(islands, 2 * ISLANDS * KB4, false), 0);
	assert_int_equal(dr_pin_check(islands + KB4, KB4, true), 0);
	assert_int_equal(dr_pin_check(islands, KB4, true), -EFAULT);
	memory_free(islands, 2 * ISLANDS * KB4);
}

static void past_the_end_of_a_file(void **state)
{
	int fd = memfd_create("pin", 0);
	char *file = mmap(NULL, 3 * KB4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char where[32];

	(void)state;
	assert_int_equal(ftruncate(fd, KB4 + 1), 0);
	assert_true(file != MAP_FAILED);
	assert_int_equal(dr_pin_check(file, 2 * KB4, true), 0);
	assert_int_equal(dr_pin_check(file, 3 * KB4, true), -EFAULT);
	snprintf(where, sizeof(where), "%p:", (void *)(file + 2 * KB4));
	assert_non_null(strstr(dray_errmsg(), where));
	munmap(file, 3 * KB4);
	close(fd);
}

static void other_refusals_are_told(void **state)
{
	(void)state;
	rig_madvise = (struct rig_madvise){ .first = mem + 2 * KB4, .end = mem + 3 * KB4,
					    .err = EHWPOISON };
	check_refused(false, 2, strerror(EHWPOISON));
	rig_madvise.err = ENOMEM;
	check_refused(false, 2, "nothing is mapped");
}

/* Through the backend: nothing is mapped, no table made; NOCHECK does not ask. */
static void map_checks_first(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	size_t gone;

	(void)state;
	munmap(mem + HOLE * KB4, KB4);
	assert_int_equal(s.be->ops->map(s.be, GB1, mem, LEN, DR_PTE_READ), -EFAULT);
	assert_int_equal(dr_pgtable_bytes(s.pt), KB4);
	mprotect(mem, KB4, PROT_READ);
	assert_int_equal(s.be->ops->map(s.be, GB1, mem, KB4, RW), -EFAULT);
	assert_int_equal(s.be->ops->map(s.be, GB1, mem, KB4, DR_PTE_WRITE), -EFAULT);
	assert_int_equal(s.be->ops->map(s.be, GB1, mem, KB4, DR_PTE_READ), 0);
	assert_int_equal(s.be->ops->unmap(s.be, GB1, KB4, &gone), 0);
	dr_sim_set_cost(s.be, 0, 0, DRAY_SIM_NOCHECK);
	rig_madvise.calls = 0;
	assert_int_equal(s.be->ops->map(s.be, GB1, mem, LEN, RW), 0);
	assert_int_equal(rig_madvise.calls, 0);
	space_close(&s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_first_bad_page_is_named),
		T(an_old_kernel_is_asked_another_way),
		T(long_maps_are_read_to_the_end),
		T(past_the_end_of_a_file),
		T(other_refusals_are_told),
		T(map_checks_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
