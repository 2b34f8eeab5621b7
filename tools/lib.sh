# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What quickstart and check share: words, packages, and steps that show their progress.

# The project's directory, and the name that messages begin with.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
program=tools/${0##*/}

# die CODE MESSAGE...: one line that names the cause and the fix.
die()
{
	local code=$1

	shift
	printf '%s: %s\n' "$program" "$*" >&2
	exit "$code"
}

# packages_of GROUP...: prints the packages of these groups.
packages_of()
{
	local group

	for group; do
		awk -v group="$group" '$1 == group { print $2 }' "$root/tools/packages.txt"
	done
}

# packages_missing GROUP...: prints those of them that are not installed.
packages_missing()
{
	local package

	for package in $(packages_of "$@"); do
		dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
			grep -q '^install ok installed$' || printf '%s\n' "$package"
	done
}

apt_options=(-y -q --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)

# apt_install PACKAGE...: with the lists as they are if they serve, else with new ones.
apt_install()
{
	export DEBIAN_FRONTEND=noninteractive
	if apt-get --simulate "${apt_options[@]}" install "$@" >/dev/null 2>&1 &&
		apt-get "${apt_options[@]}" install "$@"; then
		return
	fi
	apt-get -q update && apt-get "${apt_options[@]}" install "$@"
}

# need_packages LOG GROUP...: installs what is missing; says nothing if nothing is. 1 if it failed.
need_packages()
{
	local log=$1 missing

	shift
	command -v apt-get dpkg-query >/dev/null || die 2 "this is not Debian; install the packages" \
		"that tools/packages.txt lists under: $*"
	mapfile -t missing < <(packages_missing "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" -eq 0 ] || die 2 "packages are missing; run:" \
		"sudo apt-get install --no-install-recommends ${missing[*]}"
	step "$log" "installing ${#missing[@]} packages: ${missing[*]}" apt_install "${missing[@]}"
}

# The process group of the step that is under way. It ends with the script, however that ends.
step_group=
step_stop()
{
	[ -z "$step_group" ] || kill -TERM -- "-$step_group" 2>/dev/null
}
trap step_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# One line on a terminal, which the next one replaces; elsewhere a line now and then.
step_progress()
{
	local seconds=$1 log=$2 last

	last=$(tail -c 400 "$log" | tr '\r' '\n' | sed '/^[[:space:]]*$/d' | tail -n 1 |
		tr -dc '[:print:]' | cut -c 1-90)
	if [ -t 1 ]; then
		printf '\r\033[K    %d s  %s' "$seconds" "$last"
	else
		printf '    %d s  %s\n' "$seconds" "$last"
	fi
}

# step LOG TITLE CMD...: runs CMD with its output in LOG and says how it goes. Its exit code; if it
# failed, the end of LOG has been shown.
step()
{
	local log=$1 title=$2 start=$SECONDS every=10 shown=0 next code

	shift 2
	[ ! -t 1 ] || every=1
	printf '==> %s\n' "$title"
	: >"$log"
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	set +m
	step_group=$!
	next=$((start + every))
	while kill -0 "$step_group" 2>/dev/null; do
		sleep 0.1
		if [ $SECONDS -ge $next ]; then
			step_progress $((SECONDS - start)) "$log"
			shown=1
			next=$((SECONDS + every))
		fi
	done
	wait "$step_group"
	code=$?
	step_group=
	[ $shown -eq 0 ] || [ ! -t 1 ] || printf '\r\033[K'
	if [ $code -eq 0 ]; then
		printf '    done in %d s\n' $((SECONDS - start))
	else
		printf '    FAILED after %d s; the end of %s:\n' \
			$((SECONDS - start)) "$log"
		tail -n 40 "$log" | sed 's/^/    | /'
	fi
	return $code
}
