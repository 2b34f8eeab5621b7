// SPDX-License-Identifier: BSD-2-Clause
#include "base/structs.h"
#include "base/err.h"

#include <errno.h>
#include <string.h>

/* The size a caller set in the first field of @s. */
static int caller_size(const void *s, size_t *ret_size)
{
	if (!s)
		return dr_fail(EINVAL, "struct pointer is NULL; pass one with its size field set");
	memcpy(ret_size, s, sizeof(*ret_size));
	if (*ret_size < sizeof(*ret_size))
		return dr_fail(EINVAL, "struct size is %zu; set it to sizeof the struct",
			       *ret_size);
	return 0;
}

int dr_struct_in(void *dst, size_t known, const void *src)
{
	const unsigned char *bytes = src;
	size_t size = 0;
	int err = caller_size(src, &size);

	if (err)
		return err;
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return dr_fail(E2BIG, "struct has %zu bytes, this library knows %zu and "
				       "byte %zu is not zero; update the library", size, known, i);
	memcpy(dst, src, size < known ? size : known);
	return 0;
}

int dr_struct_out(void *dst, const void *src, size_t known)
{
	size_t size = 0;
	int err = caller_size(dst, &size);

	if (err)
		return err;
	if (size > known)
		memset((char *)dst + known, 0, size - known);
	else
		known = size;
	memcpy((char *)dst + sizeof(size), (const char *)src + sizeof(size), known - sizeof(size));
	return 0;
}
