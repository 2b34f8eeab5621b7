/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NVMe controller made of a thread, for the software IOMMU. model.c tells how it works.
 * To the driver it is a page of registers like any other.
 */
#ifndef NVME_MODEL_H
#define NVME_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/device.h>

struct nvme_model;

/* Zero means default in every field but @image. */
struct nvme_model_opts {
	const char *image;     /* the file behind namespace 1 */
	uint64_t create_bytes; /* make the image this long if it is not there; 0: it must be */
	uint32_t block;        /* bytes, 512 to 4096; 512 */
	uint32_t latency_us;   /* what each I/O command takes at least */
	bool reorder;          /* complete in an order that @seed decides */
	uint64_t seed;
	unsigned queues;       /* I/O queue pairs; 16 */
	unsigned max_entries;  /* of a queue, 2 to 65536; 1024 */
	uint8_t mdts;          /* most data of a command: 4096 << mdts; 0 no limit */
	bool no_sgl;           /* has no scatter-gather lists */
	bool sgl_words;        /* has them, of multiples of 4 */
};

/*
 * Start a controller that does its DMA as @dev, a device of the software IOMMU. -EINVAL options;
 * -ENOENT, -EACCES, -EBUSY … the image (the message tells what to do); -ENOMEM.
 */
int nvme_model_start(struct dray_device *dev, const struct nvme_model_opts *opts,
		     struct nvme_model **ret_model);
/* No DMA happens after it. Before the device is closed. NULL is fine. */
void nvme_model_stop(struct nvme_model *m);

/* The registers. */
void *nvme_model_bar(struct nvme_model *m, size_t *ret_len);
/* Bytes of the image. */
uint64_t nvme_model_bytes(const struct nvme_model *m);

/* For tests. Any thread. */
/* While held, I/O commands are fetched and not executed. */
void nvme_model_hold(struct nvme_model *m, bool hold);
/* Fetch the next @n I/O commands and forget them. */
void nvme_model_drop(struct nvme_model *m, unsigned n);
/* The next @n reads and writes move nothing and complete as good: some hardware does. */
void nvme_model_lie(struct nvme_model *m, unsigned n);
/* I/O commands fetched since the start. */
uint64_t nvme_model_fetched(const struct nvme_model *m);

#endif
