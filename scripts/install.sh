#!/usr/bin/env bash
# Installs the plugins, vnetctl and, if wanted, a network configuration on this
# node, or removes them. `--help` tells the options.
#
# Every file gets its name by a rename, so that a runtime which starts a plugin at
# this moment finds the old one or the new one, and a running one keeps its file.
# The configuration comes last and goes first: none is ever seen without its plugins.
set -euo pipefail

NAME=${0##*/}
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PLUGINS=(vnet vnet-nsg vnet-ipam)
CTL=vnetctl

BIN_DIR=${BIN_DIR:-/opt/cni/bin}
CTL_DIR=${CTL_DIR:-/usr/local/bin}
CONF_DIR=${CONF_DIR:-/etc/cni/net.d}
STATE_DIR=${STATE_DIR:-}
FROM=$ROOT/bin
CONFLIST=
REMOVE=
KEEP_STATE=
FORCE=
REMOVAL= # an option that only --remove has is there
TEMP=  # the file that is being written, if any
ASIDE= # the configuration that is being removed, if any

usage() {
	cat <<-EOF
		usage: $NAME [OPTION]…            install
		       $NAME --remove [OPTION]…   remove what was installed

		  --conflist FILE   also install this network configuration under its own name;
		                    with --remove, the one to remove (only its name counts)
		  --bin-dir DIR     where the runtime looks for plugins (BIN_DIR; now $BIN_DIR)
		  --ctl-dir DIR     where vnetctl belongs (CTL_DIR; now $CTL_DIR)
		  --conf-dir DIR    where the runtime looks for configurations (CONF_DIR; now $CONF_DIR)
		  --from DIR        where the built programs are (now $FROM)
		  --help            show this

		only with --remove:
		  --state-dir DIR   the plugins' stateDir (STATE_DIR; default: that of the removed
		                    configuration, else /run/vnet)
		  --keep-state      leave leases, rules and sets alone, as for an upgrade
		  --force           even if pods are attached; what cannot be cleaned up stays
	EOF
}

say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "$NAME" "$*" >&2; exit 1; }
misused() { printf '%s: %s (see %s --help)\n' "$NAME" "$*" "$NAME" >&2; exit 2; }

parse() {
	while [[ $# -gt 0 ]]; do
		case $1 in
		--help | -h) usage; exit 0 ;;
		--remove) REMOVE=1; shift; continue ;;
		--keep-state) KEEP_STATE=1 REMOVAL=1; shift; continue ;;
		--force) FORCE=1 REMOVAL=1; shift; continue ;;
		--conflist | --bin-dir | --ctl-dir | --conf-dir | --state-dir | --from) ;;
		*) misused "unknown argument \"$1\"" ;;
		esac
		[[ -n ${2:-} ]] || misused "$1 needs a value"
		case $1 in
		--conflist) CONFLIST=$2 ;;
		--bin-dir) BIN_DIR=$2 ;;
		--ctl-dir) CTL_DIR=$2 ;;
		--conf-dir) CONF_DIR=$2 ;;
		--state-dir) STATE_DIR=$2 REMOVAL=1 ;;
		--from) FROM=$2 ;;
		esac
		shift 2
	done
	[[ -n $REMOVE || -z $REMOVAL ]] || misused "--state-dir, --keep-state and --force go with --remove"
	[[ -z $CONFLIST || $CONFLIST == *.conflist ]] ||
		misused "--conflist \"$CONFLIST\": the name must end in .conflist, or a runtime takes it for something else"
}

# need_writable DIR: in DIR, or in the folder that it would be made in, files can be
# made. Only trying tells: root may write everywhere but on a read-only file system.
need_writable() {
	local dir=$1 probe
	while [[ ! -e $dir ]]; do dir=$(dirname "$dir"); done
	[[ -d $dir ]] || fail "$dir is not a folder"
	probe=$(mktemp "$dir/.$NAME.XXXXXX" 2>/dev/null) || fail "cannot write to $dir: run this as root, or name another folder"
	rm -f "$probe"
}

