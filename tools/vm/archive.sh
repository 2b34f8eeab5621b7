# SPDX-License-Identifier: BSD-2-Clause
# Writes the cpio archives an initramfs is made of. Sourced by `base` and `pack`.
#
# The kernel unpacks concatenated archives one after the other, a later file replacing an earlier
# one, so the part that never changes is kept in the cache and each run adds its own. Archives are
# not compressed: under TCG the guest copies faster than it decompresses.

# Where the loader is on amd64, by the ABI; `--list` prints what a program would load and runs
# nothing of it.
archive_loader=/lib64/ld-linux-x86-64.so.2

# archive_libraries FILE...: prints the shared libraries, and the loader, that the dynamically
# linked ones among FILE need. Scripts and static programs need none; of a program that lacks a
# library nothing is printed, and it says so itself when it is started.
archive_libraries()
{
	local file

	for file; do
		"$archive_loader" --list "$file" 2>/dev/null
	done | awk '$2 == "=>" { print $3; next } $1 ~ /^\// { print $1 }' | LC_ALL=C sort -u
}

# archive_paths: reads absolute paths, prints them as names of archive members, each after its
# directories. Like Debian, the guest has /bin, /sbin, /lib and /lib64 as links into /usr.
archive_paths()
{
	sed -E '/^$/d; s#^/(bin|sbin|lib|lib64)/#/usr/\1/#; s#^/##' |
		awk -F/ '{
			name = $1
			print name
			for (i = 2; i <= NF; i++) {
				name = name "/" $i
				print name
			}
		}' | LC_ALL=C sort -u
}

# archive_write [--dereference]: reads names of members below the current directory and writes the
# archive to stdout; with --dereference, what a link names is stored in its place.
archive_write()
{
	cpio --quiet --create --format=newc --owner=0:0 "$@"
}
