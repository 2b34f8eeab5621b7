/* SPDX-License-Identifier: BSD-2-Clause */
/* Vectors of every shape, from a seed: many buffers that together are one transfer. */
#ifndef NVME_VECTOR_H
#define NVME_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Most elements of one vector. */
#define NVME_VECTOR_MAX 32u

/* Bytes of memory that any vector of @len bytes is laid out in. */
size_t nvme_vector_room(size_t len);
/*
 * Vector number @n of @seed: @len > 0 bytes in up to NVME_VECTOR_MAX elements, in ascending order
 * in the page-aligned memory at @mem, of nvme_vector_room(@len) bytes. How many elements.
 */
unsigned nvme_vector_make(uint64_t seed, uint64_t n, unsigned char *mem, size_t len,
			  struct iovec *ret_iov);

/* Between a vector's memory and @len bytes in a row. */
void nvme_vector_scatter(const struct iovec *iov, unsigned n, const unsigned char *from);
void nvme_vector_gather(const struct iovec *iov, unsigned n, unsigned char *to);
/* Is every byte at @mem that is in no element still @guard? */
bool nvme_vector_guarded(const struct iovec *iov, unsigned n, const unsigned char *mem, size_t room,
			 unsigned char guard);

#endif
