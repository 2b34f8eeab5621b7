// SPDX-License-Identifier: BSD-2-Clause
/* The controller model judges what a driver gives it: raw commands, raw doorbells, bad images. */
#include "stack.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nvme/mmio.h"
#include "nvme/regs.h"

#define MIB ((size_t)1 << 20)
#define QID 5u

static struct stack s;

/* A queue pair made by hand, so that any command can be sent; and a buffer. */
static struct {
	struct nvme_cmd *sq;
	struct nvme_cqe *cq;
	unsigned char *data;
	struct dray_mapping sq_map, cq_map, data_map;
	unsigned tail, head;
	uint32_t phase;
} raw;

#define ENTRIES  8u
#define DATA_LEN (4u * NVME_PAGE)

static uint16_t admin(uint8_t opcode, uint32_t cdw10, uint32_t cdw11, uint64_t prp1)
{
	struct nvme_cmd cmd = {
		.opcode = opcode,
		.cdw10 = nvme_to_le32(cdw10),
		.cdw11 = nvme_to_le32(cdw11),
		.prp1 = nvme_to_le64(prp1),
	};
	const char *at;
	int rc = nvme_admin(s.ctrl, &cmd, NULL);

	if (!rc)
		return NVME_OK;
	at = strstr(dray_errmsg(), "(status ");
	assert_non_null(at);
	return (uint16_t)strtoul(at + strlen("(status "), NULL, 16);
}

static int open_raw(void **state)
{
	const struct nvme_model_opts mo = {.queues = 8, .max_entries = 64, .mdts = 1};

	(void)state;
	memset(&raw, 0, sizeof(raw));
	stack_open(&s, MIB, &mo, NULL);
	raw.sq = stack_pages(NVME_PAGE);
	raw.cq = stack_pages(NVME_PAGE);
	raw.data = stack_pages(DATA_LEN);
	raw.phase = NVME_CQE_PHASE;
	assert_int_equal(dray_map(s.dev, raw.sq, NVME_PAGE, DRAY_BIDIRECTIONAL, 0, &raw.sq_map), 0);
	assert_int_equal(dray_map(s.dev, raw.cq, NVME_PAGE, DRAY_BIDIRECTIONAL, 0, &raw.cq_map), 0);
	assert_int_equal(dray_map(s.dev, raw.data, DATA_LEN, DRAY_BIDIRECTIONAL, 0, &raw.data_map),
			 0);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, (ENTRIES - 1) << 16 | QID, NVME_QUEUE_PC,
			       raw.cq_map.iova),
			 NVME_OK);
	assert_int_equal(admin(NVME_ADMIN_CREATE_SQ, (ENTRIES - 1) << 16 | QID,
			       QID << 16 | NVME_QUEUE_PC, raw.sq_map.iova),
			 NVME_OK);
	return 0;
}

static int close_raw(void **state)
{
	(void)state;
	/* The controller first: it must not find its queues gone. */
	nvme_close(s.ctrl);
	s.ctrl = NULL;
	dray_unmap(s.dev, &raw.data_map);
	dray_unmap(s.dev, &raw.cq_map);
	dray_unmap(s.dev, &raw.sq_map);
	free(raw.data);
	free(raw.cq);
	free(raw.sq);
	stack_close(&s);
	return 0;
}

static void post(const struct nvme_cmd *cmd)
{
	raw.sq[raw.tail] = *cmd;
	raw.tail = (raw.tail + 1) % ENTRIES;
	nvme_write32(s.bar, nvme_sq_doorbell(QID, 0), raw.tail);
}

/* The next completion. */
static struct nvme_cqe reap(void)
{
	struct nvme_cqe *at = &raw.cq[raw.head], got;

	while ((nvme_from_le32((nvme_le32){__atomic_load_n(&at->cid_status.raw,
							  __ATOMIC_ACQUIRE)}) &
		NVME_CQE_PHASE) != raw.phase)
		sched_yield();
	got = *at;
	if (++raw.head == ENTRIES) {
		raw.head = 0;
		raw.phase ^= NVME_CQE_PHASE;
	}
	return got;
}

static uint16_t run(const struct nvme_cmd *cmd)
{
	struct nvme_cqe cqe;

	post(cmd);
	cqe = reap();
	nvme_write32(s.bar, nvme_cq_doorbell(QID, 0), raw.head);
	return NVME_CQE_STATUS(nvme_from_le32(cqe.cid_status));
}

