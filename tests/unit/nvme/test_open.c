// SPDX-License-Identifier: BSD-2-Clause
/* Opening: registers of all kinds, images of all kinds, and every allocation failing once. */
#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nvme/mmio.h"
#include "nvme/regs.h"

#define MIB ((size_t)1 << 20)

static struct stack s;

static int close_stack(void **state)
{
	(void)state;
	stack_fast_clock(0);
	stack_fail_alloc(0);
	stack_close(&s);
	return 0;
}

static void said(const char *a, const char *b)
{
	if (!strstr(dray_errmsg(), a) || !strstr(dray_errmsg(), b) || strchr(dray_errmsg(), '\n'))
		fail_msg("not both of '%s', '%s' in: %s", a, b, dray_errmsg());
}

/* As many unmaps as maps, now. */
static void nothing_is_mapped(void)
{
	struct dray_stats st = {.size = sizeof(st)};

	assert_int_equal(dray_stats_get(s.dom, &st), 0);
	assert_int_equal(st.maps, st.unmaps);
}

/* Registers that nobody answers for. */
static void dead_registers_are_refused(void **state)
{
	unsigned char *bar = stack_pages(2 * NVME_PAGE);
	struct nvme_ctrl *ctrl = NULL;

	(void)state;
	stack_image(&s, MIB);
	stack_model(&s, NULL);
	memset(bar, 0xff, 2 * NVME_PAGE);
	assert_int_equal(nvme_open(s.dev, bar, 2 * NVME_PAGE, NULL, &ctrl), -ENODEV);
	said("all ones", "lspci");
	memset(bar, 0, 2 * NVME_PAGE);
	assert_int_equal(nvme_open(s.dev, bar, 2 * NVME_PAGE, NULL, &ctrl), -ENOTSUP);
	said("NVM command set", "CAP");
	assert_int_equal(nvme_open(s.dev, bar, NVME_PAGE, NULL, &ctrl), -EINVAL);
	assert_int_equal(nvme_open(s.dev, NULL, NVME_PAGE, NULL, &ctrl), -EINVAL);
	/* It has capabilities and never becomes ready. */
	nvme_write64(bar, NVME_REG_CAP, NVME_CAP_CSS_NVM | UINT64_C(2) << 24 | 63);
	stack_fast_clock(10000000);
	assert_int_equal(nvme_open(s.dev, bar, 2 * NVME_PAGE, NULL, &ctrl), -ETIMEDOUT);
	said("enable", "CAP.TO");
	assert_int_equal(nvme_read32(bar, NVME_REG_CC) & NVME_CC_EN, 0);
	/* It says at once that it has failed. */
	nvme_write32(bar, NVME_REG_CSTS, NVME_CSTS_CFS);
	assert_int_equal(nvme_open(s.dev, bar, 2 * NVME_PAGE, NULL, &ctrl), -EIO);
	said("CSTS.CFS", "enable");
	/* It never stops being ready. */
	nvme_write32(bar, NVME_REG_CSTS, NVME_CSTS_RDY);
	assert_int_equal(nvme_open(s.dev, bar, 2 * NVME_PAGE, NULL, &ctrl), -ETIMEDOUT);
	said("reset", "CAP.TO");
	assert_null(ctrl);
	nothing_is_mapped();
	free(bar);
}

static void a_running_controller_is_taken_over(void **state)
{
	unsigned char *mem = stack_pages(512);
	struct nvme_ctrl *first;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	first = s.ctrl;
	/* Another driver takes the registers without asking. */
	stack_driver(&s, NULL);
	assert_int_equal(nvme_read(nvme_get_queue(s.ctrl, 0), 2, mem, 512), 0);
	assert_int_equal(mem[0], stack_pattern(1024));
	nvme_close(s.ctrl);
	s.ctrl = first;
	free(mem);
}

static void a_namespace_that_is_not_there(void **state)
{
	const struct nvme_opts no = {.nsid = 4};
	struct nvme_ctrl *ctrl = NULL;

	(void)state;
	stack_image(&s, MIB);
	stack_model(&s, NULL);
	assert_int_equal(nvme_open(s.dev, s.bar, s.bar_len, &no, &ctrl), -ENODEV);
	said("Invalid Namespace", "identify");
	assert_null(ctrl);
	nothing_is_mapped();
}

