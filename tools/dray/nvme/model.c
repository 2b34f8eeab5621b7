// SPDX-License-Identifier: BSD-2-Clause
/*
 * A controller in a thread
 *
 * Concepts
 * 1. The model is hardware: the driver and it share one page of registers and what the driver put
 *    into memory, nothing else. It has no pointer into the driver, and reaches memory only by
 *    dray_sim_read() and dray_sim_write(), so by the software IOMMU, with the IOVAs that it finds
 *    in registers, queue entries and lists. Memory that is not mapped for its device faults.
 * 2. Registers are 32-bit words in a page of their own, doorbells in the next. The driver writes
 *    CC, the admin queue registers and doorbells; the model writes CSTS, and zeroes doorbells of
 *    queues that begin. Nobody traps a write: the model looks at all of them again and again, and
 *    acts on what has changed.
 *
 * How it works: one loop. Look at CC (enable, disable, shut down); while running, fetch commands
 * (model_queue.c), execute admin ones (model_admin.c) at once and I/O ones (model_io.c) when they
 * are due, move their data through PRP (model_prp.c) or scatter-gather lists (model_sgl.c) from
 * and to the image (model_image.c).
 *
 * Idleness
 * 3. It polls, and the driver polls, perhaps on the same two CPUs. So a loop that found nothing
 *    first spins a little, then yields, and after about a millisecond sleeps between looks. With
 *    work that only waits for its time it yields and does not sleep.
 *
 * Locking and ordering
 * 4. Everything but the registers and the few atomics for tests belongs to the thread. A register
 *    is read with acquire and written with release (mmio.h): a doorbell shows the queue entries
 *    stored before it, CSTS.RDY shows the zeroed doorbells.
 *
 *             | driver                        | model
 *    CC       | writes                        | reads; a change from last time is the event
 *    CSTS     | reads                         | writes
 *    doorbell | writes after its queue exists | zeroes before its queue exists, then reads
 *    memory   | by pointer                    | by IOVA; order by doorbell and phase
 *
 * What can fail: the image and memory for the model, at the start. Later, a queue that cannot be
 * reached: CSTS.CFS, and nothing moves until the driver resets. Stopping always succeeds.
 */
#include "nvme/model.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "nvme/mmio.h"
#include "nvme/model_priv.h"
#include "nvme/regs.h"

#define DEFAULT_QUEUES  16u
#define DEFAULT_ENTRIES 1024u
/* Doorbells of so many queues fit into the one page behind the registers, with some to spare. */
#define QUEUES_MAX 255u

/* Loops without work: so many on the CPU (some 10 us), then so many yields (about 1 ms). */
#define SPINS  200u
#define YIELDS 2000u
/* How long a sleep then lasts: who was idle for a millisecond can wait as long as this. */
#define SLEEP_NS 50000

static void reset(struct nvme_model *m)
{
	m->n_work = 0;
	m->running = m->fatal = false;
	for (unsigned id = 0; id <= m->queues; id++) {
		m->sq[id].live = m->cq[id].live = false;
		nvme_write32(m->bar, nvme_sq_doorbell(id, 0), 0);
		nvme_write32(m->bar, nvme_cq_doorbell(id, 0), 0);
	}
	nvme_write32(m->bar, NVME_REG_CSTS, 0);
}

static void enable(struct nvme_model *m, uint32_t cc)
{
	uint32_t aqa = nvme_read32(m->bar, NVME_REG_AQA);
	unsigned sq_entries = (aqa & 0xfff) + 1, cq_entries = (aqa >> 16 & 0xfff) + 1;
	uint64_t asq = nvme_read64(m->bar, NVME_REG_ASQ), acq = nvme_read64(m->bar, NVME_REG_ACQ);

	m->running = true;
	/* Page size, command set, arbitration and entry sizes that CAP offers: only the first. */
	if (NVME_CC_MPS(cc) || NVME_CC_CSS(cc) || NVME_CC_AMS(cc) || NVME_CC_IOSQES(cc) != 6 ||
	    NVME_CC_IOCQES(cc) != 4 || sq_entries < 2 || cq_entries < 2 || asq % NVME_PAGE ||
	    acq % NVME_PAGE) {
		model_set_fatal(m);
		return;
	}
	m->sq[0] = (struct model_sq){.live = true, .entries = sq_entries, .base = asq};
	m->cq[0] = (struct model_cq){
		.live = true, .entries = cq_entries, .phase = NVME_CQE_PHASE, .base = acq};
	nvme_write32(m->bar, NVME_REG_CSTS, NVME_CSTS_RDY);
}

/* Act on what the driver did to CC since the last look. */
static unsigned look_at_cc(struct nvme_model *m)
{
	uint32_t cc = nvme_read32(m->bar, NVME_REG_CC), changed = cc ^ m->cc;

	if (!changed)
		return 0;
	m->cc = cc;
	if (changed & NVME_CC_EN) {
		if (cc & NVME_CC_EN)
			enable(m, cc);
		else
			reset(m);
	}
	if ((changed & NVME_CC_SHN_MASK) && (cc & NVME_CC_SHN_MASK)) {
		/* An image that cannot be synced is reported by flush; shutdown has no status. */
		(void)fdatasync(m->fd);
		nvme_write32(m->bar, NVME_REG_CSTS,
			     nvme_read32(m->bar, NVME_REG_CSTS) | NVME_CSTS_SHST_DONE);
	}
	return 1;
}

static void rest(struct nvme_model *m, unsigned idle)
{
	bool waiting = m->n_work && !atomic_load_explicit(&m->hold, memory_order_relaxed);

	if (idle < SPINS)
		return;
	if (idle < YIELDS || (waiting && !m->fatal))
		sched_yield();
	else
		nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
}

