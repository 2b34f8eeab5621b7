/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * DOC: Tell an NVMe controller where data is: PRP entries and lists, and scatter-gather lists
 *
 * What goes in is what dray_map_sg() gave: segments, each an IOVA and a length in iova and dma_len
 * of the first elements of a list; or one mapping, turned into a segment by dray_sg_of(). A command
 * may describe any part of them: off and len select bytes of the segments put one after the other.
 * What comes out are 16 bytes for the command's data pointer, and list pages that the caller
 * provides and the controller can reach, for instance coherent memory.
 *
 * PRP entries describe whole pages of the controller: only the first may begin inside one, only the
 * last may end inside one. Buffers of any shape do not fit; dray_prp_able() tells. Those that do
 * not may go by SGL where the controller takes them, or be copied to where they fit.
 *
 * Segments that adjoin are one here, wherever they meet. The stores are plain: whatever the
 * driver does before it rings the doorbell orders them. Everything here takes any thread, takes no
 * lock, allocates nothing, and on failure writes nothing.
 */
#ifndef DRAY_NVME_PRP_H
#define DRAY_NVME_PRP_H

#include <sys/uio.h>

#include <dray/map.h>
#include <dray/sg.h>
#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** typedef dray_le32 - 32 bits as the controller reads them: little-endian in memory */
typedef struct {
	uint32_t raw;
} dray_le32;

/** typedef dray_le64 - 64 bits as the controller reads them: little-endian in memory */
typedef struct {
	uint64_t raw;
} dray_le64;

/**
 * struct dray_prp - the data pointer of a command that uses PRP (PSDT 0)
 * @prp1: where the data begins
 * @prp2: the second page, or the first list page, or 0
 */
struct dray_prp {
	dray_le64 prp1, prp2;
};

/* struct dray_sgl_desc, type: the upper half is the type, the lower half 0 for an address */
#define DRAY_SGL_DATA         0x00u /* bytes of data */
#define DRAY_SGL_SEGMENT      0x20u /* more descriptors, the last of which leads on */
#define DRAY_SGL_LAST_SEGMENT 0x30u /* more descriptors, all of data */

/**
 * struct dray_sgl_desc - a scatter-gather descriptor; the first of a command is its data pointer
 * @addr: where the data or the descriptors begin
 * @len: their length, bytes
 * @pad: zero
 * @type: DRAY_SGL_*
 */
struct dray_sgl_desc {
	dray_le64 addr;
	dray_le32 len;
	uint8_t pad[3];
	uint8_t type;
};

/**
 * struct dray_nvme_list - one page for entries or descriptors
 * @va: where the CPU writes it
 * @iova: where the controller reads it; mapped while the command is out
 */
struct dray_nvme_list {
	void *va;
	dray_iova_t iova;
};

/**
 * dray_sg_of() - one mapping as a segment
 * @m: the receipt
 *
 * For the functions here only: dray_unmap_sg() does not know it.
 */
static inline struct dray_sg dray_sg_of(const struct dray_mapping *m)
{
	struct dray_sg sg = {NULL, 0, m->iova, m->len, {0, 0}};

	return sg;
}

/**
 * dray_prp_able() - can PRP entries describe these segments?
 * @sg: the segments
 * @nsegs: how many there are
 * @page: the controller's page (CC.MPS), bytes; a power of two of at least 4096
 *
 * Return: true where the first segment begins at a multiple of 4 and every place where two do not
 * adjoin is a page's boundary on both sides; false also for no segment, an empty one, or a size
 * that no page has.
 */
DRAY_API bool dray_prp_able(const struct dray_sg *sg, unsigned nsegs, size_t page);

/**
 * dray_prp_able_iov() - will PRP entries be able to describe these buffers once they are mapped?
 * @iov: the buffers; empty ones count as absent
 * @n: how many there are
 * @page: the controller's page, bytes; at most the domain's granule
 *
 * Asked before mapping, so that a driver may choose a way instead of meeting an error. A mapping
 * keeps the offset in the granule, so what holds for the buffers holds for their segments, unless a
 * device limit cuts them or makes one bounce; dray_prp_able() then tells about the result.
 *
 * Return: as dray_prp_able(), of the addresses of this process.
 */
