package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
)

// living is a pod that was attached while the store was whole.
type living struct {
	*testnet.Pod
	result    []byte
	addresses []string
}

// house is a node with living pods and a store to be damaged.
type house struct {
	*bench
	pods  []living
	store []byte // as the last ADD left it
}

// sector is the step of truncations: a disk writes no less at a time.
const sector = 512

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{bench: newBench(t)}
	h.conf.pools(poolOf("10.241.0.0/16", "10.241.4.10-10.241.4.19"), poolOf("fd00:10:241::/64", "fd00:10:241::410-fd00:10:241::419"))
	h.stdin = h.conf.stdin(t, nil)
	for range 3 {
		h.pods = append(h.pods, h.moveIn(h.node.NewPod()))
	}
	raw, err := os.ReadFile(h.db())
	if err != nil {
		t.Fatal(err)
	}
	h.store = raw
	return h
}

func (h *house) db() string { return filepath.Join(h.node.StateDir(), h.conf.network+".db") }

func (h *house) moveIn(p *testnet.Pod) living {
	h.t.Helper()
	out := h.node.Exec("vnet", p.Env("ADD"), h.stdin)
	if out.Err != nil {
		h.t.Fatalf("ADD: %+v", out.Err)
	}
	return living{p, out.Stdout, addressesOf(h.t, out)}
}

func (h *house) checkPod(p living) testnet.Output {
	return h.node.Exec("vnet", p.Env("CHECK"), h.conf.stdin(h.t, map[string]any{"prevResult": json.RawMessage(p.result)}))
}

// restore puts the whole store back, as a file of its own.
func (h *house) restore() {
	h.t.Helper()
	whole := h.db() + ".whole"
	if err := os.WriteFile(whole, h.store, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(whole, h.db()); err != nil {
		h.t.Fatal(err)
	}
}

// harm is a way to damage the store's file.
type harm struct {
	name string
	do   func(path string) error
}

func cut(at int64) harm {
	return harm{fmt.Sprintf("truncated at %d", at), func(path string) error { return os.Truncate(path, at) }}
}

func noise(from, to int) harm {
	return harm{fmt.Sprintf("noise from %d to %d", from, to), func(path string) error {
		junk := make([]byte, to-from)
		r := rand.New(rand.NewPCG(uint64(from), uint64(to)))
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(junk, int64(from))
		return err
	}}
}

// grossHarms are those after which nothing of the file can be used.
func grossHarms(size int) []harm {
	return []harm{
		cut(0), cut(sector), cut(4096), noise(0, size), noise(0, 8192),
		{"deleted", os.Remove},
		{"replaced by text", func(path string) error { return writeFile(path, "leases: none\n") }},
		{"replaced by zeros", func(path string) error { return os.WriteFile(path, make([]byte, size), 0o600) }},
	}
}

// TestDamagedStore damages the store under three living pods: the next pod gets
// an address of none of them, and they still pass CHECK.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	size := len(newHouse(t).store)
	harms := grossHarms(size)
	for at := 0; at < size; at += truncationStep(at) {
		harms = append(harms, cut(int64(at)))
	}
	for at := 0; at+4096 <= min(size, 65536); at += 4096 {
		harms = append(harms, noise(at, at+4096), noise(at+sector, at+2*sector))
	}
	jobs := make(chan harm, len(harms))
	for _, h := range harms {
		jobs <- h
	}
	close(jobs)
	onWorkers(t, 2, func(t *testing.T) {
		h := newHouse(t)
		for damage := range jobs {
			h.suffer(damage)
		}
		h.empty("after all damages")
	})
	t.Logf("%d damages to a store of %d bytes", len(harms), size)
}

// truncationStep is a sector in front, where the pages in use are. Behind them
// lies reserved space, of which an ordinary run takes a part.
func truncationStep(at int) int {
	if at < 65536 || soak() {
		return sector
	}
	return 16 * sector
}