static void *run(void *arg)
{
	struct nvme_model *m = arg;
	unsigned idle = 0;

	while (!atomic_load_explicit(&m->stop, memory_order_relaxed)) {
		unsigned n = look_at_cc(m);

		if (m->running && !m->fatal)
			n += model_fetch(m) + model_execute(m);
		idle = n ? 0 : idle < YIELDS ? idle + 1 : YIELDS;
		rest(m, idle);
	}
	return NULL;
}

/* Signals are the program's, not the hardware's. */
static int start_thread(struct nvme_model *m)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return dr_fail(err, "the controller model has no thread: %s; raise `ulimit -u`",
			       strerror(err));
	return 0;
}

static int check_opts(const struct nvme_model_opts *o)
{
	if (!o || !o->image)
		return dr_fail(EINVAL, "no image was named; give the model a file");
	if (o->block && (o->block < 512 || o->block > NVME_PAGE || !dr_is_pow2(o->block)))
		return dr_fail(EINVAL, "blocks of %u bytes were asked for; use 512 or 4096",
			       o->block);
	if (o->queues > QUEUES_MAX)
		return dr_fail(EINVAL, "%u queues were asked for; the model has at most %u",
			       o->queues, QUEUES_MAX);
	if (o->max_entries && (o->max_entries < 2 || o->max_entries > 65536))
		return dr_fail(EINVAL, "rings of %u entries were asked for; use 2 to 65536",
			       o->max_entries);
	if (o->mdts > 16)
		return dr_fail(EINVAL, "MDTS %u was asked for; use 0 to 16", o->mdts);
	if (o->create_bytes % (o->block ? o->block : 512))
		return dr_fail(EINVAL, "an image of %llu bytes is not whole blocks of %u; round up",
			       (unsigned long long)o->create_bytes, o->block ? o->block : 512);
	return 0;
}

static void fill_registers(struct nvme_model *m)
{
	/* Memory pages of 4096 bytes only; ready within 5 s however busy the machine is. */
	uint64_t cap = (m->max_entries - 1) | NVME_CAP_CQR | UINT64_C(10) << 24 | NVME_CAP_CSS_NVM;

	nvme_write64(m->bar, NVME_REG_CAP, cap);
	nvme_write32(m->bar, NVME_REG_VS, 0x10400);
}

int nvme_model_start(struct dray_device *dev, const struct nvme_model_opts *opts,
		     struct nvme_model **ret_model)
{
	struct nvme_model *m;
	int rc = check_opts(opts);

	if (rc)
		return rc;
	m = dr_alloc(sizeof(*m));
	if (!m)
		return dr_fail(ENOMEM, "no memory for a controller model; free some");
	m->dev = dev;
	m->block = opts->block ? opts->block : 512;
	m->latency_us = opts->latency_us;
	m->queues = opts->queues ? opts->queues : DEFAULT_QUEUES;
	m->max_entries = opts->max_entries ? opts->max_entries : DEFAULT_ENTRIES;
	m->mdts = opts->mdts;
	m->sgls = opts->no_sgl ? 0 : opts->sgl_words ? NVME_SGLS_WORDS : NVME_SGLS_BYTES;
	m->reorder = opts->reorder;
	m->random = opts->seed ? opts->seed : 1;
	for (unsigned i = 0; i < MODEL_WORK; i++)
		m->order[i] = (uint16_t)i;
	m->bar_len = 2 * NVME_PAGE;
	m->bar = dr_hooks->alloc(m->bar_len, NVME_PAGE);
	m->sq = dr_alloc((m->queues + 1) * sizeof(*m->sq));
	m->cq = dr_alloc((m->queues + 1) * sizeof(*m->cq));
	if (!m->bar || !m->sq || !m->cq) {
		rc = dr_fail(ENOMEM, "no memory for %u model queues; ask for fewer", m->queues);
		goto fail;
	}
	fill_registers(m);
	rc = model_image_open(m, opts);
	if (rc)
		goto fail;
	rc = start_thread(m);
	if (rc) {
		model_image_close(m);
		goto fail;
	}
	*ret_model = m;
	return 0;
fail:
	dr_free(m->cq);
	dr_free(m->sq);
	dr_free(m->bar);
	dr_free(m);
	return rc;
}

void nvme_model_stop(struct nvme_model *m)
{
	if (!m)
		return;
	atomic_store_explicit(&m->stop, true, memory_order_relaxed);
	pthread_join(m->thread, NULL);
	model_image_close(m);
	dr_free(m->cq);
	dr_free(m->sq);
	dr_free(m->bar);
	dr_free(m);
}

void *nvme_model_bar(struct nvme_model *m, size_t *ret_len)
{
	*ret_len = m->bar_len;
	return m->bar;
}

uint64_t nvme_model_bytes(const struct nvme_model *m)
{
	return m->bytes;
}

void nvme_model_hold(struct nvme_model *m, bool hold)
{
	atomic_store_explicit(&m->hold, hold, memory_order_relaxed);
}

void nvme_model_drop(struct nvme_model *m, unsigned n)
{
	atomic_store_explicit(&m->drop, n, memory_order_relaxed);
}

void nvme_model_lie(struct nvme_model *m, unsigned n)
{
	atomic_store_explicit(&m->lie, n, memory_order_relaxed);
}

uint64_t nvme_model_fetched(const struct nvme_model *m)
{
	return atomic_load_explicit(&m->fetched, memory_order_relaxed);
}