/* A read of @blocks at LBA 0 with these PRP entries. */
static struct nvme_cmd read_cmd(unsigned blocks, uint64_t prp1, uint64_t prp2)
{
	return (struct nvme_cmd){
		.opcode = NVME_IO_READ,
		.cid = nvme_to_le16(0x4321),
		.nsid = nvme_to_le32(1),
		.prp1 = nvme_to_le64(prp1),
		.prp2 = nvme_to_le64(prp2),
		.cdw12 = nvme_to_le32(blocks - 1),
	};
}

static uint16_t run_read(unsigned blocks, uint64_t prp1, uint64_t prp2)
{
	struct nvme_cmd cmd = read_cmd(blocks, prp1, prp2);

	return run(&cmd);
}

static void io_fields_are_judged(void **state)
{
	uint64_t iova = raw.data_map.iova;
	struct nvme_cmd cmd = read_cmd(1, iova, 0);

	(void)state;
	assert_int_equal(run(&cmd), NVME_OK);
	assert_int_equal(raw.data[3], stack_pattern(3));
	cmd.opcode = 0x09;
	assert_int_equal(run(&cmd), NVME_INVALID_OPCODE);
	cmd = read_cmd(1, iova, 0);
	cmd.flags = 0x80; /* a scatter-gather list for metadata too */
	assert_int_equal(run(&cmd), NVME_INVALID_FIELD);
	cmd.flags = 0x01; /* fused */
	assert_int_equal(run(&cmd), NVME_INVALID_FIELD);
	cmd = read_cmd(1, iova, 0);
	cmd.nsid = nvme_to_le32(2);
	assert_int_equal(run(&cmd), NVME_INVALID_NAMESPACE);
	/* MDTS is 8 KiB here. */
	assert_int_equal(run_read(16, iova, iova + NVME_PAGE), NVME_OK);
	assert_int_equal(run_read(17, iova, iova + NVME_PAGE), NVME_INVALID_FIELD);
	cmd = read_cmd(2, iova, 0);
	cmd.cdw10 = nvme_to_le32(MIB / 512 - 1);
	assert_int_equal(run(&cmd), NVME_LBA_RANGE);
	cmd.cdw11 = nvme_to_le32(0xffffffff);
	cmd.cdw10 = nvme_to_le32(0xffffffff);
	assert_int_equal(run(&cmd), NVME_LBA_RANGE);
	cmd = (struct nvme_cmd){.opcode = NVME_IO_FLUSH, .nsid = nvme_to_le32(0xffffffff)};
	assert_int_equal(run(&cmd), NVME_OK);
	cmd.nsid = nvme_to_le32(7);
	assert_int_equal(run(&cmd), NVME_INVALID_NAMESPACE);
}

static void prp_entries_are_judged(void **state)
{
	uint64_t iova = raw.data_map.iova, list = iova + 3 * NVME_PAGE;
	nvme_le64 *entry = (nvme_le64 *)(raw.data + 3 * NVME_PAGE);
	struct dray_sim_fault f[4];

	(void)state;
	assert_int_equal(run_read(1, iova + 2, 0), NVME_INVALID_PRP_OFFSET);
	/* A second page must begin one. */
	assert_int_equal(run_read(16, iova, iova + NVME_PAGE + 8), NVME_INVALID_PRP_OFFSET);
	/* Three pages: a list, at any multiple of 8, with whole pages in it. */
	entry[0] = nvme_to_le64(iova + NVME_PAGE);
	entry[1] = nvme_to_le64(iova + 2 * NVME_PAGE);
	assert_int_equal(run_read(16, iova + 512, list), NVME_OK);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(raw.data[512 + i], stack_pattern(i));
	/* At no other place, even if what lies there makes sense. */
	memmove((char *)entry + 4, entry, 16);
	assert_int_equal(run_read(16, iova + 512, list + 4), NVME_INVALID_PRP_OFFSET);
	memmove(entry, (char *)entry + 4, 16);
	entry[1] = nvme_to_le64(iova + 2 * NVME_PAGE + 4);
	assert_int_equal(run_read(16, iova + 512, list), NVME_INVALID_PRP_OFFSET);
	/* The last place of the list's page holds the only entry that fits, so it is a chain. */
	entry[511] = nvme_to_le64(list);
	entry[1] = nvme_to_le64(iova + 2 * NVME_PAGE);
	memset(raw.data, 0, 3 * NVME_PAGE);
	assert_int_equal(run_read(16, iova + 512, list + 511 * 8), NVME_OK);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(raw.data[512 + i], stack_pattern(i));
	entry[511] = nvme_to_le64(list + 8);
	assert_int_equal(run_read(16, iova + 512, list + 511 * 8), NVME_INVALID_PRP_OFFSET);
	assert_int_equal(dray_sim_faults(s.dev, f, 4), 0);
	/* Nothing there: data, list, and a page in the list. */
	assert_int_equal(run_read(1, 0x10000, 0), NVME_DATA_TRANSFER);
	assert_int_equal(run_read(16, iova + 512, 0x10000), NVME_DATA_TRANSFER);
	entry[0] = nvme_to_le64(0x20000);
	assert_int_equal(run_read(16, iova + 512, list), NVME_DATA_TRANSFER);
	assert_int_equal(dray_sim_faults(s.dev, f, 4), 3);
	assert_int_equal(f[0].access, DRAY_SIM_WRITE);
	assert_int_equal(f[1].access, DRAY_SIM_READ);
	assert_true(f[2].iova == 0x20000);
}