# put FILE DIR NAME MODE: FILE under that name in DIR, by a rename, unless it is there
put() {
	local from=$1 dir=$2 name=$3 mode=$4
	local to=$dir/$name
	if [[ -f $to && ! -L $to && $(stat -c %a "$to") == "$mode" ]] && cmp -s "$from" "$to"; then
		say "$to is up to date"
		return
	fi
	mkdir -p "$dir"
	TEMP=$(mktemp "$dir/.$name.XXXXXX")
	cat "$from" >"$TEMP"
	chmod "$mode" "$TEMP"
	sync "$TEMP" # or a power failure may leave the new name with no content
	mv -fT "$TEMP" "$to"
	TEMP=
	say "$to is installed"
}

# plugins_of FILE: every plugin that a configuration names
plugins_of() { grep -o '"type"[[:space:]]*:[[:space:]]*"[^"]*"' "$1" | sed 's/.*"\([^"]*\)"$/\1/' | sort -u; }

ours() { [[ " ${PLUGINS[*]} " == *" $1 "* ]]; }

# check_conflist: nothing is installed if the configuration could not work afterwards
check_conflist() {
	local plugin found=
	[[ -f $CONFLIST && -r $CONFLIST ]] || fail "$CONFLIST is not a file that can be read"
	for plugin in $(plugins_of "$CONFLIST"); do
		if ours "$plugin"; then
			found=1
		elif [[ ! -x $BIN_DIR/$plugin ]]; then
			fail "$CONFLIST names the plugin \"$plugin\", which is not in $BIN_DIR: install it first (https://github.com/containernetworking/plugins), or take it out"
		fi
	done
	[[ -n $found ]] || fail "$CONFLIST names none of the plugins ${PLUGINS[*]}"
}

install_all() {
	local program
	for program in "${PLUGINS[@]}" "$CTL"; do
		[[ -f $FROM/$program && -x $FROM/$program ]] || fail "$FROM/$program is missing: run \`make build\` first"
	done
	[[ -z $CONFLIST ]] || check_conflist
	need_writable "$BIN_DIR"
	need_writable "$CTL_DIR"
	[[ -z $CONFLIST ]] || need_writable "$CONF_DIR"

	for program in "${PLUGINS[@]}"; do put "$FROM/$program" "$BIN_DIR" "$program" 755; done
	put "$FROM/$CTL" "$CTL_DIR" "$CTL" 755
	[[ -z $CONFLIST ]] || put "$CONFLIST" "$CONF_DIR" "$(basename "$CONFLIST")" 644
	[[ -z $CONFLIST ]] || tell_first "$(basename "$CONFLIST")"
}

# tell_first NAME: a runtime takes the first configuration by name, whoever came last
tell_first() {
	local first
	first=$(shopt -s nullglob && cd "$CONF_DIR" && printf '%s\n' *.conf *.conflist *.json | LC_ALL=C sort | head -1)
	[[ $first == "$1" ]] ||
		say "note: a runtime takes the first configuration by name, and that is $CONF_DIR/$first: remove it, or install this one under its name"
}

