/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory as devices see it that do not look into the CPU's caches. See image.c. */
#ifndef DR_SIM_IMAGE_H
#define DR_SIM_IMAGE_H

#include "backend/sim/machine.h"

/* From here on memory and its image part. Whole pages. 0; -ENOMEM, with nothing changed. */
int dr_image_add(const void *va, size_t len);

/* Inverse; once for each add. What the device wrote and nobody fetched is lost. */
void dr_image_remove(const void *va, size_t len);

/*
 * Keep whole pages out of the cache, and let them in again, before anything is mapped and after it
 * was unmapped. Once for a page. 0; -ENOMEM, with nothing changed.
 */
int dr_image_uncache(const void *va, size_t len);
void dr_image_recache(const void *va, size_t len);

/* Cache maintenance of all lines that hold a byte of the range; counted for @s. */
void dr_image_clean(struct dr_sim *s, const void *va, size_t len);
void dr_image_drop(struct dr_sim *s, const void *va, size_t len);

/*
 * A device's access, inside one page: between its image and @buf. False: there is none, memory is
 * what the device sees.
 */
bool dr_image_move(struct dr_sim *s, const void *mem, void *buf, size_t len, bool to_memory);

/* None at all, whatever state it was in. Nobody else is there. */
void dr_image_reset(void);

#endif
