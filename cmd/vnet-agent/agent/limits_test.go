package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
)

// A node that was broken into must not make others' kernels hold sets without end.
func TestLimitedNames(t *testing.T) {
	t.Parallel()
	var pods []kube.PodEntry
	for i := range maxNames {
		pods = append(pods, kube.PodEntry{
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})},
			NSG:       fmt.Sprint("nsg", i), ASGs: []string{"web", fmt.Sprint("asg", i)},
		})
	}
	out, left := limited(pods)
	names := map[string]bool{}
	for i, p := range out {
		if !slices.Contains(p.ASGs, "web") {
			t.Errorf("pod %d is not in the group that came first: %v", i, p.ASGs)
		}
		if p.NSG == "" {
			t.Errorf("pod %d has no group: it would be asked for by nobody", i)
		}
		for _, a := range p.ASGs {
			names["asg "+a] = true
		}
		names["nsg "+p.NSG] = true
	}
	if len(out) != len(pods) || len(names) > maxNames+1 || left != 2*maxNames+1-maxNames {
		t.Errorf("%d pods with %d names, %d left out", len(out), len(names), left)
	}
	if !slices.Contains(pods[maxNames-1].ASGs, fmt.Sprint("asg", maxNames-1)) {
		t.Error("what was watched is changed")
	}
	few := pods[:10]
	if same, left := limited(few); left != 0 || fmt.Sprint(same) != fmt.Sprint(few) {
		t.Errorf("few names: %d left out of %v", left, same)
	}
	t.Logf("%d pods, %d names left out", len(pods), left)
}

// Changes that never end do not keep an agent busy all the time, nor waiting for long.
func TestSettling(t *testing.T) {
	t.Parallel()
	cases := map[time.Duration]time.Duration{
		0: settle, 10 * time.Millisecond: settle, 200 * time.Millisecond: 400 * time.Millisecond,
		500 * time.Millisecond: time.Second, time.Minute: time.Second,
	}
	for took, want := range cases {
		if got := settling(took); got != want {
			t.Errorf("after a pass of %s: have %s, want %s", took, got, want)
		}
	}
	t.Logf("%d passes", len(cases))
}

func TestClipped(t *testing.T) {
	t.Parallel()
	cases := []string{"", "short", strings.Repeat("x", maxText), strings.Repeat("x", 300_000), strings.Repeat("ü", maxText)}
	for _, c := range cases {
		got := clipped(c)
		if len(got) > maxText+len("…") || len(c) <= maxText && got != c || strings.ContainsRune(got, '�') {
			t.Errorf("%d bytes become %q", len(c), got)
		}
	}
	t.Logf("%d texts", len(cases))
}
