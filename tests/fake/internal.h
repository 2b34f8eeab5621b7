/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of the fake. Everything but fake_lock() is called with its one lock held. */
#ifndef VFIO_FAKE_INTERNAL_H
#define VFIO_FAKE_INTERNAL_H

#include "vfio_fake.h"

#define FAKE_RANGES 16

struct fake_reserved {
	struct dray_range range;
	const char *type;
	bool kernel;
	struct fake_reserved *next;
};

struct fake_mapping {
	uint64_t iova, va, size;
	uint32_t flags;
};

struct fake_container {
	struct fake_container *next;
	unsigned refs;               /* its descriptor, and each group in it */
	unsigned groups;
	bool iommu;
	uint64_t avail, limit;
	void *maps;                  /* tsearch() tree of struct fake_mapping */
	size_t n;
};

struct fake_group {
	struct fake_group *next;
	unsigned id;
	unsigned refs;               /* its descriptor, and each open device */
	bool held_elsewhere;
	unsigned users;              /* open devices */
	struct fake_container *in;
	struct fake_reserved *reserved;
};

struct fake_device {
	struct fake_device *next;
	char name[20], driver[32];   /* driver "" none */
	struct fake_group *group;
	unsigned opens;
	bool held;
	uint8_t config[256];
};

enum fake_kind { FAKE_NOTHING, FAKE_FILE, FAKE_CONTAINER, FAKE_GROUP, FAKE_DEVICE };

struct fake_file {
	enum fake_kind kind;
	union {
		struct fake_container *container;
		struct fake_group *group;
		struct fake_device *device;
	};
};

struct fake_machine {
	char root[64], sysfs[80], devfs[80];
	struct fake_container *containers;
	struct fake_group *groups;
	struct fake_device *devices;
	struct dray_range ranges[FAKE_RANGES];
	unsigned n_ranges;
	uint64_t page_sizes, memlock, locked;
	unsigned entry_limit, release;
	bool no_iommu, no_avail, no_enforce;
	unsigned short_nth;
	uint64_t short_by;
};

extern struct fake_machine fake;

void fake_lock(void);
void fake_unlock(void);
void fake_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* One line; a negative @ret is told as " = errno N". */
void fake_log(long ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fake_free_log(void);
struct fake_group *fake_group(unsigned id);      /* made where it is not there */
struct fake_device *fake_find(const char *name); /* NULL: none */
struct fake_device *fake_device(const char *name);
/* A descriptor for @file, or -1 and errno. */
int fake_new_fd(struct fake_file file);
/* What a descriptor stands for; FAKE_NOTHING for foreign ones. */
struct fake_file fake_file(int fd);

/* kernel.c: 0 or a count, or -errno */
int fake_open_container(struct fake_file *ret_file);
int fake_open_group(unsigned id, struct fake_file *ret_file);
void fake_close_file(struct fake_file file);
long fake_kernel_ioctl(struct fake_file file, unsigned long request, void *arg);
void fake_open_device(struct fake_device *d);
void fake_close_device(struct fake_device *d);
void fake_free_kernel(void);

/* type1.c */
long fake_type1_ioctl(struct fake_container *c, unsigned long request, void *arg);
int fake_type1_check_group(const struct fake_container *c, const struct fake_group *g);
void fake_type1_unmap_all(struct fake_container *c);
/* The mapping that holds @iova, or NULL. */
const struct fake_mapping *fake_type1_find(const struct fake_container *c, uint64_t iova);

/* tree.c */
void fake_tree_make(void);
void fake_tree_remove(void);
void fake_tree_add(const struct fake_device *d);
void fake_tree_drop(const struct fake_device *d);
void fake_tree_bind(const struct fake_device *d);
void fake_tree_reserved(const struct fake_group *g);
void fake_tree_entry_limit(void);
void fake_tree_no_iommu(void);
void fake_tree_status(void);

#endif