// suffer damages the store, lets a newcomer in and looks after the others.
func (h *house) suffer(damage harm) {
	h.t.Helper()
	h.damage(damage)
	add := h.run("ADD")
	if add.Err != nil {
		h.t.Errorf("store %s: ADD: %+v", damage.name, add.Err)
	} else {
		h.expectFresh(damage.name, addressesOf(h.t, add))
	}
	for _, p := range h.pods {
		if out := h.checkPod(p); out.Err != nil {
			h.t.Errorf("store %s: CHECK of a living pod: %+v", damage.name, out.Err)
		}
	}
	if out := h.run("DEL"); out.Err != nil {
		h.t.Errorf("store %s: DEL: %+v", damage.name, out.Err)
	}
	h.restore()
}

func (h *house) damage(damage harm) {
	h.t.Helper()
	if err := damage.do(h.db()); err != nil {
		h.t.Fatalf("store %s: %v", damage.name, err)
	}
}

// expectFresh wants addresses that no living pod has.
func (h *house) expectFresh(when string, addresses []string) {
	h.t.Helper()
	if len(addresses) != 2 {
		h.t.Errorf("store %s: the new pod has %v, want one of each family", when, addresses)
	}
	for _, p := range h.pods {
		for _, a := range addresses {
			if slices.Contains(p.addresses, a) {
				h.t.Errorf("store %s: %s of a living pod is given a second time", when, a)
			}
		}
	}
}

// empty deletes all living pods and wants nothing left.
func (h *house) empty(when string) {
	h.t.Helper()
	for _, p := range h.pods {
		if out := h.node.Exec("vnet", p.Env("DEL"), h.stdin); out.Err != nil {
			h.t.Errorf("%s: DEL of a living pod: %+v", when, out.Err)
		}
	}
	h.expectClean(when)
}

// TestDamagedStoreDEL deletes the living pods from a store that is lost, the
// configuration with it: the kernel tells all that DEL needs.
func TestDamagedStoreDEL(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	harms := grossHarms(len(h.store))
	for i, damage := range harms {
		if i > 0 {
			h.refill()
		}
		h.damage(damage)
		for _, p := range h.pods {
			if out := h.node.Exec("vnet", p.Env("DEL"), h.stdin); out.Err != nil {
				t.Errorf("store %s: DEL: %+v", damage.name, out.Err)
			}
		}
		h.must("ADD") // a DEL need not make a new store
		h.must("DEL")
		h.expectClean("store " + damage.name)
	}
	t.Logf("%d times all pods deleted from a lost store", len(harms))
}

func (h *house) refill() {
	h.t.Helper()
	for i, p := range h.pods {
		h.pods[i] = h.moveIn(p.Pod)
	}
}

// TestOtherBoot makes the plugin believe that the node was booted since the
// store was written: the leases count for nothing, yet what has a route is taken.
func TestOtherBoot(t *testing.T) {
	t.Parallel()
	const otherBoot = "00000000-1111-2222-3333-444444444444"
	h := newHouse(t)
	id := filepath.Join(t.TempDir(), "boot_id")
	if err := writeFile(id, otherBoot+"\n"); err != nil {
		t.Fatal(err)
	}
	rebooted := func(p *testnet.Pod, verb string) testnet.Output {
		return runCommand(t, h.node, h.node.Command(p.Env(verb), "/bin/sh", "-ec",
			`mount --bind "$1" /proc/sys/kernel/random/boot_id; exec "$2"`, "sh", id, testnet.Bin(t, "vnet")), h.stdin)
	}
	out := rebooted(h.pod, "ADD")
	if out.Err != nil {
		t.Fatalf("ADD after a boot: %+v", out.Err)
	}
	h.expectFresh("of another boot", addressesOf(t, out))
	leases, err := ipam.New(ipam.Options{Dir: h.node.StateDir(), Network: h.conf.network,
		BootID: func() (string, error) { return otherBoot, nil }}).Leases()
	if err != nil || len(leases) != 1 || leases[0].ContainerID != h.pod.ContainerID() {
		t.Errorf("the store holds %v, %v; want nothing but the new lease", leases, err)
	}
	for _, p := range append([]living{{Pod: h.pod}}, h.pods...) {
		if out := rebooted(p.Pod, "DEL"); out.Err != nil {
			t.Errorf("DEL after a boot: %+v", out.Err)
		}
	}
	h.expectClean("after another boot")
}