# other_users NAME: the configurations but NAME that would be left without their plugin
other_users() {
	local file plugin
	for file in "$CONF_DIR"/*.conflist "$CONF_DIR"/*.conf "$CONF_DIR"/*.json; do
		[[ -f $file && $(basename "$file") != "$1" ]] || continue
		for plugin in $(plugins_of "$file"); do
			if ours "$plugin"; then
				printf '%s\n' "$file"
				break
			fi
		done
	done
}

# set_aside NAME: no runtime sees the configuration any more, but it can come back.
# A removal that was killed left one there already.
set_aside() {
	[[ -n $1 ]] || return 0
	[[ ! -e $CONF_DIR/$1 ]] || mv -fT "$CONF_DIR/$1" "$CONF_DIR/.$1.removed"
	[[ ! -e $CONF_DIR/.$1.removed ]] || ASIDE=$1
}

# find_state_dir decides where the plugins keep their state.
find_state_dir() {
	[[ -z $STATE_DIR && -n $ASIDE ]] &&
		STATE_DIR=$(sed -n 's/.*"stateDir"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' "$CONF_DIR/.$ASIDE.removed" | head -1)
	STATE_DIR=${STATE_DIR:-/run/vnet}
}

# ctl ARGUMENT…: vnetctl as installed, else as built
ctl() {
	local program=$CTL_DIR/$CTL
	[[ -x $program ]] || program=$FROM/$CTL
	[[ -x $program ]] || { printf '%s: vnetctl is neither in %s nor in %s\n' "$NAME" "$CTL_DIR" "$FROM" >&2; return 1; }
	"$program" --state-dir "$STATE_DIR" "$@"
}

# leases: how many addresses are leased, in all networks, and pods of other main plugins
# judged
leases() {
	local leased judged
	leased=$(ctl ipam -o json) && judged=$(ctl pods -o json) || return
	leased=$(grep -c '"containerID"' <<<"$leased" || true)
	judged=$(grep -c '"network": "[^"]*+nsg"' <<<"$judged" || true)
	echo $((leased + judged))
}

# clean_up removes the rules and sets that no pod needs any more, and the state
# directory when it has no lease.
clean_up() {
	local count
	[[ -d $STATE_DIR ]] || { say "no leftovers to remove: $STATE_DIR does not exist"; return 0; }
	if ! ctl gc; then
		[[ -n $FORCE ]] || fail "what is left in the kernel could not be removed; --force goes on nevertheless"
	fi
	count=$(leases) || count=unknown
	if [[ $count == 0 ]]; then
		remove_state
	elif [[ -n $FORCE ]]; then
		say "$STATE_DIR is kept (leases: $count): DEL or vnetctl still needs it"
	else
		fail "leases in $STATE_DIR: $count. Remove the pods first (vnetctl ipam and vnetctl pods list them), or go on with --force"
	fi
}

# networks: the names of the networks that have a lease store
networks() {
	local out
	out=$(ctl status -o json) || [[ $out == *'"networks"'* ]] || return # it fails too when something is damaged
	sed -n 's/^ *"network": "\([^"]*\)".*/\1/p' <<<"$out"
}

# remove_state removes only what the plugins make there, whatever directory it is.
remove_state() {
	local names network
	names=$(networks) || fail "the networks in $STATE_DIR cannot be listed"
	for network in $names; do
		rm -f "$STATE_DIR/$network.db" "$STATE_DIR/.$network.db".* "$STATE_DIR/$network.nsg" "$STATE_DIR/$network.nsg".new \
			"$STATE_DIR/$network.nsg-rejected" "$STATE_DIR/$network.nsg-lock" "$STATE_DIR/$network.tally"
	done
	rm -f "$STATE_DIR/iptables" "$STATE_DIR/iptables.new" "$STATE_DIR/iptables.lock" "$STATE_DIR/members.lock"
	rmdir "$STATE_DIR" 2>/dev/null || say "$STATE_DIR is kept: it holds other files"
}

remove_all() {
	local conflist='' others program
	[[ -z $CONFLIST ]] || conflist=$(basename "$CONFLIST")
	others=$(other_users "$conflist" | paste -sd' ')
	[[ -z $others || -n $FORCE ]] || fail "$others: still in need of the plugins; name it with --conflist to remove it, or remove it yourself"
	for program in "$BIN_DIR" "$CTL_DIR"; do [[ ! -d $program ]] || need_writable "$program"; done
	[[ -z $conflist || ! -d $CONF_DIR ]] || need_writable "$CONF_DIR"

	set_aside "$conflist"
	find_state_dir
	[[ -n $KEEP_STATE ]] || clean_up
	if [[ -n $ASIDE ]]; then
		rm -f "$CONF_DIR/.$ASIDE.removed"
		ASIDE=
		say "$CONF_DIR/$conflist is removed"
	fi
	for program in "${PLUGINS[@]/#/$BIN_DIR/}" "$CTL_DIR/$CTL"; do
		[[ -e $program ]] || continue
		rm -f "$program"
		say "$program is removed"
	done
}

# undo runs whenever the script ends: nothing half done stays.
undo() {
	[[ -z $TEMP ]] || rm -f "$TEMP"
	if [[ -n $ASIDE && -e $CONF_DIR/.$ASIDE.removed && ! -e $CONF_DIR/$ASIDE ]]; then
		mv -fT "$CONF_DIR/.$ASIDE.removed" "$CONF_DIR/$ASIDE"
	fi
}
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

parse "$@"
if [[ -n $REMOVE ]]; then
	remove_all
else
	install_all
fi
