# SPDX-License-Identifier: BSD-2-Clause
# How the virtual machine's scripts speak, and where they keep things. Sourced by each of them.
#
# Everything goes to stderr, one line at a time, so that stdout stays the output of the command
# that runs in the machine. Exit codes: 2 for bad input, 125 when the machine could not be set up.

# modprobe and depmod are where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

vm_say()
{
	printf 'tools/vm: %s\n' "$*" >&2
}

# vm_die CODE MESSAGE...: the message names the cause and the fix.
vm_die()
{
	local code=$1

	shift
	vm_say "$@"
	exit "$code"
}

# vm_need PROGRAM=PACKAGE...: stops with the apt-get line that brings every absent program.
vm_need()
{
	local pair programs='' packages=''

	for pair; do
		type -P "${pair%%=*}" >/dev/null && continue
		programs+=" ${pair%%=*}"
		packages+=" ${pair#*=}"
	done
	[ -z "$programs" ] || vm_die 125 "not installed:$programs; run:" \
		"sudo apt-get install --no-install-recommends$packages"
}

# vm_cache: prints the absolute path of the cache directory, made if it is not there.
vm_cache()
{
	local dir=${DRAY_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/dray/vm}

	mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || vm_die 125 \
		"the cache directory $dir cannot be written; name another one in DRAY_VM_CACHE"
	realpath "$dir"
}

# vm_lock FILE: holds FILE's lock until the calling script ends.
vm_lock()
{
	exec {vm_lock_fd}>"$1" || vm_die 125 "cannot open the lock file $1"
	flock -n "$vm_lock_fd" && return
	vm_say "waiting for another run that is filling the cache"
	flock "$vm_lock_fd"
}