static struct dray_sgl_desc desc(uint64_t addr, uint32_t len, uint8_t type)
{
	return (struct dray_sgl_desc){
		.addr = nvme_to_le64(addr), .len = nvme_to_le32(len), .type = type};
}

/* A read of @blocks whose data pointer is this descriptor. */
static uint16_t run_list(unsigned blocks, struct dray_sgl_desc first)
{
	struct nvme_cmd cmd = read_cmd(blocks, 0, 0);

	cmd.flags = NVME_FLAG_SGL;
	cmd.sgl = first;
	return run(&cmd);
}

static void descriptors_are_judged(void **state)
{
	uint64_t iova = raw.data_map.iova, list = iova + 3 * NVME_PAGE;
	struct dray_sgl_desc *d = (struct dray_sgl_desc *)(raw.data + 3 * NVME_PAGE);
	struct dray_sim_fault f[4];

	(void)state;
	assert_int_equal(run_list(1, desc(iova + 3, 512, DRAY_SGL_DATA)), NVME_OK);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(raw.data[3 + i], stack_pattern(i));
	/* One descriptor has to be all of it. */
	assert_int_equal(run_list(1, desc(iova, 511, DRAY_SGL_DATA)), NVME_INVALID_SGL_LENGTH);
	assert_int_equal(run_list(1, desc(iova, 513, DRAY_SGL_DATA)), NVME_INVALID_SGL_LENGTH);
	assert_int_equal(run_list(1, desc(iova, 512, 0x10)), NVME_INVALID_SGL_TYPE);
	assert_int_equal(run_list(1, desc(iova, 512, 0x01)), NVME_INVALID_SGL_TYPE);
	/* Three pieces, one of them empty, in a last segment. */
	d[0] = desc(iova + 1, 100, DRAY_SGL_DATA);
	d[1] = desc(iova, 0, DRAY_SGL_DATA);
	d[2] = desc(iova + 1001, 412, DRAY_SGL_DATA);
	memset(raw.data, 0, 2048);
	assert_int_equal(run_list(1, desc(list, 48, DRAY_SGL_LAST_SEGMENT)), NVME_OK);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(raw.data[i < 100 ? 1 + i : 901 + i], stack_pattern(i));
	assert_int_equal(raw.data[0] | raw.data[101] | raw.data[1000] | raw.data[1413], 0);
	/* A segment that is not the last has to lead on, and the last must not. */
	assert_int_equal(run_list(1, desc(list, 48, DRAY_SGL_SEGMENT)), NVME_INVALID_SGL_SEGMENT);
	d[2] = desc(list + 64, 16, DRAY_SGL_LAST_SEGMENT);
	d[4] = desc(iova + 1001, 412, DRAY_SGL_DATA);
	assert_int_equal(run_list(1, desc(list, 48, DRAY_SGL_SEGMENT)), NVME_OK);
	assert_int_equal(run_list(1, desc(list, 48, DRAY_SGL_LAST_SEGMENT)),
			 NVME_INVALID_SGL_SEGMENT);
	/* Too few bytes, too many descriptors, none, part of one, a circle. */
	assert_int_equal(run_list(2, desc(list, 48, DRAY_SGL_SEGMENT)), NVME_INVALID_SGL_LENGTH);
	d[2] = desc(list + 64, 32, DRAY_SGL_LAST_SEGMENT);
	d[5] = desc(iova, 4, DRAY_SGL_DATA);
	assert_int_equal(run_list(1, desc(list, 48, DRAY_SGL_SEGMENT)), NVME_INVALID_SGL_LENGTH);
	assert_int_equal(run_list(1, desc(list, 0, DRAY_SGL_SEGMENT)), NVME_INVALID_SGL_SEGMENT);
	assert_int_equal(run_list(1, desc(list, 40, DRAY_SGL_SEGMENT)), NVME_INVALID_SGL_SEGMENT);
	assert_int_equal(run_list(1, desc(list + 4, 32, DRAY_SGL_SEGMENT)),
			 NVME_INVALID_SGL_SEGMENT);
	d[0] = desc(list, 16, DRAY_SGL_SEGMENT);
	assert_int_equal(run_list(1, desc(list, 16, DRAY_SGL_SEGMENT)), NVME_INVALID_SGL_SEGMENT);
	assert_int_equal(dray_sim_faults(s.dev, f, 4), 0);
	/* Nothing there: list, and data. */
	assert_int_equal(run_list(1, desc(0x10000, 32, DRAY_SGL_LAST_SEGMENT)), NVME_DATA_TRANSFER);
	assert_int_equal(run_list(1, desc(0x20000, 512, DRAY_SGL_DATA)), NVME_DATA_TRANSFER);
	assert_int_equal(dray_sim_faults(s.dev, f, 4), 2);
	assert_int_equal(f[0].access, DRAY_SIM_READ);
	assert_int_equal(f[1].access, DRAY_SIM_WRITE);
}

