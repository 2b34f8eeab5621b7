// SPDX-License-Identifier: BSD-2-Clause
/* What goes wrong at run time: commands that fail, that never end, and controllers that die. */
#include "stack.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/ctrl.h"
#include "nvme/mmio.h"
#include "nvme/regs.h"

#define MIB ((size_t)1 << 20)

static struct stack s;

static int close_stack(void **state)
{
	(void)state;
	stack_close(&s);
	return 0;
}

/* One line that names every word. */
static void said(const char *a, const char *b, const char *c)
{
	if (!strstr(dray_errmsg(), a) || !strstr(dray_errmsg(), b) || !strstr(dray_errmsg(), c) ||
	    strchr(dray_errmsg(), '\n'))
		fail_msg("not all of '%s', '%s', '%s' in: %s", a, b, c, dray_errmsg());
}

struct result {
	int calls, err;
	uint16_t status;
};

static void note(void *ctx, int err, uint16_t status)
{
	struct result *r = ctx;

	r->calls++;
	r->err = err;
	r->status = status;
}

static void a_range_outside_the_namespace_fails_alone(void **state)
{
	unsigned char *mem = stack_pages(4096);
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_read(q, 2048, mem, 512), -ERANGE);
	said("LBA Out of Range", "LBA 2048", "identify");
	/* The last block is inside, one more is not; nor is an address that would wrap. */
	assert_int_equal(nvme_read(q, 2047, mem, 512), 0);
	assert_int_equal(nvme_write(q, 2047, mem, 1024), -ERANGE);
	assert_int_equal(nvme_read(q, UINT64_MAX, mem, 1024), -ERANGE);
	assert_int_equal(nvme_read(q, 0, mem, 512), 0);
	free(mem);
}

/* The model holds the command while its buffer goes away: the IOMMU must keep it off. */
static void a_read_into_an_unmapped_buffer_leaves_it_untouched(void **state)
{
	unsigned char *mem = stack_pages(8192);
	struct result r = {0};
	struct dray_sim_fault f;
	struct nvme_queue *q;
	dray_iova_t iova;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	memset(mem, 0x77, 8192);
	nvme_model_hold(s.model, true);
	assert_int_equal(nvme_submit(q, NVME_IO_READ, 0, mem, 8192, note, &r), 0);
	stack_await_fetched(&s, 1);
	iova = q->slots[0].map.iova;
	assert_true(iova != 0);
	dray_unmap(s.dev, &q->slots[0].map);
	nvme_model_hold(s.model, false);
	while (!r.calls)
		assert_true(nvme_poll(q) >= 0);
	assert_int_equal(r.err, -EIO);
	assert_int_equal(r.status, NVME_DATA_TRANSFER);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(mem[i], 0x77);
	assert_int_equal(dray_sim_faults(s.dev, &f, 1), 1);
	assert_true(f.iova == iova);
	assert_int_equal(f.access, DRAY_SIM_WRITE);
	/* The controller is fine. */
	assert_int_equal(nvme_read(q, 0, mem, 512), 0);
	assert_int_equal(mem[9], stack_pattern(9));
	free(mem);
}

static void a_write_from_an_unmapped_buffer_changes_nothing(void **state)
{
	unsigned char *mem = stack_pages(4096), got[4096];
	struct result r = {0};
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	nvme_model_hold(s.model, true);
	assert_int_equal(nvme_submit(q, NVME_IO_WRITE, 0, mem, 4096, note, &r), 0);
	stack_await_fetched(&s, 1);
	dray_unmap(s.dev, &q->slots[0].map);
	nvme_model_hold(s.model, false);
	while (!r.calls)
		assert_true(nvme_poll(q) >= 0);
	assert_int_equal(r.status, NVME_DATA_TRANSFER);
	stack_image_read(&s, 0, got, sizeof(got));
	for (unsigned i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], stack_pattern(i));
	free(mem);
}

/* What is being stored is not the controller's to change. */
static void a_buffer_being_written_is_read_only_for_the_device(void **state)
{
	unsigned char *mem = stack_pages(4096);
	struct result r = {0};
	struct dray_sim_fault f;
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	nvme_model_hold(s.model, true);
	assert_int_equal(nvme_submit(q, NVME_IO_WRITE, 0, mem, 4096, note, &r), 0);
	assert_int_equal(dray_sim_write(s.dev, q->slots[0].map.iova, "x", 1), -EFAULT);
	assert_int_equal(mem[0], 0);
	assert_int_equal(dray_sim_faults(s.dev, &f, 1), 1);
	assert_int_equal(f.reason, DRAY_SIM_FAULT_PERMISSION);
	nvme_model_hold(s.model, false);
	while (!r.calls)
		assert_true(nvme_poll(q) >= 0);
	assert_int_equal(r.err, 0);
	free(mem);
}

