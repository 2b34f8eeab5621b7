// SPDX-License-Identifier: BSD-2-Clause
/*
 * The fake as a test sees it: start and stop, the script of failures, and the hooks that lead into
 * it.
 *
 * One mutex guards everything; hooks take it for the whole call, so the fake kernel is as serial as
 * a container's own mutex makes the real one. Descriptors are real, of /dev/null, and stand for an
 * object through a table indexed by number.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hooks.h"

#define MAX_FDS 1024

struct fake_machine fake;

/* All guarded by lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_file files[MAX_FDS];
static struct dr_hooks hooks;
static const struct dr_hooks *real;
static unsigned calls[256], other_calls[8];
static unsigned long fail_request;
static unsigned fail_n;
static int fail_errno;
static bool fired;
static const char *fail_suffix;
static int fail_suffix_errno;

static atomic_long allocs;

void fake_lock(void)
{
	pthread_mutex_lock(&lock);
}

void fake_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void fake_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("vfio_fake: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

struct fake_group *fake_group(unsigned id)
{
	struct fake_group *g = fake.groups;

	while (g && g->id != id)
		g = g->next;
	if (g)
		return g;
	g = calloc(1, sizeof(*g));
	if (!g)
		fake_die("out of memory");
	g->id = id;
	g->next = fake.groups;
	fake.groups = g;
	return g;
}

struct fake_device *fake_find(const char *name)
{
	struct fake_device *d = fake.devices;

	while (d && strcmp(d->name, name))
		d = d->next;
	return d;
}

struct fake_device *fake_device(const char *name)
{
	struct fake_device *d = fake_find(name);

	if (!d)
		fake_die("no device %s; add it first", name);
	return d;
}

int fake_new_fd(struct fake_file file)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd >= MAX_FDS)
		fake_die("descriptor %d is above %d", fd, MAX_FDS);
	if (fd >= 0)
		files[fd] = file;
	return fd;
}

struct fake_file fake_file(int fd)
{
	static const struct fake_file nothing;

	return fd < 0 || fd >= MAX_FDS ? nothing : files[fd];
}

/* Count a call; does the script want it to fail? */
static bool fails(unsigned long request)
{
	if (request >> 32)
		other_calls[request >> 32]++;
	else
		calls[request & 0xff]++;
	if (!fail_n || (fail_request != request && fail_request != VFIO_FAKE_ANY) || --fail_n)
		return false;
	fired = true;
	errno = fail_errno;
	fake_log(-fail_errno, "injected into 0x%lx", request);
	return true;
}

static bool ends_with(const char *s, const char *suffix)
{
	size_t a = strlen(s), b = strlen(suffix);

	return a >= b && !strcmp(s + a - b, suffix);
}

static int open_locked(const char *path, int flags)
{
	size_t dev = strlen(fake.devfs);
	struct fake_file file = { .kind = FAKE_FILE };
	char status[128];
	int err, fd;

	if (fails(VFIO_FAKE_OPEN))
		return -1;
	if (fail_suffix && ends_with(path, fail_suffix)) {
		errno = fail_suffix_errno;
		return -1;
	}
	if (strncmp(path, fake.devfs, dev)) {
		if (!strcmp(path, "/proc/self/status")) {
			fake_tree_status();
			snprintf(status, sizeof(status), "%s%s", fake.root, path);
			path = status;
		}
		fd = real->open(path, flags);
		if (fd >= MAX_FDS)
			fake_die("descriptor %d is above %d", fd, MAX_FDS);
		if (fd >= 0)
			files[fd] = file;
		return fd;
	}
	path += dev;
	if (!strcmp(path, "/vfio/vfio"))
		err = fake_open_container(&file);
	else if (!strncmp(path, "/vfio/", 6))
		err = fake_open_group((unsigned)atoi(path + 6), &file);
	else
		err = -ENOENT;
	if (err) {
		errno = -err;
		return -1;
	}
	fd = fake_new_fd(file);
	if (fd < 0)
		fake_close_file(file);
	return fd;
}

