/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Be the device: what an open device finds in memory, and what it does to it. On the software
 * IOMMU through dray/sim.h, on VFIO by programming QEMU's edu device, which tells nothing of
 * refusals: there, what was reached is judged by memory and by the device's own buffer.
 */
#ifndef CONTRACT_ACTOR_H
#define CONTRACT_ACTOR_H

#include "rig.h"

/* Most bytes of one access: longer ones would cost an edu more than its buffer. */
#define ACTOR_MAX 1024u

struct actor;

struct actor_ops {
	/*
	 * *@buf becomes what the device has after it tried to read @iova: what is there, or, where
	 * it was refused, anything else.
	 */
	void (*read)(struct actor *a, dray_iova_t iova, void *buf, size_t len);
	/* The device tries to write. */
	void (*write)(struct actor *a, dray_iova_t iova, const void *buf, size_t len);
	/* The device was refused the last access to this address, as far as it can tell. */
	void (*check_refused)(struct actor *a, dray_iova_t iova, uint32_t access);
	void (*close)(struct actor *a);
};

struct actor {
	const struct actor_ops *ops;
	struct dray_device *dev;
};

/*
 * On VFIO it maps memory of its own for as long as it is open, so states are compared after it was
 * opened. In a BLOCKED domain, where it cannot, it writes only. Closed before the device.
 */
struct actor *actor_open(const struct rig *rig, struct dray_device *dev);
void actor_close(struct actor *a);

struct actor *actor_open_sim(struct dray_device *dev);
struct actor *actor_open_edu(struct dray_device *dev);

/* The device reads just what the CPU has there. */
void actor_check_reads(const char *file, int line, struct actor *a, dray_iova_t iova,
		       const void *va, size_t len);
/* The device writes something new and the CPU finds it there. */
void actor_check_writes(const char *file, int line, struct actor *a, dray_iova_t iova, void *va,
			size_t len);
/* The device reads, and gets none of what the CPU has there. */
void actor_check_no_read(const char *file, int line, struct actor *a, dray_iova_t iova,
			 const void *va, size_t len);
/* The device writes, and the CPU's memory stays as it is. */
void actor_check_no_write(const char *file, int line, struct actor *a, dray_iova_t iova, void *va,
			  size_t len);

#define CHECK_READS(a, iova, va, len) \
	actor_check_reads(__FILE__, __LINE__, a, iova, va, len)
#define CHECK_WRITES(a, iova, va, len) \
	actor_check_writes(__FILE__, __LINE__, a, iova, va, len)
#define CHECK_NO_READ(a, iova, va, len) \
	actor_check_no_read(__FILE__, __LINE__, a, iova, va, len)
#define CHECK_NO_WRITE(a, iova, va, len) \
	actor_check_no_write(__FILE__, __LINE__, a, iova, va, len)

/* Neither way. */
#define CHECK_BLOCKED(a, iova, va, len)                  \
	do {                                             \
		CHECK_NO_READ(a, iova, va, len);         \
		CHECK_NO_WRITE(a, iova, va, len);        \
	} while (0)

#endif
