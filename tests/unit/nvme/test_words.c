// SPDX-License-Identifier: BSD-2-Clause
/* Little-endian words, registers, completion words, status table, histogram. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "nvme/hist.h"
#include "nvme/mmio.h"
#include "nvme/regs.h"
#include "nvme/spec.h"
#include "nvme/status.h"

static void words_are_little_endian_in_memory(void **state)
{
	static const unsigned char bytes[] = {0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01};
	nvme_le16 w16 = nvme_to_le16(0x0708);
	nvme_le32 w32 = nvme_to_le32(0x05060708);
	nvme_le64 w64 = nvme_to_le64(UINT64_C(0x0102030405060708));

	(void)state;
	assert_memory_equal(&w16, bytes, sizeof(w16));
	assert_memory_equal(&w32, bytes, sizeof(w32));
	assert_memory_equal(&w64, bytes, sizeof(w64));
	assert_int_equal(nvme_from_le16(w16), 0x0708);
	assert_int_equal(nvme_from_le32(w32), 0x05060708);
	assert_true(nvme_from_le64(w64) == UINT64_C(0x0102030405060708));
}

static void registers_of_64_bits_are_two_words_low_first(void **state)
{
	static const unsigned char bytes[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	_Alignas(8) unsigned char bar[64] = {0};

	(void)state;
	nvme_write64(bar, NVME_REG_ASQ, UINT64_C(0x1122334455667788));
	assert_memory_equal(bar + NVME_REG_ASQ, bytes, sizeof(bytes));
	assert_int_equal(nvme_read32(bar, NVME_REG_ASQ), 0x55667788);
	assert_int_equal(nvme_read32(bar, NVME_REG_ASQ + 4), 0x11223344);
	assert_true(nvme_read64(bar, NVME_REG_ASQ) == UINT64_C(0x1122334455667788));
}

static void doorbells_follow_the_stride(void **state)
{
	(void)state;
	assert_int_equal(nvme_sq_doorbell(0, 0), 0x1000);
	assert_int_equal(nvme_cq_doorbell(0, 0), 0x1004);
	assert_int_equal(nvme_sq_doorbell(3, 0), 0x1018);
	assert_int_equal(nvme_cq_doorbell(3, 2), 0x1000 + 7 * 16);
}

static void completion_words_come_apart(void **state)
{
	/* Do-not-retry and more set above the status, which is type 1, code 0x0c. */
	uint32_t word = 0x1234 | NVME_CQE_PHASE | (uint32_t)NVME_QUEUE_DELETION << 17 | 3u << 30;

	(void)state;
	assert_int_equal(NVME_CQE_CID(word), 0x1234);
	assert_int_equal(NVME_CQE_STATUS(word), NVME_QUEUE_DELETION);
	assert_int_equal(NVME_CQE_STATUS(word & ~NVME_CQE_PHASE), NVME_QUEUE_DELETION);
	assert_int_equal(NVME_CQE_STATUS(0x1234 | NVME_CQE_PHASE), NVME_OK);
}

static void statuses_have_names_errnos_and_fixes(void **state)
{
	static const struct {
		uint16_t status;
		int err;
		const char *text;
	} want[] = {
		{0x000, 0, "Successful Completion"},
		{0x001, ENOTSUP, "Invalid Command Opcode"},
		{0x002, EINVAL, "Invalid Field in Command"},
		{0x004, EIO, "Data Transfer Error"},
		{0x013, EINVAL, "PRP Offset Invalid"},
		{0x080, ERANGE, "LBA Out of Range"},
		{0x100, EINVAL, "Completion Queue Invalid"},
		{0x101, EINVAL, "Invalid Queue Identifier"},
		{0x10c, EBUSY, "Invalid Queue Deletion"},
		{0x280, EIO, "Write Fault"},
		{0x281, EIO, "Unrecovered Read Error"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		const struct nvme_status_info *info = nvme_status_find(want[i].status);

		assert_int_equal(info->err, want[i].err);
		assert_string_equal(info->text, want[i].text);
		assert_true(!info->err || info->fix[0]);
	}
	/* Nobody knows it: still an error, still a sentence. */
	assert_int_equal(nvme_status_find(0x7fe)->err, EIO);
	assert_true(nvme_status_find(0x7fe)->fix[0]);
}

static void opcodes_have_names_per_queue_kind(void **state)
{
	(void)state;
	assert_string_equal(nvme_opcode_name(0, 0x01), "create submission queue");
	assert_string_equal(nvme_opcode_name(1, 0x01), "write");
	assert_string_equal(nvme_opcode_name(0, 0xfe), "admin command");
	assert_string_equal(nvme_opcode_name(7, 0xfe), "I/O command");
}

static void histogram_is_exact_below_64(void **state)
{
	struct nvme_hist h = {0};

	(void)state;
	assert_int_equal(nvme_hist_permille(&h, 500), 0);
	assert_true(nvme_hist_mean(&h) == 0);
	for (uint64_t v = 1; v <= 60; v++)
		nvme_hist_add(&h, v);
	assert_int_equal(nvme_hist_permille(&h, 0), 1);
	assert_int_equal(nvme_hist_permille(&h, 500), 30);
	assert_int_equal(nvme_hist_permille(&h, 1000), 60);
	assert_true(nvme_hist_mean(&h) == 30.5);
}

static void histogram_is_within_a_64th_everywhere(void **state)
{
	(void)state;
	for (unsigned bit = 6; bit < 64; bit++) {
		for (int add = -1; add <= 1; add++) {
			uint64_t v = (UINT64_C(1) << bit) + (uint64_t)add, got;
			struct nvme_hist h = {0};

			nvme_hist_add(&h, v);
			got = nvme_hist_permille(&h, 999);
			assert_true(got <= v);
			assert_true(v - got <= v / 64);
			assert_true(h.max == v);
		}
	}
	{
		struct nvme_hist h = {0};

		nvme_hist_add(&h, UINT64_MAX);
		assert_true(nvme_hist_permille(&h, 500) >= UINT64_MAX - UINT64_MAX / 64);
	}
}

static void histograms_merge(void **state)
{
	struct nvme_hist a = {0}, b = {0};

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		nvme_hist_add(&a, 5);
		nvme_hist_add(&b, 50);
	}
	nvme_hist_merge(&a, &b);
	assert_int_equal(a.count, 20);
	assert_int_equal(a.max, 50);
	assert_int_equal(nvme_hist_permille(&a, 500), 5);
	assert_int_equal(nvme_hist_permille(&a, 501), 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_little_endian_in_memory),
		cmocka_unit_test(registers_of_64_bits_are_two_words_low_first),
		cmocka_unit_test(doorbells_follow_the_stride),
		cmocka_unit_test(completion_words_come_apart),
		cmocka_unit_test(statuses_have_names_errnos_and_fixes),
		cmocka_unit_test(opcodes_have_names_per_queue_kind),
		cmocka_unit_test(histogram_is_exact_below_64),
		cmocka_unit_test(histogram_is_within_a_64th_everywhere),
		cmocka_unit_test(histograms_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