static void a_dropped_command_times_out_and_stops_the_controller(void **state)
{
	const struct nvme_opts no = {.queues = 2, .timeout_ms = 60000};
	unsigned char *mem = stack_pages(3 * 512);
	struct result dropped = {0}, held = {0}, other = {0};
	struct nvme_queue *q0, *q1;

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	q0 = nvme_get_queue(s.ctrl, 0);
	q1 = nvme_get_queue(s.ctrl, 1);
	nvme_model_hold(s.model, true);
	nvme_model_drop(s.model, 1);
	assert_int_equal(nvme_submit(q0, NVME_IO_READ, 5, mem, 512, note, &dropped), 0);
	stack_await_fetched(&s, 1);
	assert_int_equal(nvme_submit(q0, NVME_IO_READ, 6, mem + 512, 512, note, &held), 0);
	assert_int_equal(nvme_submit(q1, NVME_IO_READ, 7, mem + 1024, 512, note, &other), 0);
	stack_await_fetched(&s, 3);
	stack_jump_ms(30000);
	assert_int_equal(nvme_poll(q0), 0);
	stack_jump_ms(31000);
	assert_int_equal(nvme_poll(q0), -ETIMEDOUT);
	said("read (opcode 0x2, queue 1, command", "60000 ms", "check the device");
	/* Everything of this queue was called back once, the other queue's is when it is polled. */
	assert_int_equal(dropped.calls, 1);
	assert_int_equal(dropped.err, -ETIMEDOUT);
	assert_int_equal(dropped.status, NVME_NO_STATUS);
	assert_int_equal(held.calls, 1);
	assert_int_equal(other.calls, 0);
	assert_int_equal(nvme_poll(q1), -ETIMEDOUT);
	assert_int_equal(other.calls, 1);
	assert_int_equal(other.err, -ETIMEDOUT);
	/* It is stopped: nothing is submitted, nothing is reached. */
	assert_int_equal(nvme_read(q1, 0, mem, 512), -ETIMEDOUT);
	assert_int_equal(nvme_flush(q0), -ETIMEDOUT);
	said("queue 1", "60000 ms", "controller stopped");
	nvme_model_hold(s.model, false);
	assert_int_equal(nvme_read32(s.bar, NVME_REG_CSTS) & NVME_CSTS_RDY, 0);
	for (unsigned i = 0; i < 3 * 512; i++)
		assert_int_equal(mem[i], 0);
	free(mem);
}

/* A queue pair made by hand, whose memory the test can take away. */
struct pair {
	unsigned char *sq, *cq;
	struct dray_mapping sq_map, cq_map;
};

static void make_pair(struct pair *p, unsigned id)
{
	struct nvme_cmd cq = {.opcode = NVME_ADMIN_CREATE_CQ};
	struct nvme_cmd sq = {.opcode = NVME_ADMIN_CREATE_SQ};

	p->sq = stack_pages(NVME_PAGE);
	p->cq = stack_pages(NVME_PAGE);
	assert_int_equal(dray_map(s.dev, p->sq, NVME_PAGE, DRAY_BIDIRECTIONAL, 0, &p->sq_map), 0);
	assert_int_equal(dray_map(s.dev, p->cq, NVME_PAGE, DRAY_BIDIRECTIONAL, 0, &p->cq_map), 0);
	cq.prp1 = nvme_to_le64(p->cq_map.iova);
	sq.prp1 = nvme_to_le64(p->sq_map.iova);
	cq.cdw10 = sq.cdw10 = nvme_to_le32(7u << 16 | id);
	cq.cdw11 = nvme_to_le32(NVME_QUEUE_PC);
	sq.cdw11 = nvme_to_le32(id << 16 | NVME_QUEUE_PC);
	assert_int_equal(nvme_admin(s.ctrl, &cq, NULL), 0);
	assert_int_equal(nvme_admin(s.ctrl, &sq, NULL), 0);
}

static void ring_flush(struct pair *p, unsigned id)
{
	struct nvme_cmd cmd = {.opcode = NVME_IO_FLUSH, .nsid = nvme_to_le32(1)};

	memcpy(p->sq, &cmd, sizeof(cmd));
	nvme_write32(s.bar, nvme_sq_doorbell(id, 0), 1);
}

static void close_pair(struct pair *p)
{
	dray_unmap(s.dev, &p->sq_map);
	dray_unmap(s.dev, &p->cq_map);
	free(p->sq);
	free(p->cq);
}

