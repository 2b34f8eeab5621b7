/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A polled NVMe driver over a dray device: what a program sees of it. ctrl.c tells how it works.
 *
 * Every call returns 0, a count, or -errno with dray_errmsg() naming cause and fix. A queue is used
 * by one thread at a time; different queues may be used by different threads at once. Completions
 * are delivered by nvme_poll() in the thread that calls it; a completion callback may submit, and
 * may not poll.
 */
#ifndef NVME_NVME_H
#define NVME_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <dray/dray.h>

#include "nvme/hist.h"
#include "nvme/spec.h"

struct nvme_ctrl;
struct nvme_queue;

/* Zero means default in every field. */
struct nvme_opts {
	unsigned queues;     /* I/O queue pairs wanted; 1. The controller may grant fewer. */
	unsigned depth;      /* commands in flight per queue; 32. Limited by the controller. */
	size_t max_transfer; /* most bytes of one command; 1 MiB. Limited by the controller. */
	uint32_t timeout_ms; /* longest life of a command; 10000 */
	uint32_t nsid;       /* namespace; the first active one */
	unsigned iov;        /* most elements of an nvme_submitv(), to NVME_IOV_MAX; 0: it is not used */
	bool no_sgl;         /* leave scatter-gather lists alone even if the controller has them */
};

/* As many descriptors fit into the one list page that every slot then has. */
#define NVME_IOV_MAX 256u

/* How vectors went, since the queue was opened. */
struct nvme_ways {
	uint64_t prp, sgl; /* mapped as they were */
	uint64_t copied;   /* through memory of the driver's, because neither could describe them */
	uint64_t elements;
};

/* What the controller is; constant while it is open. */
struct nvme_info {
	char serial[21], model[41], firmware[9];
	uint16_t vendor;
	uint32_t version;        /* major << 16 | minor << 8 | tertiary */
	uint32_t nsid, namespaces;
	uint64_t blocks;         /* of the namespace */
	uint32_t block;          /* bytes of one block */
	bool volatile_cache;     /* a flush has something to do */
	size_t max_transfer;     /* most bytes of one command: the least of all limits */
	uint64_t mdts;           /* the controller's own limit in bytes; 0 none */
	unsigned queues, depth;  /* as granted */
	uint32_t max_entries;    /* of a queue, by the controller */
	size_t sgl_align;        /* of scatter-gather lists, 1 or 4; 0: the controller has none */
};

/* @bar: the register page, @bar_len bytes: a VFIO BAR (vfio_bar.h) or a model's (model.h). */
int nvme_open(struct dray_device *dev, void *bar, size_t bar_len, const struct nvme_opts *opts,
	      struct nvme_ctrl **ret_ctrl);
/* No queue is in use. Commands still out are cancelled, their callbacks called. NULL is fine. */
void nvme_close(struct nvme_ctrl *ctrl);

const struct nvme_info *nvme_get_info(const struct nvme_ctrl *ctrl);
/* I/O queue @i of info->queues. */
struct nvme_queue *nvme_get_queue(struct nvme_ctrl *ctrl, unsigned i);

/*
 * @err: 0 or -errno, with dray_errmsg() set; -ECANCELED or the controller's failure for a command
 * that never completed, with @status NVME_NO_STATUS. The buffer is unmapped by then.
 */
typedef void (*nvme_done_fn)(void *ctx, int err, uint16_t status);

/*
 * Start a read or write of whole blocks between @lba and @buf, mapped for this command and unmapped
 * at its completion. @buf is aligned to 4 bytes, unless the device was opened with that as its
 * min_align: then one that is not bounces. -EAGAIN: the queue is full; poll first.
 */
int nvme_submit(struct nvme_queue *q, enum nvme_io_opcode op, uint64_t lba, void *buf, size_t len,
		nvme_done_fn done, void *ctx);
/*
 * As nvme_submit(), between @lba and the bytes of @n buffers of any address and length, together
 * whole blocks. They go by PRP entries, a scatter-gather list, or a copy: whichever describes them
 * first. @iov is not needed afterwards, what it names is.
 */
int nvme_submitv(struct nvme_queue *q, enum nvme_io_opcode op, uint64_t lba,
		 const struct iovec *iov, unsigned n, nvme_done_fn done, void *ctx);
/* Start a flush. */
int nvme_submit_flush(struct nvme_queue *q, nvme_done_fn done, void *ctx);

/* Deliver completions, without waiting. How many; -errno when the controller has failed. */
int nvme_poll(struct nvme_queue *q);
/* Commands that nvme_submit() would take now, and commands that are out. */
unsigned nvme_queue_room(const struct nvme_queue *q);
unsigned nvme_queue_busy(const struct nvme_queue *q);
/* Let another thread run: for a poll that brought nothing. */
void nvme_idle(void);

/* Submit and poll until done. Other completions of the queue are delivered meanwhile. */
int nvme_read(struct nvme_queue *q, uint64_t lba, void *buf, size_t len);
int nvme_write(struct nvme_queue *q, uint64_t lba, const void *buf, size_t len);
int nvme_flush(struct nvme_queue *q);
int nvme_readv(struct nvme_queue *q, uint64_t lba, const struct iovec *iov, unsigned n);
int nvme_writev(struct nvme_queue *q, uint64_t lba, const struct iovec *iov, unsigned n);
struct nvme_ways nvme_queue_ways(const struct nvme_queue *q);

/* From now on record what each dray_map() and dray_unmap() of this queue takes; NULL is not. */
void nvme_queue_record(struct nvme_queue *q, struct nvme_hist *map_ns, struct nvme_hist *unmap_ns);

/*
 * One admin command, waited for; any thread. The command id is filled in; memory it names was
 * mapped by the caller.
 */
int nvme_admin(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd, uint32_t *ret_result);
/* One identify page of NVME_PAGE bytes. */
int nvme_identify(struct nvme_ctrl *ctrl, uint32_t cns, uint32_t nsid, void *ret_page);

#endif