static void admin_fields_are_judged(void **state)
{
	uint64_t iova = raw.data_map.iova;

	(void)state;
	assert_int_equal(admin(0x02, 0, 0, iova), NVME_INVALID_OPCODE); /* get log page */
	assert_int_equal(admin(NVME_ADMIN_IDENTIFY, 0x55, 0, iova), NVME_INVALID_FIELD);
	assert_int_equal(admin(NVME_ADMIN_IDENTIFY, NVME_CNS_NAMESPACE, 0, iova),
			 NVME_INVALID_NAMESPACE);
	assert_int_equal(admin(NVME_ADMIN_IDENTIFY, NVME_CNS_CONTROLLER, 0, 0x10000),
			 NVME_DATA_TRANSFER);
	assert_int_equal(admin(NVME_ADMIN_GET_FEATURES, 0x55, 0, 0), NVME_INVALID_FIELD);
	assert_int_equal(admin(NVME_ADMIN_SET_FEATURES, NVME_FEATURE_QUEUES, 0xffff, 0),
			 NVME_INVALID_FIELD);
	assert_int_equal(admin(NVME_ADMIN_ABORT, 0, 0, 0), NVME_OK);
}

static void queue_creation_is_judged(void **state)
{
	uint64_t iova = raw.data_map.iova;
	const uint32_t pc = NVME_QUEUE_PC;

	(void)state;
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 7u << 16, pc, iova), NVME_QID_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 7u << 16 | 9, pc, iova), NVME_QID_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 7u << 16 | QID, pc, iova), NVME_QID_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 0u << 16 | 6, pc, iova), NVME_QSIZE_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 64u << 16 | 6, pc, iova), NVME_QSIZE_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 7u << 16 | 6, 0, iova), NVME_INVALID_FIELD);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 7u << 16 | 6, pc | NVME_QUEUE_IEN, iova),
			 NVME_INVALID_FIELD);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 7u << 16 | 6, pc, iova + 512),
			 NVME_INVALID_PRP_OFFSET);
	assert_int_equal(admin(NVME_ADMIN_CREATE_SQ, 7u << 16 | 6, 6u << 16 | pc, iova),
			 NVME_CQ_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_SQ, 7u << 16 | 6, 0u << 16 | pc, iova),
			 NVME_CQ_INVALID);
	assert_int_equal(admin(NVME_ADMIN_CREATE_SQ, 7u << 16 | QID, QID << 16 | pc, iova),
			 NVME_QID_INVALID);
}

static void queues_are_deleted_in_order(void **state)
{
	(void)state;
	assert_int_equal(admin(NVME_ADMIN_DELETE_CQ, QID, 0, 0), NVME_QUEUE_DELETION);
	assert_int_equal(admin(NVME_ADMIN_DELETE_CQ, 0, 0, 0), NVME_QID_INVALID);
	assert_int_equal(admin(NVME_ADMIN_DELETE_SQ, 7, 0, 0), NVME_QID_INVALID);
	assert_int_equal(admin(NVME_ADMIN_DELETE_SQ, QID, 0, 0), NVME_OK);
	assert_int_equal(admin(NVME_ADMIN_DELETE_SQ, QID, 0, 0), NVME_QID_INVALID);
	assert_int_equal(admin(NVME_ADMIN_DELETE_CQ, QID, 0, 0), NVME_OK);
	assert_int_equal(admin(NVME_ADMIN_CREATE_CQ, 3u << 16 | QID, NVME_QUEUE_PC,
			       raw.cq_map.iova),
			 NVME_OK);
}