static int hook_open(const char *path, int flags)
{
	int fd;

	fake_lock();
	fd = open_locked(path, flags);
	fake_unlock();
	return fd;
}

static int hook_close(int fd)
{
	struct fake_file file;

	fake_lock();
	other_calls[VFIO_FAKE_CLOSE >> 32]++;
	file = fake_file(fd);
	if (file.kind == FAKE_NOTHING)
		fake_die("close of descriptor %d, which is not open", fd);
	files[fd].kind = FAKE_NOTHING;
	fake_close_file(file);
	fake_unlock();
	return close(fd);
}

static int hook_ioctl(int fd, unsigned long request, void *arg)
{
	struct fake_file file;
	long ret = -1;

	fake_lock();
	file = fake_file(fd);
	if (file.kind == FAKE_NOTHING)
		fake_die("ioctl 0x%lx on descriptor %d, which is not open", request, fd);
	if (!fails(request)) {
		ret = fake_kernel_ioctl(file, request, arg);
		if (ret < 0) {
			errno = (int)-ret;
			ret = -1;
		}
	}
	fake_unlock();
	return (int)ret;
}

/* Where in config space [off, off + len) of a device's descriptor is, or NULL and errno. */
static uint8_t *config_at(struct fake_device *d, size_t len, off_t off)
{
	uint64_t at = (uint64_t)off & ((UINT64_C(1) << 40) - 1);

	if ((uint64_t)off >> 40 != VFIO_PCI_CONFIG_REGION_INDEX || at + len > sizeof(d->config)) {
		errno = EINVAL;
		return NULL;
	}
	return d->config + at;
}

static ssize_t hook_pread(int fd, void *buf, size_t len, off_t off)
{
	struct fake_file file;
	ssize_t ret = -1;
	uint8_t *at;

	fake_lock();
	file = fake_file(fd);
	if (fails(VFIO_FAKE_PREAD)) {
		ret = -1;
	} else if (file.kind != FAKE_DEVICE) {
		ret = real->pread(fd, buf, len, off);
	} else if ((at = config_at(file.device, len, off))) {
		memcpy(buf, at, len);
		ret = (ssize_t)len;
	}
	fake_unlock();
	return ret;
}

static ssize_t hook_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	struct fake_file file;
	struct fake_device *d;
	ssize_t ret = -1;
	uint8_t was, *at;

	fake_lock();
	file = fake_file(fd);
	d = file.device;
	if (file.kind != FAKE_DEVICE)
		fake_die("pwrite to descriptor %d, which is no device", fd);
	was = d->config[PCI_COMMAND];
	if (!fails(VFIO_FAKE_PWRITE) && (at = config_at(d, len, off))) {
		memcpy(at, buf, len);
		ret = (ssize_t)len;
	}
	if ((was ^ d->config[PCI_COMMAND]) & PCI_COMMAND_MASTER)
		fake_log(0, "bus master %s %s", was & PCI_COMMAND_MASTER ? "off" : "on", d->name);
	fake_unlock();
	return ret;
}

static int hook_madvise(void *addr, size_t len, int advice)
{
	bool failed;

	fake_lock();
	failed = fails(VFIO_FAKE_MADVISE);
	if (!failed)
		fake_log(0, "madvise %d 0x%zx", advice, len);
	fake_unlock();
	return failed ? -1 : real->madvise(addr, len, advice);
}

static unsigned hook_kernel_release(void)
{
	unsigned release;

	fake_lock();
	release = fake.release;
	fake_unlock();
	return release;
}

static uint64_t hook_memlock_limit(void)
{
	uint64_t limit;

	fake_lock();
	limit = fake.memlock;
	fake_unlock();
	return limit;
}

static void *hook_alloc(size_t len, size_t align)
{
	bool failed;
	void *p;

	fake_lock();
	failed = fails(VFIO_FAKE_ALLOC);
	fake_unlock();
	p = failed ? NULL : real->alloc(len, align);
	if (p)
		atomic_fetch_add_explicit(&allocs, 1, memory_order_relaxed);
	return p;
}

