package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// journal is a log to look into.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

type running struct {
	*Client
	log     journal
	changes atomic.Int64
}

func (f *fake) options(t *testing.T, r *running) Options {
	return Options{Kubeconfig: f.kubeconfig(t), Node: "a", Namespace: "vnet-system",
		Log: slog.New(slog.NewTextHandler(&r.log, nil)), Changed: func() { r.changes.Add(1) }}
}

func (f *fake) start(t *testing.T) *running {
	t.Helper()
	r := &running{}
	var err error
	if r.Client, err = Start(t.Context(), f.options(t, r)); err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually polls; what takes longer than three minutes never comes: client-go may wait
// for one before it asks again.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes: %s", what)
		}
	}
}

func node(name, uid, address, podCIDR string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"uid":%q},"spec":{"podCIDR":%q,"podCIDRs":[%q]},"status":{"addresses":[{"type":"Hostname","address":%q},{"type":"InternalIP","address":%q}]}}`,
		name, uid, podCIDR, podCIDR, name, address)
}

// furnish gives the server one of everything, and what is not to be seen.
func (f *fake) furnish(t *testing.T) {
	f.put(t, "nodes", node("b", "ub", "192.0.2.2", "10.244.2.0/24"), node("a", "ua", "192.0.2.1", "10.244.1.0/24"))
	f.put(t, "namespaces", `{"metadata":{"name":"plain"}}`, `{"metadata":{"name":"shop","annotations":{"vnet-cni.io/nsg":"web","vnet-cni.io/asgs":"x,y","more":"z"}}}`)
	f.put(t, "pods",
		`{"metadata":{"name":"p","namespace":"shop","uid":"up","annotations":{"vnet-cni.io/nsg":""}},"spec":{"nodeName":"a"}}`,
		`{"metadata":{"name":"q","namespace":"shop","uid":"uq","annotations":{"vnet-cni.io/asgs":"db"},"deletionTimestamp":"2026-01-02T03:04:05Z"},"spec":{"nodeName":"a"}}`,
		`{"metadata":{"name":"elsewhere","namespace":"shop","uid":"ue"},"spec":{"nodeName":"b"}}`,
		`{"metadata":{"name":"done","namespace":"shop","uid":"us"},"spec":{"nodeName":"a"},"status":{"phase":"Succeeded"}}`,
		`{"metadata":{"name":"failed","namespace":"shop","uid":"uf"},"spec":{"nodeName":"a"},"status":{"phase":"Failed"}}`)
	f.put(t, "configmaps",
		`{"metadata":{"name":"docs","namespace":"vnet-system","uid":"ud","labels":{"vnet-cni.io/documents":""}},"data":{"a.json":"{}"},"binaryData":{"b.json":"AQI="}}`,
		`{"metadata":{"name":"other","namespace":"vnet-system","uid":"uo"},"data":{"a.json":"{}"}}`)
	f.put(t, "nodepods",
		`{"metadata":{"name":"b","uid":"1"},"pods":[{"addresses":["10.244.2.9","fd00::9"],"nsg":"web","asgs":["x"]}]}`,
		`{"metadata":{"name":"gone","uid":"2"},"pods":[{"addresses":["10.244.3.9"]}]}`)
}

func furnished(t *testing.T, streams bool) *fake {
	f := newFake(t, streams)
	f.furnish(t)
	return f
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{false, true} {
		f := furnished(t, streams)
		c := f.start(t)
		addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
		wantNodes := []Node{
			{Name: "a", UID: "ua", Addresses: []netip.Addr{addr("192.0.2.1")}, PodCIDRs: []netip.Prefix{prefix("10.244.1.0/24")}},
			{Name: "b", UID: "ub", Addresses: []netip.Addr{addr("192.0.2.2")}, PodCIDRs: []netip.Prefix{prefix("10.244.2.0/24")}},
		}
		version := f.get("configmaps", "vnet-system/docs")["metadata"].(object)["resourceVersion"].(string)
		for _, answer := range []struct {
			what      string
			got, want any
		}{
			{"nodes", c.Nodes(), wantNodes},
			{"namespaces", c.Namespaces(), map[string]Choice{"plain": {}, "shop": {NSG: "web", ASGs: "x,y"}}},
			{"pods", c.Pods(), map[string]Pod{
				"shop/p": {Namespace: "shop", Name: "p", UID: "up", HasNSG: true},
				"shop/q": {Namespace: "shop", Name: "q", UID: "uq", HasASGs: true, Choice: Choice{ASGs: "db"}, Terminating: true},
			}},
			{"documents", c.Documents(), []Document{{Name: "docs", UID: "ud", ResourceVersion: version,
				Files: map[string][]byte{"a.json": []byte("{}"), "b.json": {1, 2}}}}},
			{"members", c.Members(), []NodePods{{Node: "b", Pods: []PodEntry{
				{Addresses: []netip.Addr{addr("10.244.2.9"), addr("fd00::9")}, NSG: "web", ASGs: []string{"x"}}}}}},
		} {
			if !reflect.DeepEqual(answer.got, answer.want) {
				t.Errorf("streams %v: %s are %+v, want %+v", streams, answer.what, answer.got, answer.want)
			}
		}
		if len(c.Lost()) > 0 || c.log.String() != "" {
			t.Errorf("streams %v: lost %v, logged %s", streams, c.Lost(), c.log.String())
		}
	}
	t.Logf("%d cases", 10)
}

func TestChanges(t *testing.T) {
	t.Parallel()
	f := furnished(t, true)
	c := f.start(t)
	steps := []struct {
		what string
		do   func()
		is   func() bool
	}{
		{"a node comes", func() { f.put(t, "nodes", node("c", "uc", "192.0.2.3", "10.244.3.0/24")) }, func() bool { return len(c.Nodes()) == 3 }},
		{"a node is another", func() { f.put(t, "nodes", node("c", "uc", "192.0.2.4", "10.244.3.0/24")) },
			func() bool { return c.Nodes()[2].Addresses[0] == netip.MustParseAddr("192.0.2.4") }},
		{"a node with pods goes", func() { f.remove("nodes", "b") }, func() bool { return len(c.Members()) == 0 }},
		{"it comes again", func() { f.put(t, "nodes", node("b", "u2", "192.0.2.2", "10.244.2.0/24")) }, func() bool { return len(c.Members()) == 1 }},
		{"members go", func() { f.remove("nodepods", "b") }, func() bool { return len(c.Members()) == 0 }},
		{"a namespace goes", func() { f.remove("namespaces", "shop") }, func() bool { return len(c.Namespaces()) == 1 }},
		{"a pod chooses", func() {
			f.put(t, "pods", `{"metadata":{"name":"p","namespace":"shop","uid":"up","annotations":{"vnet-cni.io/nsg":"db"}},"spec":{"nodeName":"a"}}`)
		}, func() bool { return c.Pods()["shop/p"].NSG == "db" }},
		{"a pod ends", func() {
			f.put(t, "pods", `{"metadata":{"name":"p","namespace":"shop","uid":"up"},"spec":{"nodeName":"a"},"status":{"phase":"Failed"}}`)
		}, func() bool { return len(c.Pods()) == 1 }},
		{"documents change", func() {
			f.put(t, "configmaps", `{"metadata":{"name":"docs","namespace":"vnet-system","uid":"ud","labels":{"vnet-cni.io/documents":""}},"data":{"n.json":"[]"}}`)
		}, func() bool { return len(c.Documents()[0].Files) == 1 }},
	}
	eventually(t, "the first listings are told", func() bool { return c.changes.Load() == int64(len(allResources)) })
	for _, s := range steps {
		before := c.changes.Load()
		s.do()
		eventually(t, s.what, s.is)
		eventually(t, s.what+" is told", func() bool { return c.changes.Load() > before })
	}

	// What is not kept wakes nobody: the node that comes after it is told of, alone.
	before := c.changes.Load()
	f.put(t, "nodes", strings.Replace(node("c", "uc", "192.0.2.4", "10.244.3.0/24"), `"status":{`, `"status":{"images":[{"names":["x"]}],`, 1))
	f.put(t, "nodes", node("d", "ud", "192.0.2.5", "10.244.4.0/24"))
	eventually(t, "the last node", func() bool { return len(c.Nodes()) == 4 })
	eventually(t, "the last node is told", func() bool { return c.changes.Load() > before })
	if got := c.changes.Load() - before; got != 1 {
		t.Errorf("told %d times, want once", got)
	}
	t.Logf("%d cases", len(steps)+1)
}

var allResources = []string{"configmaps", "namespaces", "nodepods", "nodes", "pods"}

func TestServerAway(t *testing.T) {
	t.Parallel()
	f := furnished(t, false)
	c := f.start(t)
	nodes, members, documents := c.Nodes(), c.Members(), c.Documents()
	f.set(func() { f.down = true })
	eventually(t, "the loss is noticed", func() bool { return slices.Equal(c.Lost(), allResources) })
	if !reflect.DeepEqual(nodes, c.Nodes()) || !reflect.DeepEqual(members, c.Members()) || !reflect.DeepEqual(documents, c.Documents()) {
		t.Error("the last state is not kept")
	}
	pods := []PodEntry{{Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.5")}}}
	if err := c.Publish(t.Context(), pods); err == nil || !strings.Contains(err.Error(), "publish 1 pods of node a") {
		t.Errorf("publishing without a server: %v", err)
	}
	if _, err := c.Annotate(t.Context(), documents[0], "x"); err == nil {
		t.Error("annotating without a server succeeds")
	}
	if err := c.Unpublish(t.Context()); err == nil {
		t.Error("removing without a server succeeds")
	}
	f.put(t, "nodes", node("c", "uc", "192.0.2.3", "10.244.3.0/24"))
	f.remove("namespaces", "shop")
	f.set(func() { f.down = false })
	eventually(t, "what happened meanwhile", func() bool { return len(c.Nodes()) == 3 && len(c.Namespaces()) == 1 })
	eventually(t, "all is connected", func() bool { return len(c.Lost()) == 0 })
	if err := c.Publish(t.Context(), pods); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]int{"watching no more": 5, "watching again": 5} {
		if got := strings.Count(c.log.String(), text); got != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, c.log.String())
		}
	}
	t.Logf("%d cases", 9)
}

func TestStartWaits(t *testing.T) {
	t.Parallel()
	f := furnished(t, true)
	f.down = true
	r := &running{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Start(ctx, f.options(t, r))
		done <- err
	}()
	eventually(t, "the log says it", func() bool { return strings.Contains(r.log.String(), "cannot watch yet") })
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "first listing of nodes") {
		t.Errorf("starting without a server ends with %v", err)
	}

	go func() {
		var err error
		r.Client, err = Start(t.Context(), f.options(t, r))
		done <- err
	}()
	f.set(func() { f.down = false })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(r.Nodes()) != 2 || len(r.Members()) != 1 {
		t.Errorf("started with %v", r.Nodes())
	}
	if _, err := Start(t.Context(), Options{Kubeconfig: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a kubeconfig that does not exist is no error")
	}
	t.Logf("%d cases", 3)
}

func TestNoCustomResourceYet(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{false, true} {
		f := furnished(t, streams)
		f.missing = true
		c := f.start(t)
		if got := c.Members(); len(got) > 0 {
			t.Errorf("members are %v", got)
		}
		if err := c.Publish(t.Context(), nil); err == nil {
			t.Error("publishing nowhere succeeds")
		}
		f.mu.Lock()
		f.used = map[string]bool{}
		f.mu.Unlock()
		eventually(t, "it is looked for again", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.used["nodepods list"]
		})
		if got := strings.Count(c.log.String(), "no such resource"); got != 1 || !slices.Equal(c.Lost(), []string{"nodepods"}) {
			t.Errorf("logged %d times, lost %v:\n%s", got, c.Lost(), c.log.String())
		}
		f.set(func() { f.missing = false })
		eventually(t, "members come", func() bool { return len(c.Members()) == 1 && len(c.Lost()) == 0 })
		if err := c.Publish(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d cases", 2)
}