static void a_deleted_queue_forgets_its_commands(void **state)
{
	struct nvme_cmd cmd = read_cmd(1, raw.data_map.iova, 0);

	(void)state;
	nvme_model_hold(s.model, true);
	post(&cmd);
	stack_await_fetched(&s, 1);
	assert_int_equal(admin(NVME_ADMIN_DELETE_SQ, QID, 0, 0), NVME_OK);
	nvme_model_hold(s.model, false);
	/* A command of another queue, executed after the release, shows that the model went on. */
	assert_int_equal(nvme_flush(nvme_get_queue(s.ctrl, 0)), 0);
	assert_int_equal(raw.cq[0].cid_status.raw, 0);
	assert_int_equal(raw.data[0], 0);
}

/* Completions wait for room in their ring; other queues do not wait for them. */
static void a_full_completion_ring_holds_up_only_itself(void **state)
{
	unsigned char *mem = stack_pages(512);
	struct nvme_cmd cmd = read_cmd(1, raw.data_map.iova, 0);

	(void)state;
	/* Seven fill the ring of eight; six more fit into the submission ring behind them. */
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		post(&cmd);
	stack_await_fetched(&s, ENTRIES - 1);
	for (unsigned i = 0; i < ENTRIES - 2; i++)
		post(&cmd);
	stack_await_fetched(&s, 2 * ENTRIES - 3);
	/* These complete while the other ring is full. */
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(nvme_read(nvme_get_queue(s.ctrl, 0), i, mem, 512), 0);
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		assert_int_equal(NVME_CQE_STATUS(nvme_from_le32(reap().cid_status)), NVME_OK);
	assert_int_equal(raw.cq[ENTRIES - 1].cid_status.raw, 0);
	nvme_write32(s.bar, nvme_cq_doorbell(QID, 0), raw.head);
	for (unsigned i = 0; i < ENTRIES - 2; i++)
		assert_int_equal(NVME_CQE_CID(nvme_from_le32(reap().cid_status)), 0x4321);
	free(mem);
}

static void await_fatal(void)
{
	while (!(nvme_read32(s.bar, NVME_REG_CSTS) & NVME_CSTS_CFS))
		sched_yield();
}

static void a_doorbell_beyond_its_ring_is_fatal(void **state)
{
	(void)state;
	nvme_write32(s.bar, nvme_sq_doorbell(QID, 0), ENTRIES);
	await_fatal();
}

static void a_completion_doorbell_beyond_its_ring_is_fatal(void **state)
{
	struct nvme_cmd cmd = read_cmd(1, raw.data_map.iova, 0);

	(void)state;
	nvme_write32(s.bar, nvme_cq_doorbell(QID, 0), ENTRIES);
	post(&cmd);
	await_fatal();
}

static void a_cut_image_is_a_media_error(void **state)
{
	struct nvme_cmd cmd = read_cmd(1, raw.data_map.iova, 0);

	(void)state;
	assert_int_equal(truncate(s.image, 512), 0);
	assert_int_equal(run(&cmd), NVME_OK);
	cmd.cdw10 = nvme_to_le32(1);
	assert_int_equal(run(&cmd), NVME_READ_ERROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(io_fields_are_judged, open_raw, close_raw),
		cmocka_unit_test_setup_teardown(prp_entries_are_judged, open_raw, close_raw),
		cmocka_unit_test_setup_teardown(descriptors_are_judged, open_raw, close_raw),
		cmocka_unit_test_setup_teardown(admin_fields_are_judged, open_raw, close_raw),
		cmocka_unit_test_setup_teardown(queue_creation_is_judged, open_raw, close_raw),
		cmocka_unit_test_setup_teardown(queues_are_deleted_in_order, open_raw, close_raw),
		cmocka_unit_test_setup_teardown(a_deleted_queue_forgets_its_commands, open_raw,
						close_raw),
		cmocka_unit_test_setup_teardown(a_full_completion_ring_holds_up_only_itself,
						open_raw, close_raw),
		cmocka_unit_test_setup_teardown(a_doorbell_beyond_its_ring_is_fatal, open_raw,
						close_raw),
		cmocka_unit_test_setup_teardown(a_completion_doorbell_beyond_its_ring_is_fatal,
						open_raw, close_raw),
		cmocka_unit_test_setup_teardown(a_cut_image_is_a_media_error, open_raw, close_raw),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}
