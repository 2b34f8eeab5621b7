// SPDX-License-Identifier: BSD-2-Clause
/*
 * A write-back cache between CPU and memory, for devices that do not look into it.
 *
 * 1. The program's memory is what the CPU sees: cache and memory together. Beside each page that is
 *    mapped for a device lies its image, what is in memory itself. Devices read and write the image
 *    alone. Bytes pass from one to the other by maintenance only: a clean takes a dirty line to the
 *    image, a drop takes the image's line to the program. So without the clean the device reads old
 *    bytes, and without the drop the program does. Real caches also write back of their own accord,
 *    now and then, and hide such a mistake on most days; this one never does.
 *
 * 2. Dirty lines. The model cannot see the program's stores. It keeps a copy of each line as it was
 *    when it last passed, and takes a line for dirty that differs. Of a page that has just been
 *    mapped nothing has passed: every line is dirty, and the image has bytes that nobody wrote
 *    (STALE), as memory has where the cache holds all that is new. A store of the bytes that were
 *    there before shows in nothing, so a clean also takes lines that a device has written since:
 *    who hands a line over says that the CPU's bytes count, as a bounce would have it.
 *
 * 3. Mistakes, counted. *stale reads*: the device read bytes that the CPU had overwritten and not
 *    cleaned. *wrong drops*: a drop of a dirty line; the CPU's bytes are lost (a CPU that writes
 *    them back first loses the device's instead: either has lost something). *lost writes*: a clean
 *    wrote a dirty line over what the device had written in it since it last passed, as happens to
 *    buffers that share a line, or to memory used again before that was fetched.
 *
 * 4. A page may be mapped many times; it has one image, counted. When the last mapping goes the
 *    image goes: the program keeps what it saw last. What a device still does through entries
 *    cleared but not invalidated goes to the program's memory.
 *
 * 5. Pages can be made uncached, as a kernel does with what it calls coherent memory: while they
 *    are, devices and CPU see the same bytes, and maintenance is nothing.
 *
 * 6. One lock guards all images and is the innermost; a device holds it while it copies. It is the
 *    machine's, as the cache is. What can fail: adding, for memory, twice that of what is mapped.
 *
 *              | add, remove        clean, drop          device access
 *    ----------+------------------------------------------------------------------------
 *    add …     | counted            own pages            image, or memory once it has gone
 *    clean …   |                    line by line         the line before or after
 *    access    |                                         one after the other
 */
#include "backend/sim/image.h"
#include "backend/sim/unseen.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <string.h>

#define PAGE ((uintptr_t)4096)
/* Bytes that no test writes in numbers. */
#define STALE 0xdb
/* The smallest line of any CPU that has ever run Linux is 16 bytes. */
#define MAX_LINES (PAGE / 16)
/* As many as 16 MiB have pages: chains stay short in tests, and the array is 32 KiB. */
#define BUCKETS 4096u

/* All guarded by images.lock. */
struct image {
	struct image *next;
	uintptr_t page;
	uint64_t mappings;                 /* uncaching counts as one */
	bool is_uncached;
	size_t line;                       /* the CPU's when it was made */
	bool has_passed[MAX_LINES];        /* the copy in seen[] is valid */
	bool is_written[MAX_LINES];        /* by a device, since it last passed */
	uint8_t dram[PAGE];
	uint8_t seen[PAGE];
};

static struct {
	pthread_mutex_t lock;
	struct image *bucket[BUCKETS]; /* guarded by lock */
} images = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct image **slot_locked(uintptr_t page)
{
	struct image **p = &images.bucket[page / PAGE % BUCKETS];

	while (*p && (*p)->page != page)
		p = &(*p)->next;
	return p;
}

/* The image that stands between CPU and device, NULL: none does. */
static struct image *cached_locked(uintptr_t page)
{
	struct image *image = *slot_locked(page);

	return image && !image->is_uncached ? image : NULL;
}

static int add_locked(uintptr_t page)
{
	struct image **p = slot_locked(page), *image = *p;

	if (!image) {
		image = dr_alloc(sizeof(*image));
		if (!image)
			return dr_fail(ENOMEM, "no memory for the image of a page");
		image->page = page;
		image->line = dr_cpu_line_size();
		memset(image->dram, STALE, sizeof(image->dram));
		*p = image;
	}
	image->mappings++;
	return 0;
}

static void remove_locked(uintptr_t page)
{
	struct image **p = slot_locked(page), *image = *p;

	if (!image || --image->mappings)
		return;
	*p = image->next;
	dr_free(image);
}

static int add_range_locked(uintptr_t first, uintptr_t end)
{
	uintptr_t page = first;
	int err = 0;

	for (; page != end && !err; page += err ? 0 : PAGE)
		err = add_locked(page);
	if (err)
		while (page != first)
			remove_locked(page -= PAGE);
	return err;
}

int dr_image_add(const void *va, size_t len)
{
	int err;

	pthread_mutex_lock(&images.lock);
	err = add_range_locked((uintptr_t)va, (uintptr_t)va + len);
	pthread_mutex_unlock(&images.lock);
	return err;
}

