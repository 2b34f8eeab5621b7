// SPDX-License-Identifier: BSD-2-Clause
/*
 * The image file behind the model's namespace
 *
 * 1. Its length is the namespace's: whole blocks, at least one. It is opened for reading and
 *    writing and locked, because two controllers on one medium would overwrite each other.
 * 2. It is created only where there is nothing, sparse; a creation that fails half way is removed
 *    again. An image that is there is never made longer or shorter.
 * 3. The file can still fail later, or be cut by somebody: short reads and errors become media
 *    errors of the command.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "nvme/model_priv.h"

static int create(const char *path, uint64_t bytes, int *ret_fd)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666), err;

	if (fd < 0) {
		err = errno;
		return dr_fail(err, "image %s cannot be created: %s; choose a path that you may "
				    "write to",
			       path, strerror(err));
	}
	if (ftruncate(fd, (off_t)bytes)) {
		err = errno;
		close(fd);
		unlink(path);
		return dr_fail(err, "image %s cannot be made %llu bytes long: %s; choose a smaller "
				    "size or another disk",
			       path, (unsigned long long)bytes, strerror(err));
	}
	*ret_fd = fd;
	return 0;
}

static int open_or_create(const struct nvme_model_opts *opts, int *ret_fd)
{
	int fd = open(opts->image, O_RDWR | O_CLOEXEC), err;

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	err = errno;
	if (err == ENOENT && opts->create_bytes)
		return create(opts->image, opts->create_bytes, ret_fd);
	if (err == ENOENT)
		return dr_fail(err, "image %s does not exist; make one with `truncate -s 64M %s`",
			       opts->image, opts->image);
	return dr_fail(err, "image %s cannot be opened for reading and writing: %s; check its "
			    "owner and mode with `ls -l %s`",
		       opts->image, strerror(err), opts->image);
}

static int check(struct nvme_model *m, const char *path)
{
	struct stat st;

	if (fstat(m->fd, &st))
		return dr_fail(errno, "image %s cannot be examined: %s; check its file system",
			       path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return dr_fail(EINVAL, "image %s is not a regular file; give one, or a path where "
				       "there is nothing yet",
			       path);
	if ((uint64_t)st.st_size < m->block)
		return dr_fail(EINVAL, "image %s is too short: %lld bytes, one block is %u; "
				       "lengthen it with `truncate -s 64M %s`",
			       path, (long long)st.st_size, m->block, path);
	if ((uint64_t)st.st_size % m->block)
		return dr_fail(EINVAL, "image %s has %lld bytes, which is not a whole number of "
				       "blocks of %u; round it up with `truncate -s %%%u %s`",
			       path, (long long)st.st_size, m->block, m->block, path);
	if (flock(m->fd, LOCK_EX | LOCK_NB))
		return dr_fail(EBUSY, "image %s is in use by another controller; end that program "
				      "or use another image",
			       path);
	m->bytes = (uint64_t)st.st_size;
	m->blocks = m->bytes / m->block;
	return 0;
}

int model_image_open(struct nvme_model *m, const struct nvme_model_opts *opts)
{
	int rc = open_or_create(opts, &m->fd);

	if (rc)
		return rc;
	rc = check(m, opts->image);
	if (rc)
		model_image_close(m);
	return rc;
}

void model_image_close(struct nvme_model *m)
{
	close(m->fd);
	m->fd = -1;
}

int model_image_read(struct nvme_model *m, uint64_t off, void *buf, size_t len)
{
	unsigned char *at = buf;

	while (len) {
		ssize_t n = pread(m->fd, at, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int model_image_write(struct nvme_model *m, uint64_t off, const void *buf, size_t len)
{
	const unsigned char *at = buf;

	while (len) {
		ssize_t n = pwrite(m->fd, at, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}
