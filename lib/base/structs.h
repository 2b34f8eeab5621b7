/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Size-first structs. A caller built against an older header passes a shorter struct, one built
 * against a newer header a longer one; both work as long as nothing we do not know is asked for.
 */
#ifndef DR_BASE_STRUCTS_H
#define DR_BASE_STRUCTS_H

#include <stddef.h>

/*
 * Copy a caller's option struct over @dst, which holds @known zeroed bytes. A shorter one leaves
 * the tail zero; a longer one must be zero past @known. 0, -EINVAL no size, -E2BIG.
 */
int dr_struct_in(void *dst, size_t known, const void *src);

/*
 * Fill a caller's struct from @src of @known bytes, cut to the size the caller set, which stays.
 * A longer one is zeroed past @known. What it held before does not matter. 0, -EINVAL no size.
 */
int dr_struct_out(void *dst, const void *src, size_t known);

#endif
