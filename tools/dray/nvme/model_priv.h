/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside the controller model. Everything not said otherwise belongs to the model's thread. */
#ifndef NVME_MODEL_PRIV_H
#define NVME_MODEL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "nvme/model.h"
#include "nvme/spec.h"

/* More commands than two queues of the tools' largest depth; a full table just stops fetching. */
#define MODEL_WORK 1024u
/* Data moves between memory and image in pieces of this many bytes at most. */
#define MODEL_STAGE 65536u

struct model_sq {
	bool live;
	unsigned entries, head, cqid;
	dray_iova_t base;
};

struct model_cq {
	bool live;
	unsigned entries, tail, sqs; /* sqs: submission queues that complete here */
	uint32_t phase;
	dray_iova_t base;
};

/* An I/O command that was fetched and not completed. */
struct model_work {
	struct nvme_cmd cmd;
	uint64_t due_ns;
	unsigned sqid;
};

struct nvme_model {
	struct dray_device *dev; /* constant, as everything up to @thread */
	void *bar;               /* its words are atomics: mmio.h */
	size_t bar_len;
	int fd;
	uint64_t bytes, blocks;
	uint32_t block, latency_us;
	unsigned queues, max_entries;
	uint8_t mdts, sgls;      /* sgls: NVME_SGLS_*, or 0 */
	bool reorder;
	pthread_t thread;
	_Atomic bool stop, hold;  /* written by any thread; nothing is ordered by them */
	_Atomic unsigned drop, lie; /* likewise */
	_Atomic uint64_t fetched; /* written by the model's thread only */
	uint64_t random;
	uint32_t cc;              /* as last seen */
	bool running, fatal;
	struct model_sq *sq;      /* queues + 1; 0 is the admin queue */
	struct model_cq *cq;
	struct model_work work[MODEL_WORK];
	uint16_t order[MODEL_WORK]; /* indexes of @work: the first n_work live, oldest first */
	unsigned n_work;
	unsigned char stage[MODEL_STAGE];
};

/* model_image.c: 0, or -errno with the message set. Sets fd, bytes, blocks. */
int model_image_open(struct nvme_model *m, const struct nvme_model_opts *opts);
void model_image_close(struct nvme_model *m);
/* All of it; 0 or -errno. */
int model_image_read(struct nvme_model *m, uint64_t off, void *buf, size_t len);
int model_image_write(struct nvme_model *m, uint64_t off, const void *buf, size_t len);

/* model_queue.c */
/* Move what the doorbells announce into work, admin commands straight to their execution. */
unsigned model_fetch(struct nvme_model *m);
/* Can this submission queue's completion be written now? */
bool model_can_complete(struct nvme_model *m, unsigned sqid);
void model_complete(struct nvme_model *m, unsigned sqid, const struct nvme_cmd *cmd,
		    uint16_t status, uint32_t result);
/* Forget the commands of a submission queue that goes away. */
void model_forget(struct nvme_model *m, unsigned sqid);
/* Execute one piece of work that is due. How many were. */
unsigned model_execute(struct nvme_model *m);
/* CSTS.CFS, and nothing more until the next reset. */
void model_set_fatal(struct nvme_model *m);

/* Execute a command: its status. */
uint16_t model_admin(struct nvme_model *m, const struct nvme_cmd *cmd, uint32_t *ret_result);
uint16_t model_io(struct nvme_model *m, const struct nvme_cmd *cmd);

/* model_sgl.c, model_prp.c: walk a command's buffer */
struct model_prp {
	struct nvme_model *m;
	uint64_t next, list;  /* where in the current page; the next list page */
	size_t in_page, left; /* bytes left in the current page, and in the buffer */
	unsigned at, entries; /* of @entry */
	nvme_le64 entry[NVME_PAGE / sizeof(nvme_le64)];
	bool first;           /* still in the first page */
};

/* A scatter-gather list on its way. */
struct model_sgl {
	struct nvme_model *m;
	struct dray_sgl_desc first; /* of the command; used once */
	uint64_t next, data;  /* the next descriptor of the list; where in the current piece */
	uint32_t descs, here; /* descriptors left at @next; bytes left in the piece */
	unsigned idle;        /* descriptors since data moved last */
	size_t left;          /* bytes left in the buffer */
	bool started, last;   /* @first is used; no descriptor of this list page leads on */
};

void model_sgl_start(struct model_sgl *g, struct nvme_model *m, const struct nvme_cmd *cmd,
		     size_t len);
/* As model_prp_move(). */
uint16_t model_sgl_move(struct model_sgl *g, void *buf, size_t len, bool to_host);

void model_prp_start(struct model_prp *p, struct nvme_model *m, const struct nvme_cmd *cmd,
		     size_t len);
/*
 * Move the next @len bytes, at most p->left, between the buffer and @buf; @to_host: the device
 * writes memory. NVME_OK, or the status that the command ends with.
 */
uint16_t model_prp_move(struct model_prp *p, void *buf, size_t len, bool to_host);

#endif