/* Each allocation of open fails once; each time nothing is left, and the next time it works. */
static void every_allocation_may_fail(void **state)
{
	const struct nvme_opts no = {.queues = 3, .depth = 4};
	struct nvme_ctrl *ctrl;
	unsigned n = 1;
	int rc;

	(void)state;
	stack_image(&s, MIB);
	stack_model(&s, NULL);
	for (;; n++) {
		ctrl = NULL;
		stack_fail_alloc(n);
		rc = nvme_open(s.dev, s.bar, s.bar_len, &no, &ctrl);
		if (!stack_alloc_failed())
			break;
		stack_fail_alloc(0);
		if (rc == 0) {
			/* The library could do without. */
			nvme_close(ctrl);
		} else {
			assert_int_equal(rc, -ENOMEM);
			assert_null(ctrl);
			assert_true(dray_errmsg()[0]);
		}
		nothing_is_mapped();
	}
	stack_fail_alloc(0);
	assert_int_equal(rc, 0);
	nvme_close(ctrl);
	/* The controller, four queues and their slots at the least. */
	assert_true(n > 9);
}

static void start_fails(const struct nvme_model_opts *mo, int err, const char *a, const char *b)
{
	struct nvme_model *m = NULL;

	assert_int_equal(nvme_model_start(s.dev, mo, &m), -err);
	assert_null(m);
	said(a, b);
}

static void bad_images_are_refused(void **state)
{
	struct nvme_model_opts mo = {.image = s.image};

	(void)state;
	stack_image(&s, MIB);
	stack_model(&s, NULL);
	/* The one that the running model has. */
	start_fails(&mo, EBUSY, s.image, "another");
	nvme_model_stop(s.model);
	s.model = NULL;
	assert_int_equal(truncate(s.image, 100), 0);
	start_fails(&mo, EINVAL, "too short", "truncate");
	assert_int_equal(truncate(s.image, 0), 0);
	start_fails(&mo, EINVAL, "too short", "truncate");
	assert_int_equal(truncate(s.image, 1000), 0);
	start_fails(&mo, EINVAL, "whole number of blocks", "truncate -s %512");
	mo.image = ".";
	start_fails(&mo, EISDIR, ".", "opened");
	mo.image = "no-such-directory/image";
	start_fails(&mo, ENOENT, "does not exist", "truncate");
	mo.create_bytes = MIB;
	start_fails(&mo, ENOENT, "cannot be created", "path");
	mo.image = "/dev/null";
	start_fails(&mo, EINVAL, "regular file", "/dev/null");
	mo.image = NULL;
	start_fails(&mo, EINVAL, "no image", "file");
}

static void a_missing_image_is_made_once(void **state)
{
	struct nvme_model_opts mo = {.create_bytes = 3 * MIB};
	struct stat st;

	(void)state;
	stack_image(&s, 512);
	unlink(s.image);
	stack_model(&s, &mo);
	assert_int_equal(nvme_model_bytes(s.model), 3 * MIB);
	assert_int_equal(stat(s.image, &st), 0);
	assert_int_equal(st.st_size, 3 * MIB);
	nvme_model_stop(s.model);
	s.model = NULL;
	/* What is there keeps its length. */
	mo.create_bytes = 5 * MIB;
	mo.image = s.image;
	assert_int_equal(nvme_model_start(s.dev, &mo, &s.model), 0);
	assert_int_equal(nvme_model_bytes(s.model), 3 * MIB);
}

static void bad_model_options_are_refused(void **state)
{
	struct nvme_model_opts mo;

	(void)state;
	stack_image(&s, MIB);
	stack_model(&s, NULL);
	mo = (struct nvme_model_opts){.image = s.image, .block = 520};
	start_fails(&mo, EINVAL, "520", "512");
	mo = (struct nvme_model_opts){.image = s.image, .block = 8192};
	start_fails(&mo, EINVAL, "8192", "4096");
	mo = (struct nvme_model_opts){.image = s.image, .queues = 256};
	start_fails(&mo, EINVAL, "256", "255");
	mo = (struct nvme_model_opts){.image = s.image, .max_entries = 1};
	start_fails(&mo, EINVAL, "1 entries", "2");
	mo = (struct nvme_model_opts){.image = s.image, .mdts = 17};
	start_fails(&mo, EINVAL, "17", "16");
	mo = (struct nvme_model_opts){.image = s.image, .create_bytes = 1000};
	start_fails(&mo, EINVAL, "1000", "blocks");
	assert_int_equal(nvme_model_start(s.dev, NULL, &s.model), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(dead_registers_are_refused, close_stack),
		cmocka_unit_test_teardown(a_running_controller_is_taken_over, close_stack),
		cmocka_unit_test_teardown(a_namespace_that_is_not_there, close_stack),
		cmocka_unit_test_teardown(every_allocation_may_fail, close_stack),
		cmocka_unit_test_teardown(bad_images_are_refused, close_stack),
		cmocka_unit_test_teardown(a_missing_image_is_made_once, close_stack),
		cmocka_unit_test_teardown(bad_model_options_are_refused, close_stack),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}
