#!/bin/bash
# vmqd as a candidate of a harness that sets switches side by side and calls one script a switch with a
# verb: supports, up, add, note, down. The harness gives VQ_NS (namespace with both devices), VQ_A (the
# NIC), VQ_B (the VM's device, whose VM has 02:00:00:00:00:0b), VQ_CPU (the switch's CPU), VQ_RUN
# (scratch folder), VQ_ONLY_A=1 (up: leave the VM out) and VQ_VARIANT: "" (spins briefly, then sleeps),
# poll, or interrupt. VMQD and VMQD_CLI name the binaries; else those of the release build of the tree
# that this file, or the link to it, is in.
set -eu
tree=$(dirname "$(readlink -f "$0")")/../..
vmqd=${VMQD:-$tree/build/release/daemon/vmqd}
cli=${VMQD_CLI:-$tree/build/release/client/vmqd-cli}
address=unix:${VQ_RUN:-/nonexistent}/vmqd.sock

call() { "$cli" --address "$address" "$@"; }
add_vm() { call port add vm --netdev "$VQ_B" --mac 02:00:00:00:00:0b >/dev/null; }

case ${1:-} in
supports) echo "p2v-veth p2v-tap" ;;
up)
	rm -rf "$VQ_RUN/state"
	nsenter --net="/run/netns/$VQ_NS" "$vmqd" --config /dev/null --address "$address" \
		--state-directory "$VQ_RUN/state" --bpf-directory "$VQ_RUN/bpf" --processor-set "$VQ_CPU" \
		>"$VQ_RUN/vmqd.log" 2>&1 </dev/null &
	echo $! >"$VQ_RUN/vmqd.pid"
	for _ in $(seq 100); do call switch show >/dev/null 2>&1 && break; sleep 0.05; done
	call uplink add "$VQ_A" --wake-mode "${VQ_VARIANT:-adaptive}" >/dev/null
	[ -n "${VQ_ONLY_A:-}" ] || add_vm
	echo "pids=$(cat "$VQ_RUN/vmqd.pid")" ;;
add) add_vm ;;
note) call queue list; call port list ;;
down)
	pid=$(cat "$VQ_RUN/vmqd.pid")
	kill -TERM "$pid" 2>/dev/null || exit 0
	for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.05; done
	kill -KILL "$pid" 2>/dev/null || true ;;
*) exit 3 ;;
esac
