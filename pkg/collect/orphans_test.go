package collect

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// glance is one look in the history of a test.
type glance struct {
	at     time.Time
	listed []Attachment
	known  map[string]struct{}
}

// unknownSince returns since which look, of those up to the last, an attachment was
// listed unchanged while nobody knew its container.
func unknownSince(history []glance, a Attachment) (since time.Time) {
	for _, l := range slices.Backward(history) {
		i := slices.IndexFunc(l.listed, func(b Attachment) bool { return b.Network == a.Network && b.Lease.Key == a.Lease.Key })
		if _, alive := l.known[a.Lease.ContainerID]; alive || i < 0 || !identical(l.listed[i], a) {
			return since
		}
		since = l.at
	}
	return since
}

// identical compares by words.
func identical(a, b Attachment) bool { return inWords(a) == inWords(b) }

func inWords(a Attachment) string {
	l := "-"
	if a.Link != nil {
		l = fmt.Sprint(a.Link.HostName, a.Link.Addrs)
	}
	return fmt.Sprintf("%s %v %v %d %s %s", a.Network, a.Lease.Key, a.Lease.Addresses, a.Lease.Since.UnixNano(), a.Lease.Attachment, l)
}

// drawAttachment draws one of few, in one of few states.
func drawAttachment(t *rapid.T, id string) Attachment {
	a := Attachment{Network: rapid.SampledFrom([]string{"n1", "n1", "n1", "n2"}).Draw(t, "network"), Lease: ipam.Lease{Key: key(id)}}
	mostly := func(n int) int { return rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 0, n}).Draw(t, "state") }
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(mostly(1))})
	if mostly(1) == 1 {
		a.Link = &link.Attachment{HostName: "vnet" + id, Addrs: []netip.Addr{addr}}
		return a
	}
	a.Lease.Addresses = []netip.Prefix{netip.PrefixFrom(addr, 24)}
	a.Lease.Since = time.Unix(int64(mostly(1)), 0)
	a.Lease.Attachment = fmt.Appendf(nil, "%d", mostly(1))
	return a
}

// What is removed was listed unchanged and unknown at each look for the whole
// grace, and what was is removed: whatever else happened, and at whatever pace.
func TestOrphansAreTheHistorys(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "b", "c"}
	looks, removed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		o := NewOrphans(grace)
		now := time.Unix(0, 0)
		var history []glance
		for range rapid.IntRange(1, 40).Draw(t, "looks") {
			looks++
			step := rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Minute, grace - 1, grace, -time.Minute}).Draw(t, "step")
			now = now.Add(step)
			l := glance{at: now, known: map[string]struct{}{}}
			for _, id := range ids {
				if rapid.IntRange(0, 9).Draw(t, "listed") > 0 {
					l.listed = append(l.listed, drawAttachment(t, id))
				}
				if rapid.IntRange(0, 9).Draw(t, "known") == 0 {
					l.known[id] = struct{}{}
				}
			}
			history = append(history, l)
			got := map[string]bool{}
			for _, a := range o.Look(l.at, l.listed, l.known) {
				removed++
				got[inWords(a)] = true
			}
			for _, a := range l.listed {
				since := unknownSince(history, a)
				want := !since.IsZero() && now.Sub(since) >= grace
				if got[inWords(a)] != want {
					t.Fatalf("%s at %v: removed %v, unknown since %v", inWords(a), now, got[inWords(a)], since)
				}
				delete(got, inWords(a))
			}
			if len(got) != 0 {
				t.Fatalf("removed and not listed: %v", got)
			}
		}
	})
	if removed == 0 {
		t.Error("nothing was ever removed")
	}
	t.Logf("%d looks, %d removals", looks, removed)
}

// A container that is known at any look within the grace is not removed, nor is one
// whose lease is renewed within it.
func TestOrphanIsSaved(t *testing.T) {
	t.Parallel()
	saved, removed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		o := NewOrphans(grace)
		a := Attachment{Network: "n", Lease: ipam.Lease{Key: key("a"), Since: time.Unix(1, 0)}}
		steps := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 3 * time.Minute, grace}), 2, 12).Draw(t, "steps")
		times := make([]time.Duration, len(steps))
		for i, step := range steps {
			times[i] = times[max(i-1, 0)] + step
		}
		at := rapid.IntRange(0, len(times)-1).Draw(t, "saved at")
		renewed := rapid.Bool().Draw(t, "renewed")
		for i, offset := range times {
			ids := known()
			switch {
			case i == at && renewed:
				a.Lease.Since = a.Lease.Since.Add(time.Second)
			case i == at:
				ids = known("a")
			}
			orphan := len(o.Look(time.Unix(0, 0).Add(offset), []Attachment{a}, ids)) > 0
			if orphan && i >= at && offset-times[at] < grace {
				t.Fatalf("removed %v after it was saved", offset-times[at])
			}
			if orphan {
				removed++
			} else {
				saved++
			}
		}
	})
	if saved == 0 || removed == 0 {
		t.Errorf("%d times saved, %d times removed", saved, removed)
	}
	t.Logf("%d times saved, %d times removed", saved, removed)
}

// One look is never enough, even with no grace at all.
func TestOneLookIsNotEnough(t *testing.T) {
	t.Parallel()
	o := NewOrphans(0)
	a := Attachment{Network: "n", Lease: ipam.Lease{Key: key("a")}}
	now := time.Now()
	if got := o.Look(now, []Attachment{a}, nil); len(got) != 0 {
		t.Errorf("removed at the first look: %+v", got)
	}
	a.Lease.Since = now
	if got := o.Look(now, []Attachment{a}, nil); len(got) != 0 {
		t.Errorf("removed at the first look after a change: %+v", got)
	}
	if got := o.Look(now, []Attachment{a}, nil); len(got) != 1 {
		t.Errorf("at the second: %+v", got)
	}
	t.Log("3 looks")
}
