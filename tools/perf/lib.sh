# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the programs in this directory share.

# perf_need PROGRAM=PACKAGE...: stops with the line that brings every absent program.
perf_need() {
	local each absent=""
	for each; do
		command -v "${each%%=*}" >/dev/null || absent+=" ${each#*=}"
	done
	[ -z "$absent" ] || {
		echo "${0##*/}: run: sudo apt-get install --no-install-recommends$absent" >&2
		exit 1
	}
}

# perf_failed FILE: the command that was measured failed; FILE is what it printed.
perf_failed() {
	tail -n 5 "$1" >&2
	echo "${0##*/}: the command failed" >&2
	exit 1
}

# perf_pairs BUILD iova|map: the program that is only a loop, or a line that says how to build it.
perf_pairs() {
	local pairs=$1/bench/$2/$2-pairs
	[ -x "$pairs" ] || {
		echo "${0##*/}: there is no $pairs; run: meson setup $1 && ninja -C $1" >&2
		exit 1
	}
	echo "$pairs"
}

# Does perf count what the processor does, here?
perf_has_counters() {
	perf stat -x, -e cycles true 2>&1 | grep -qE '^[1-9][0-9]*,'
}

# perf_operations PAIRS CONTENDER WORKLOAD THREADS LIVE: how many operations take about 2 s.
perf_operations() {
	local n=1000 from to
	while :; do
		from=$(date +%s%N)
		"$@" "$n"
		to=$(date +%s%N)
		[ $((to - from)) -gt 300000000 ] && break
		n=$((n * 4))
	done
	echo $((n * 2000 / ((to - from) / 1000000)))
}

# perf_total PAIRS CONTENDER WORKLOAD THREADS LIVE OPERATIONS: instructions of the whole program.
perf_total() {
	local out
	out=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1) || {
		printf '%s\n' "$out" >&2
		return 1
	}
	printf '%s\n' "$out" | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# perf_callgrind FILE [OPTION...] PROGRAM...: what callgrind counts in it goes to FILE.
perf_callgrind() {
	local file=$1
	shift
	valgrind --tool=callgrind --callgrind-out-file="$file" "$@" >"$file.said" 2>&1 ||
		perf_failed "$file.said"
}

# perf_instructions PAIRS CONTENDER WORKLOAD THREADS LIVE: of one operation. Two runs of different
# length differ by the operations alone: what opens, fills and closes is in both.
perf_instructions() {
	local less=20000 more=120000 a b threads=$4
	perf_need valgrind=valgrind
	a=$(perf_total "$@" "$less") || return 1
	b=$(perf_total "$@" "$more") || return 1
	awk -v a="$a" -v b="$b" -v n=$((more - less)) -v t="$threads" \
		'BEGIN { printf "%.1f\n", (b - a) / (n * t) }'
}

# perf_map_instructions PAIRS WAY: of one map and its unmap; fewer of the long lists are enough.
perf_map_instructions() {
	local less=3000 more=13000 a b
	case $2 in
	*-256 | *-512) less=100 more=300 ;;
	esac
	a=$(perf_total "$@" "$less") || return 1
	b=$(perf_total "$@" "$more") || return 1
	awk -v a="$a" -v b="$b" -v n=$((more - less)) 'BEGIN { printf "%.1f\n", (b - a) / n }'
}