void dr_image_remove(const void *va, size_t len)
{
	uintptr_t page = (uintptr_t)va, end = page + len;

	pthread_mutex_lock(&images.lock);
	for (; page != end; page += PAGE)
		remove_locked(page);
	pthread_mutex_unlock(&images.lock);
}

int dr_image_uncache(const void *va, size_t len)
{
	uintptr_t first = (uintptr_t)va, end = first + len;
	int err;

	pthread_mutex_lock(&images.lock);
	err = add_range_locked(first, end);
	for (uintptr_t page = first; !err && page != end; page += PAGE)
		(*slot_locked(page))->is_uncached = true;
	pthread_mutex_unlock(&images.lock);
	return err;
}

void dr_image_recache(const void *va, size_t len)
{
	uintptr_t page = (uintptr_t)va, end = page + len;

	pthread_mutex_lock(&images.lock);
	for (; page != end; page += PAGE) {
		(*slot_locked(page))->is_uncached = false;
		remove_locked(page);
	}
	pthread_mutex_unlock(&images.lock);
}

/* Does a line of the program's differ from its copy? A word at a time: lines are 16 bytes or more. */
DR_UNSEEN static bool differs(const char *mem, const uint8_t *copy, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t a = *(const volatile uint64_t __attribute__((may_alias)) *)(mem + i), b;

		memcpy(&b, copy + i, sizeof(b));
		if (a != b)
			return true;
	}
	return false;
}

DR_UNSEEN static void take(uint8_t *to, const char *mem, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = *(const volatile uint8_t *)(mem + i);
}

/* Bytes that are the same are not written: the page may be one that the program only reads. */
DR_UNSEEN static void put(char *mem, const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (*(volatile uint8_t *)(mem + i) != from[i])
			*(volatile uint8_t *)(mem + i) = from[i];
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool is_dirty(const struct image *image, size_t at)
{
	return !image->has_passed[at / image->line] ||
	       differs((const char *)image->page + at, image->seen + at, image->line);
}

static void passed(struct image *image, size_t at)
{
	image->has_passed[at / image->line] = true;
	image->is_written[at / image->line] = false;
}

static void clean_line(struct dr_sim *s, struct image *image, size_t at)
{
	bool is_dirty_line = is_dirty(image, at), is_written = image->is_written[at / image->line];

	if (!is_dirty_line && !is_written)
		return;
	if (is_dirty_line && is_written)
		count(&s->lost_writes);
	take(image->seen + at, (const char *)image->page + at, image->line);
	memcpy(image->dram + at, image->seen + at, image->line);
	passed(image, at);
}

static void drop_line(struct dr_sim *s, struct image *image, size_t at)
{
	if (is_dirty(image, at))
		count(&s->wrong_drops);
	put((char *)image->page + at, image->dram + at, image->line);
	memcpy(image->seen + at, image->dram + at, image->line);
	passed(image, at);
}

typedef void line_op(struct dr_sim *s, struct image *image, size_t at);

/* Each line that holds a byte of the range, where there is an image; @counter counts them. */
static void each_line(struct dr_sim *s, const void *va, size_t len, line_op *op,
		      _Atomic uint64_t *counter)
{
	uintptr_t at = (uintptr_t)va, end = at + len;

	pthread_mutex_lock(&images.lock);
	while (at < end) {
		uintptr_t page = at & ~(PAGE - 1), next = page + PAGE;
		struct image *image = cached_locked(page);

		if (image)
			for (at &= ~(image->line - 1); at < next && at < end; at += image->line) {
				op(s, image, at - page);
				count(counter);
			}
		at = next;
	}
	pthread_mutex_unlock(&images.lock);
}

void dr_image_clean(struct dr_sim *s, const void *va, size_t len)
{
	each_line(s, va, len, clean_line, &s->cleaned_lines);
}

void dr_image_drop(struct dr_sim *s, const void *va, size_t len)
{
	each_line(s, va, len, drop_line, &s->dropped_lines);
}

/* Has the CPU put other bytes at [at, at + len), inside a page, than the last that passed? */
DR_UNSEEN static bool is_stale(const struct image *image, size_t at, size_t len)
{
	for (size_t i = at; i < at + len; i++)
		if (!image->has_passed[i / image->line] ||
		    *(const volatile uint8_t *)(image->page + i) != image->seen[i])
			return true;
	return false;
}

bool dr_image_move(struct dr_sim *s, const void *mem, void *buf, size_t len, bool to_memory)
{
	uintptr_t page = (uintptr_t)mem & ~(PAGE - 1);
	size_t at = (uintptr_t)mem - page;
	struct image *image;

	pthread_mutex_lock(&images.lock);
	image = cached_locked(page);
	if (image && to_memory) {
		memcpy(image->dram + at, buf, len);
		for (size_t i = at; i < at + len; i++)
			image->is_written[i / image->line] = true;
	} else if (image) {
		if (is_stale(image, at, len))
			count(&s->stale_reads);
		memcpy(buf, image->dram + at, len);
	}
	pthread_mutex_unlock(&images.lock);
	return image != NULL;
}

void dr_image_reset(void)
{
	pthread_mutex_init(&images.lock, NULL);
	memset(images.bucket, 0, sizeof(images.bucket));
}
