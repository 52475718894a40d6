#!/bin/bash
# vmqd as a candidate of a harness that sets switches side by side and calls one script a switch with a
# verb: supports, up, add, note, down. The harness gives VQ_NS (namespace with all devices), VQ_A (the
# NIC, or the socket a guest with 02:00:00:00:00:0a listens on), VQ_B (the device of a VM, or its socket,
# that has 02:00:00:00:00:0b), VQ_CPU (the switch's CPU), VQ_RUN (scratch folder), VQ_ONLY_A=1 (up: leave
# the VM out), VQ_SCEN (v2p-*: the VM is the sender) and VQ_VARIANT: "" (spins briefly, then sleeps),
# poll, or interrupt. Between two guests the uplink is a veth with nothing behind it. VMQD and VMQD_CLI
# name the binaries; else those of the release build of the tree that this file, or the link to it, is in.
set -eu
tree=$(dirname "$(readlink -f "$0")")/../..
vmqd=${VMQD:-$tree/build/release/daemon/vmqd}
cli=${VMQD_CLI:-$tree/build/release/client/vmqd-cli}
address=unix:${VQ_RUN:-/nonexistent}/control/vmqd.sock  # not beside the sockets of the guests

call() { "$cli" --address "$address" "$@"; }
inside() { nsenter --net="/run/netns/$VQ_NS" "$@"; }
add_port() { # NAME DEVICE-or-SOCKET MAC
	case $2 in
	/*) call port add "$1" --vhost-user "$(basename "$2")" --vhost-role vmm-listens --mac "$3" >/dev/null ;;
	*) call port add "$1" --netdev "$2" --mac "$3" >/dev/null ;;
	esac
}
# Frames always go from ...:0a to ...:0b, whoever sends.
add_vm() {
	case ${VQ_SCEN:-} in
	v2p-*) add_port vm "$VQ_B" 02:00:00:00:00:0a ;;
	*) add_port vm "$VQ_B" 02:00:00:00:00:0b ;;
	esac
}
sockets() { # the folder of the guests' sockets, if there are any
	case $VQ_A$VQ_B in *.sock) dirname "$(case $VQ_B in /*) echo "$VQ_B" ;; *) echo "$VQ_A" ;; esac)" ;;
	*) echo "$VQ_RUN/vhost" ;; esac
}

case ${1:-} in
supports) echo "p2v-veth p2v-tap v2v-vhost p2v-vhost v2p-vhost" ;;
up)
	mkdir -p "$VQ_RUN/control"
	rm -rf "$VQ_RUN/state"
	# exec: the harness stops and continues this very process.
	(exec nsenter --net="/run/netns/$VQ_NS" "$vmqd" --config /dev/null --address "$address" \
		--state-directory "$VQ_RUN/state" --bpf-directory "$VQ_RUN/bpf" --vhost-directory "$(sockets)" --processor-set "$VQ_CPU" \
		>"$VQ_RUN/vmqd.log" 2>&1 </dev/null) &
	echo $! >"$VQ_RUN/vmqd.pid"
	for _ in $(seq 100); do call switch show >/dev/null 2>&1 && break; sleep 0.05; done
	uplink=$VQ_A
	case $VQ_A in /*)
		uplink=vqwire
		inside ip link add vqwire type veth peer name vqwire-p
		inside ip link set vqwire up && inside ip link set vqwire-p up ;;
	esac
	call uplink add "$uplink" --wake-mode "${VQ_VARIANT:-adaptive}" >/dev/null
	case $VQ_A in /*) add_port vma "$VQ_A" 02:00:00:00:00:0a ;; esac
	[ -n "${VQ_ONLY_A:-}" ] || add_vm
	echo "pids=$(cat "$VQ_RUN/vmqd.pid")" ;;
add) add_vm ;;
note) call queue list; call port list ;;
down)
	pid=$(cat "$VQ_RUN/vmqd.pid")
	kill -TERM "$pid" 2>/dev/null || true
	for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
	kill -KILL "$pid" 2>/dev/null || true
	inside ip link del vqwire 2>/dev/null || true ;;
*) exit 3 ;;
esac
