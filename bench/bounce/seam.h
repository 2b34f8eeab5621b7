/* SPDX-License-Identifier: BSD-2-Clause */
/* Bounce pools over the software IOMMU, for the bench: what C++ cannot include is behind this. */
#ifndef BENCH_BOUNCE_SEAM_H
#define BENCH_BOUNCE_SEAM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct seam;

/* Ends the program when it cannot be had. */
struct seam *seam_open(void);
void seam_close(struct seam *s);
/* The slot that a map of this buffer is given when nothing else is mapped. */
char *seam_slot(struct seam *s, char *buf, size_t len, bool out);
/* Map and unmap, @n times. */
void seam_pairs(struct seam *s, char *buf, size_t len, bool out, int n);

#ifdef __cplusplus
}
#endif

#endif
