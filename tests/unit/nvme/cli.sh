#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# `dray nvme` from the outside: exit codes, one line for each failure, data on the image.
# Usage: cli.sh PATH-TO-DRAY
set -u
dray=$(realpath "$1") && [ -x "$dray" ] || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
bad=0
cases=0

wrong() {
	echo "FAILED: $1"
	echo "--- stdout"
	cat out
	echo "--- stderr"
	cat err
	bad=$((bad + 1))
}

# expect CODE WORD ARGUMENTS…: the exit code, and the word in what was printed. A command that
# failed (1) prints nothing on stdout and one line on stderr.
expect() {
	code=$1
	word=$2
	shift 2
	cases=$((cases + 1))
	"$dray" "$@" >out 2>err
	got=$?
	if [ "$got" != "$code" ]; then
		wrong "dray $* ended with $got, not $code"
	elif ! cat out err | grep -qF -e "$word"; then
		wrong "dray $* did not say '$word'"
	elif [ "$code" = 1 ] && { [ -s out ] || [ "$(wc -l <err)" != 1 ]; }; then
		wrong "dray $* failed with something else than one line"
	elif [ "$code" = 0 ] && [ -s err ]; then
		wrong "dray $* was good and complained"
	fi
}

# holds CONDITION…: a command that must succeed.
holds() {
	cases=$((cases + 1))
	"$@" >out 2>err || wrong "$*"
}

head -c 1000001 /dev/urandom >file
sum=$(sha256sum file | cut -d' ' -f1)

# Command lines.
expect 0 'dray ' --version
expect 0 'nvme' --help
expect 0 'verify' nvme --help
expect 0 '--destroy-data' nvme perf --help
expect 2 'no command' nvme
expect 2 "no command 'fly'" nvme fly
expect 2 'no controller was named' nvme identify
expect 2 'two controllers' nvme identify --sim img --device 0000:00:00.0
expect 2 'unrecognized option' nvme identify --sim img --fly
expect 2 'no file was named' nvme copy --sim img
expect 2 'second file' nvme copy --sim img file file
expect 2 "--qd '0'" nvme copy --sim img --qd 0 file
expect 2 "--queues '-1'" nvme copy --sim img --queues -1 file
expect 2 "--size '4q'" nvme perf --sim img --size 4q
expect 2 "--size '99999999999999999999'" nvme perf --sim img --size 99999999999999999999
expect 2 "--size '18014398509481985k'" nvme perf --sim img --size 18014398509481985k
expect 2 '--block 1024' nvme identify --sim img --block 1024
expect 2 "--mode 'eager'" nvme perf --sim img --mode eager
expect 2 "--rw 'trim'" nvme perf --sim img --rw trim
expect 2 'whole blocks' nvme identify --sim img --image-size 1000
expect 2 'give them with --sim' nvme identify --device 0000:00:00.0 --seed 3
expect 2 '--destroy-data' nvme perf --device 0000:00:00.0 --rw randwrite
holds test ! -e img

# What is not there, or not what it should be.
expect 1 'does not exist' nvme verify --sim img file
holds test ! -e img
expect 1 'No such file' nvme copy --sim img nothing
: >empty
expect 1 'is empty' nvme copy --sim img empty
expect 1 'regular file' nvme copy --sim img .
holds test ! -e img
head -c 100 file >short
expect 1 'too short' nvme identify --sim short
holds test "$(wc -c <short)" = 100
expect 1 '' nvme identify --device 0000:ff:1f.7
expect 1 '' nvme copy --device not-an-address file

# Copy, verify, and what they find.
expect 0 "$sum equal" nvme copy --sim img file
holds cmp -n 1000001 file img
expect 0 "$sum equal" nvme verify --sim img file
expect 0 '"equal": true' nvme copy --sim img --json --queues 3 --qd 5 --size 8k file
expect 0 '"faults": 0' nvme verify --sim img --json --in-order file
cp file other
printf 'x' | dd of=other bs=1 seek=500000 conv=notrunc 2>dd.err
if cmp -s file other; then
	printf 'y' | dd of=other bs=1 seek=500000 conv=notrunc 2>dd.err
fi
expect 1 'first at byte 500000' nvme verify --sim img other
expect 0 "$sum equal" nvme copy --sim img --offset 4096 file
expect 1 'differs' nvme verify --sim img file
expect 0 'equal' nvme verify --sim img --offset 4096 file
expect 1 'whole blocks' nvme copy --sim img --offset 100 file
truncate -s 512512 small
expect 1 'the namespace has 512512' nvme copy --sim small file
expect 1 'whole number of blocks' nvme identify --sim small --block 4096
expect 0 'equal' nvme copy --sim img4 --block 4096 --image-size 2M --latency 50 --seed 9 file
holds test "$(wc -c <img4)" = 2097152
expect 1 'whole blocks of 4096' nvme copy --sim img4 --block 4096 --size 512 file

# Vectors, and a second thread in the domain.
expect 2 "--iov 'x'" nvme copy --sim img --iov x file
expect 0 "$sum equal" nvme copy --sim img --iov 11 file
expect 0 '"iov_copied": 0' nvme copy --sim img --iov 12 --json file
expect 0 '"iov_sgl": 0' nvme copy --sim img --iov 12 --no-sgl --json --size 16k file
expect 0 'seed 13' nvme verify --sim img --iov 13 --queues 1 --qd 3 file
for mode in strict lazy; do
	expect 0 "$sum equal" nvme copy --sim img --mode $mode --strain file
	expect 0 '"faults": 0' nvme verify --sim img --mode $mode --strain --iov 14 --json file
	expect 0 'by the second thread' nvme perf --sim img --mode $mode --strain --seconds 1
done
expect 2 "--memory 'stone'" nvme perf --sim img --memory stone
expect 0 'malloc' nvme perf --sim img --memory malloc --seconds 1
if "$dray" nvme perf --sim img --memory heap --seconds 1 >out 2>err; then
	expect 0 'calls per command  0.0' nvme perf --sim img --memory heap --seconds 1
else
	expect 1 'without libdray-heap' nvme perf --sim img --memory heap
fi
expect 0 '"sgl_align": 1' nvme identify --sim img --json
expect 0 '"sgl_align": 0' nvme identify --sim img --json --no-sgl

# Identify and perf.
expect 0 '4096 blocks of 512' nvme identify --sim new --image-size 2M
expect 0 '"bytes": 2097152' nvme identify --sim new --json
expect 0 '"backend_calls_per_op": 2.0' nvme perf --sim new --seconds 1 --json
expect 0 'calls per command  2.000' nvme perf --sim new --seconds 1 --rw write --size 64k --queues 2
expect 1 'smaller commands' nvme perf --sim new --size 4M --qd 1 --seconds 1
expect 0 '"ops": 5,' nvme perf --sim new --commands 5 --json
expect 0 '"ops": 100,' nvme perf --sim new --commands 100 --queues 3 --qd 7 --mode lazy --json
expect 2 "--commands '0'" nvme perf --sim new --commands 0

# An output that takes nothing is a failure.
cases=$((cases + 1))
"$dray" nvme identify --sim new >/dev/full 2>err
[ $? = 1 ] || wrong 'a full output went unnoticed'

echo "$cases cases, $bad failed"
[ "$bad" = 0 ]
