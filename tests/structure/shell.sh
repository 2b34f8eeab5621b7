#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs shellcheck over the shell scripts of the project. The guest's init, which is busybox's and gets
# its settings at run time, is left to the runs of the machine.
#
# usage: shell.sh ROOT
set -u
cd "$1" || exit 2
mapfile -t scripts < <(grep -rlIE '^#!(/usr/bin/env bash|/bin/(ba)?sh)$' .ci tools tests)
[ ${#scripts[@]} -gt 0 ] || {
	printf 'there is no shell script below %s\n' "$1"
	exit 1
}
# What a script sources is looked for beside it, and read with it.
exec shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning "${scripts[@]}"
