/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside the driver: the controller and its queues. ctrl.c tells how they work together. */
#ifndef NVME_CTRL_H
#define NVME_CTRL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "nvme/nvme.h"

#define NVME_DEAD_MSG 256

/* Most bytes of one command that the driver builds lists for, to bound what it keeps mapped. */
#define NVME_TRANSFER_MAX ((size_t)16 << 20)
/* List pages of such a command: 4097 pages at the worst offset, 511 to a list page. */
#define NVME_LISTS_MAX 9u

/* One command that is out, or room for one; guarded like its queue. */
struct nvme_slot {
	struct dray_mapping map; /* of the buffer; zero where the command has none */
	struct dray_sg *sg;      /* ctrl->iov elements, constant; NULL without vectors */
	unsigned n_sg;           /* elements of the vector; 0: there is none */
	bool sg_mapped;          /* the vector, by dray_map_sg() */
	bool copied;             /* the vector's bytes are in the slot's own memory, in @map */
	nvme_done_fn done;
	void *ctx;
	uint64_t lba, deadline_ns;
	uint32_t blocks, result; /* result: first word of the completion */
	uint16_t next_free;
	uint8_t opcode;
	bool busy;
};

/*
 * A submission and completion queue pair. One thread at a time uses it, and that use guards every
 * field that is not constant; the admin queue's is ctrl->admin_lock.
 */
struct nvme_queue {
	struct nvme_ctrl *ctrl;  /* constant, as everything up to @slots */
	unsigned id, entries;    /* one slot fewer than entries: a full ring would look empty */
	unsigned depth;
	struct nvme_cmd *sq;     /* written by the driver only */
	struct nvme_cqe *cq;     /* written by the controller only */
	unsigned char *lists;    /* depth times ctrl->list_pages pages, for PRP and SGL */
	struct dray_mapping sq_map, cq_map, list_map;
	struct nvme_slot *slots; /* depth; index is the command id */
	struct dray_sg *sg;      /* of all slots; NULL without vectors */
	unsigned char *stage;    /* max_transfer bytes per slot; NULL if nothing needs a copy */
	unsigned sq_tail, cq_head;
	uint32_t phase;          /* NVME_CQE_PHASE or 0: what a new completion carries */
	unsigned busy;
	uint16_t free;           /* first free slot; depth is none */
	uint32_t polls;
	uint64_t checked_ns;     /* when status and deadlines were last looked at */
	struct nvme_hist *map_ns, *unmap_ns;
	struct nvme_ways ways;
};

struct nvme_ctrl {
	struct dray_device *dev; /* constant, as everything up to @io */
	void *bar;
	unsigned dstrd;
	size_t page;             /* CC.MPS, bytes */
	size_t list_pages;       /* PRP or SGL list pages per slot, at most NVME_LISTS_MAX */
	unsigned iov;            /* elements of a vector; 0: there are none */
	uint32_t ready_ms;       /* CAP.TO */
	uint64_t timeout_ns;
	struct nvme_info info;
	struct nvme_queue *admin;
	struct nvme_queue **io;  /* info.queues */
	pthread_mutex_t admin_lock; /* the admin queue and @id_page; outside fail_lock */
	void *id_page;
	struct dray_mapping id_map;
	pthread_mutex_t fail_lock; /* innermost: the failure's first writer, CC after open */
	char dead_msg[NVME_DEAD_MSG]; /* constant once @dead is not 0 */
	_Atomic int dead;        /* positive errno; stored with release after dead_msg */
};

/* reset.c: enable bits and what waits for them */
/* CC.EN to 0 and CSTS.RDY to 0, within CAP.TO. */
int nvme_disable(struct nvme_ctrl *ctrl);
/* AQA, ASQ, ACQ, then CC.EN to 1 and CSTS.RDY to 1, within CAP.TO. */
int nvme_enable(struct nvme_ctrl *ctrl);
/* Tell the controller to write back its caches, and wait for it. */
void nvme_shutdown(struct nvme_ctrl *ctrl);

/* ctrl.c */
/* 0, or -errno with the message of the failure that stopped the controller. */
int nvme_check_dead(struct nvme_ctrl *ctrl);
/* Stop the controller for good: the first caller's reason stays. Returns its -errno. */
int nvme_ctrl_fail(struct nvme_ctrl *ctrl, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* queue.c */
int nvme_queue_open(struct nvme_ctrl *ctrl, unsigned id, unsigned entries, size_t list_pages,
		    struct nvme_queue **ret_q);
/* Cancels what is out. NULL is fine. */
void nvme_queue_close(struct nvme_queue *q);
/* A free slot, not yet busy; -EAGAIN. */
int nvme_slot_peek(struct nvme_queue *q, unsigned *ret_slot);
/* Make the peeked slot busy with @cmd and ring; nothing can fail any more. */
void nvme_slot_post(struct nvme_queue *q, unsigned slot, struct nvme_cmd *cmd, nvme_done_fn done,
		    void *ctx);
/* The slot's own list pages, ctrl->list_pages of them. */
void nvme_slot_lists(struct nvme_queue *q, unsigned slot, struct dray_nvme_list *ret_lists);
/* PRP entries for @len bytes from the start of @sg, in @cmd and the slot's list pages. */
int nvme_slot_prp(struct nvme_queue *q, unsigned slot, const struct dray_sg *sg, unsigned nsegs,
		  size_t len, struct nvme_cmd *cmd);
/* Poll until *done; a dead controller cancels everything, so it ends. */
void nvme_wait(struct nvme_queue *q, const bool *done);

/* io.c */
/* What would make an ill-formed command of @len bytes is refused: -EINVAL. */
int nvme_check_io(const struct nvme_info *info, enum nvme_io_opcode op, size_t len);
/* Post the read or write that was peeked, mapped and described; nothing can fail any more. */
void nvme_post_io(struct nvme_queue *q, unsigned slot, struct nvme_cmd *cmd, uint64_t lba,
		  size_t len, nvme_done_fn done, void *ctx);
/* A slot, for a caller that rather waits than gets -EAGAIN; then wait for its own callback. */
struct nvme_waiter {
	bool done;
	int err;
	char why[NVME_DEAD_MSG * 2];
};
void nvme_make_room(struct nvme_queue *q);
void nvme_wake(void *ctx, int err, uint16_t status);
int nvme_wait_for(struct nvme_queue *q, struct nvme_waiter *w);

/* iov.c */
/* The command is done: unmap its vector, and bring a copy of what was read to where it belongs. */
void nvme_vector_unmap(struct nvme_queue *q, struct nvme_slot *s);
void nvme_vector_end(struct nvme_queue *q, struct nvme_slot *s, int err);

/* admin.c */
int nvme_create_pair(struct nvme_ctrl *ctrl, const struct nvme_queue *q);
int nvme_set_queues(struct nvme_ctrl *ctrl, unsigned wanted, unsigned *ret_granted);
int nvme_read_info(struct nvme_ctrl *ctrl, uint32_t nsid);

#endif
