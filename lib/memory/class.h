/* SPDX-License-Identifier: BSD-2-Clause */
/* What memory is, where it is not ordinary: told by its owner. The theory is in class.c. */
#ifndef DR_MEMORY_CLASS_H
#define DR_MEMORY_CLASS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <dray/map.h>

struct dr_classes;

/* NULL as long as nobody has told anything; readers of class.c only. */
extern _Atomic(struct dr_classes *) dr_classes;

enum dray_memory_class dr_memory_class_slow(const void *va, size_t len);

/*
 * The class of a buffer: of its first byte that is not RAM, RAM when all of it is. Opens its own
 * read section, where there is anything to look up; not in unmap, then.
 */
static inline enum dray_memory_class dr_memory_class(const void *va, size_t len)
{
	if (__builtin_expect(!atomic_load_explicit(&dr_classes, memory_order_relaxed), 1))
		return DRAY_MEMORY_RAM;
	return dr_memory_class_slow(va, len);
}

/* The same for unmap, which opens no read section: may wait for a change that is under way. */
bool dr_memory_is_ram_now(const void *va, size_t len);

/* May the CPU read and write it? 0, or -ENOTSUP with the class in words. */
int dr_memory_check_cpu(const void *va, size_t len);

#endif