DRAY_API bool dray_prp_able_iov(const struct iovec *iov, unsigned n, size_t page);

/**
 * dray_prp_lists_max() - list pages for any transfer up to a length
 * @len: bytes of the longest transfer
 * @page: the controller's page, bytes
 *
 * Return: how many list pages suffice whatever the offset in the first page is; 0 also for a page
 * size that there is not.
 */
DRAY_API size_t dray_prp_lists_max(size_t len, size_t page);

/**
 * dray_prp_count() - what dray_prp_build() will need
 * @sg: the segments
 * @nsegs: how many there are
 * @off: first byte, from the start of the segments
 * @len: how many bytes, more than 0
 * @page: the controller's page, bytes
 * @ret_lists: how many list pages; may be NULL
 *
 * Return: how many pages of the controller are touched, which is how many entries there are, more
 * than 0; -EINVAL no segments, a part outside them, or one that PRP entries cannot describe;
 * -EMSGSIZE more entries than an int counts.
 */
DRAY_API int dray_prp_count(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len,
			    size_t page, unsigned *ret_lists);

/**
 * dray_prp_build() - PRP entries for a part of the segments
 * @sg: the segments
 * @nsegs: how many there are
 * @off: first byte, from the start of the segments
 * @len: how many bytes, more than 0
 * @page: the controller's page, bytes
 * @lists: list pages of @page bytes, aligned to that for the controller, to 8 bytes for the CPU;
 *         they need not adjoin
 * @n_lists: how many there are; 0 with @lists NULL where dray_prp_count() says so
 * @ret_prp: the data pointer
 *
 * Return: how many list pages are in use, from the first one on, 0 or more; -EMSGSIZE more than
 * @n_lists; -EINVAL as dray_prp_count(), or a list page that is not aligned.
 */
DRAY_API int dray_prp_build(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len,
			    size_t page, const struct dray_nvme_list *lists, unsigned n_lists,
			    struct dray_prp *ret_prp);

/**
 * dray_sgl_count() - what dray_sgl_build() will need
 * @sg: the segments
 * @nsegs: how many there are
 * @off: first byte, from the start of the segments
 * @len: how many bytes, more than 0
 * @align: what addresses and lengths are multiples of: 1, or 4 where the controller says so (SGLS)
 * @list_bytes: bytes of one list page; a multiple of 16, at least 32
 * @ret_lists: how many list pages; may be NULL
 *
 * Return: how many data descriptors there are, more than 0; -EINVAL no segments, a part outside
 * them, an alignment that is not kept or not known, or list pages of no such size; -EMSGSIZE more
 * descriptors than an int counts.
 */
DRAY_API int dray_sgl_count(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len,
			    size_t align, size_t list_bytes, unsigned *ret_lists);

/**
 * dray_sgl_build() - scatter-gather descriptors for a part of the segments
 * @sg: the segments
 * @nsegs: how many there are
 * @off: first byte, from the start of the segments
 * @len: how many bytes, more than 0
 * @align: as for dray_sgl_count()
 * @lists: list pages of @list_bytes, aligned to 16 bytes for CPU and controller; they need not
 *         adjoin
 * @list_bytes: bytes of one list page; a multiple of 16, at least 32
 * @n_lists: how many there are; 0 with @lists NULL where dray_sgl_count() says so
 * @ret_sgl: the data pointer, for a command with PSDT 1
 *
 * A single descriptor is the data pointer itself. Otherwise the data pointer leads to the first
 * list page, and the last place of every list page but the last leads to the next one.
 *
 * Return: how many list pages are in use, from the first one on, 0 or more; -EMSGSIZE more than
 * @n_lists; -EINVAL as dray_sgl_count(), or a list page that is not aligned.
 */
DRAY_API int dray_sgl_build(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len,
			    size_t align, const struct dray_nvme_list *lists, size_t list_bytes,
			    unsigned n_lists, struct dray_sgl_desc *ret_sgl);

#ifdef __cplusplus
}
#endif
#endif
