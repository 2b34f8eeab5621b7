/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The seam to the world (base/hooks.h), watched: the real calls, counted, and failed where a case
 * asks for it. In a case's process it is in place from the start.
 */
#ifndef CONTRACT_WORLD_H
#define CONTRACT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum world_call {
	WORLD_ALLOC,
	WORLD_MMAP,
	WORLD_MADVISE,
	WORLD_OPEN,
	WORLD_IOCTL,       /* any */
	WORLD_IOCTL_MAP,   /* VFIO_IOMMU_MAP_DMA */
	WORLD_IOCTL_UNMAP, /* VFIO_IOMMU_UNMAP_DMA */
	WORLD_CALLS
};

void world_start(void);

/* The nth such call from now (1: the next) fails once; 0: none does. */
void world_fail_nth(enum world_call call, unsigned n, int err);
/* Every such call from now on fails; 0: none does. */
void world_fail_all(enum world_call call, int err);
/* Has the one asked for by world_fail_nth() failed? */
bool world_fired(enum world_call call);
/* How many there were. In a forked child it goes on counting from its parent's. */
unsigned world_calls(enum world_call call);
/* madvise() calls with this advice. */
unsigned world_advised(int advice);

/* The nth unmap ioctl from now does its work, but reports @bytes unmapped. */
void world_short_unmap(unsigned n, uint64_t bytes);
/* What dray is told that the kernel's release is; 0,0: the truth. */
void world_set_release(unsigned major, unsigned minor);
/* From now on dray's clock stands still, and moves by world_pass() alone. */
void world_hold_clock(void);
void world_pass(uint64_t ns);
/* Where dray looks for files; NULL: the real place. */
void world_set_roots(const char *sysfs, const char *devfs);

/* Descriptors this process has open. */
int world_fds(void);
/*
 * Blocks that dray holds: allocated and not freed, without those of slabs, which stay. While the
 * scripted kernel is in place, its count.
 */
long world_blocks(void);

/*
 * Objects of slabs and attachments allocated from now on get pages of their own, so that
 * world_protect() can forbid writing to them.
 */
void world_apart(void);
/* Forbid, or allow again, writing to them. How many objects that is. */
unsigned world_protect(bool forbid);

#endif