static void hook_free(void *p)
{
	if (p)
		atomic_fetch_sub_explicit(&allocs, 1, memory_order_relaxed);
	real->free(p);
}

void vfio_fake_start(void)
{
	static const struct dray_range vtd[] = {
		{ 0, UINT64_C(0xfedfffff) },
		{ UINT64_C(0xfef00000), (UINT64_C(1) << 48) - 1 },
	};

	if (real)
		fake_die("started twice");
	memset(&fake, 0, sizeof(fake));
	memset(calls, 0, sizeof(calls));
	memset(other_calls, 0, sizeof(other_calls));
	memcpy(fake.ranges, vtd, sizeof(vtd));
	fake.n_ranges = 2;
	fake.page_sizes = UINT64_C(0x40201000);
	fake.memlock = UINT64_MAX;
	fake.release = 6u << 16 | 12;
	fail_n = 0;
	fired = false;
	fail_suffix = NULL;
	fake_tree_make();
	real = dr_hooks;
	hooks = *real;
	hooks.sysfs = fake.sysfs;
	hooks.devfs = fake.devfs;
	hooks.open = hook_open;
	hooks.close = hook_close;
	hooks.ioctl = hook_ioctl;
	hooks.pread = hook_pread;
	hooks.pwrite = hook_pwrite;
	hooks.madvise = hook_madvise;
	hooks.kernel_release = hook_kernel_release;
	hooks.memlock_limit = hook_memlock_limit;
	hooks.alloc = hook_alloc;
	hooks.free = hook_free;
	dr_hooks = &hooks;
	vfio_fake_add_device("0000:00:00.0", 0, NULL);
}

void vfio_fake_stop(void)
{
	dr_hooks = real;
	real = NULL;
	/* What a failed test left open. */
	for (struct fake_device *d = fake.devices; d; d = d->next)
		if (d->held)
			fake_close_device(d);
	for (int fd = 0; fd < MAX_FDS; fd++) {
		if (files[fd].kind == FAKE_NOTHING)
			continue;
		fake_close_file(files[fd]);
		files[fd].kind = FAKE_NOTHING;
		close(fd);
	}
	fake_free_kernel();
	fake_tree_remove();
	fake_free_log();
}

/* The script */

void vfio_fake_fail_nth(unsigned long request, unsigned n, int err)
{
	fake_lock();
	fail_request = request;
	fail_n = n;
	fail_errno = err;
	fired = false;
	fake_unlock();
}

bool vfio_fake_fired(void)
{
	bool has;

	fake_lock();
	has = fired;
	fake_unlock();
	return has;
}

void vfio_fake_fail_path(const char *suffix, int err)
{
	fake_lock();
	fail_suffix = suffix;
	fail_suffix_errno = err;
	fake_unlock();
}

void vfio_fake_short_unmap(unsigned n, uint64_t missing)
{
	fake_lock();
	fake.short_nth = n;
	fake.short_by = missing;
	fake_unlock();
}

/* What happened */

static unsigned calls_locked(unsigned long request)
{
	unsigned n = 0;

	if (request != VFIO_FAKE_ANY)
		return request >> 32 ? other_calls[request >> 32] : calls[request & 0xff];
	for (unsigned i = 0; i < 256; i++)
		n += calls[i];
	for (unsigned long r = VFIO_FAKE_OPEN; r < VFIO_FAKE_ANY; r += VFIO_FAKE_OPEN)
		n += other_calls[r >> 32];
	return n;
}

unsigned vfio_fake_calls(unsigned long request)
{
	unsigned n;

	fake_lock();
	n = calls_locked(request);
	fake_unlock();
	return n;
}

int vfio_fake_fds_open(void)
{
	int n = 0;

	fake_lock();
	for (int fd = 0; fd < MAX_FDS; fd++)
		n += files[fd].kind != FAKE_NOTHING;
	fake_unlock();
	return n;
}

long vfio_fake_allocs(void)
{
	return atomic_load_explicit(&allocs, memory_order_relaxed);
}