/* Poll until the driver sees that the controller has failed. */
static void await_fatal(struct nvme_queue *q)
{
	int rc;

	while ((rc = nvme_poll(q)) >= 0)
		sched_yield();
	assert_int_equal(rc, -EIO);
	said("fatal", "CSTS 0x3", "open it again");
}

static void controller_dies(bool completion_queue)
{
	unsigned char *mem = stack_pages(512), zero[NVME_PAGE] = {0};
	struct pair p;
	struct nvme_queue *q;
	struct nvme_cmd cmd = {.opcode = NVME_ADMIN_ABORT};

	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	make_pair(&p, 9);
	dray_unmap(s.dev, completion_queue ? &p.cq_map : &p.sq_map);
	ring_flush(&p, 9);
	await_fatal(q);
	/* Every call says so now. */
	assert_int_equal(nvme_read(q, 0, mem, 512), -EIO);
	assert_int_equal(nvme_flush(q), -EIO);
	assert_int_equal(nvme_admin(s.ctrl, &cmd, NULL), -EIO);
	said("fatal", "CSTS", "open it again");
	assert_memory_equal(p.cq, zero, NVME_PAGE);
	/* A new start brings it back. */
	nvme_close(s.ctrl);
	s.ctrl = NULL;
	stack_driver(&s, NULL);
	assert_int_equal(nvme_read(nvme_get_queue(s.ctrl, 0), 3, mem, 512), 0);
	assert_int_equal(mem[7], stack_pattern(3 * 512 + 7));
	close_pair(&p);
	free(mem);
}

static void an_unmapped_completion_queue_is_fatal(void **state)
{
	(void)state;
	controller_dies(true);
}

static void an_unmapped_submission_queue_is_fatal(void **state)
{
	(void)state;
	controller_dies(false);
}

static void a_pair_made_by_hand_works_while_mapped(void **state)
{
	struct nvme_cqe *cqe;
	struct pair p;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	make_pair(&p, 9);
	ring_flush(&p, 9);
	cqe = (struct nvme_cqe *)p.cq;
	while (!(__atomic_load_n(&cqe->cid_status.raw, __ATOMIC_ACQUIRE) &
		 nvme_to_le32(NVME_CQE_PHASE).raw))
		sched_yield();
	assert_int_equal(NVME_CQE_STATUS(nvme_from_le32(cqe->cid_status)), NVME_OK);
	assert_int_equal(nvme_from_le16(cqe->sq_id), 9);
	assert_int_equal(nvme_from_le16(cqe->sq_head), 1);
	close_pair(&p);
}

static void a_completion_of_nothing_is_fatal(void **state)
{
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	q = nvme_get_queue(s.ctrl, 0);
	/* What a confused controller would write. */
	q->cq[0].cid_status = nvme_to_le32(NVME_CQE_PHASE | 3);
	assert_int_equal(nvme_poll(q), -EPROTO);
	said("queue 1", "command 3", "not out");
	assert_int_equal(nvme_flush(q), -EPROTO);
}

static void closing_calls_back_what_is_out(void **state)
{
	unsigned char *mem = stack_pages(512);
	struct result r = {0};
	struct nvme_queue *q;

	(void)state;
	stack_open(&s, MIB, NULL, NULL);
	nvme_model_hold(s.model, true);
	q = nvme_get_queue(s.ctrl, 0);
	assert_int_equal(nvme_submit(q, NVME_IO_READ, 0, mem, 512, note, &r), 0);
	stack_await_fetched(&s, 1);
	nvme_close(s.ctrl);
	s.ctrl = NULL;
	assert_int_equal(r.calls, 1);
	assert_int_equal(r.err, -ECANCELED);
	nvme_model_hold(s.model, false);
	assert_int_equal(mem[0], 0);
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_range_outside_the_namespace_fails_alone, close_stack),
		cmocka_unit_test_teardown(a_read_into_an_unmapped_buffer_leaves_it_untouched,
					  close_stack),
		cmocka_unit_test_teardown(a_write_from_an_unmapped_buffer_changes_nothing,
					  close_stack),
		cmocka_unit_test_teardown(a_buffer_being_written_is_read_only_for_the_device,
					  close_stack),
		cmocka_unit_test_teardown(a_dropped_command_times_out_and_stops_the_controller,
					  close_stack),
		cmocka_unit_test_teardown(a_pair_made_by_hand_works_while_mapped, close_stack),
		cmocka_unit_test_teardown(an_unmapped_completion_queue_is_fatal, close_stack),
		cmocka_unit_test_teardown(an_unmapped_submission_queue_is_fatal, close_stack),
		cmocka_unit_test_teardown(a_completion_of_nothing_is_fatal, close_stack),
		cmocka_unit_test_teardown(closing_calls_back_what_is_out, close_stack),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}
