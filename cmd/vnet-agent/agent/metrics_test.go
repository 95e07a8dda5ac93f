package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// onNode collects in the namespace of the node, where a test's scrape is not.
type onNode struct {
	*nodeMetrics
	rig *rig
}

func (c onNode) Collect(out chan<- prometheus.Metric) {
	c.rig.on(func() error { c.nodeMetrics.Collect(out); return nil })
}

// counted is the sum of a metric's values whose labels have the value; "": all.
func (r *rig) counted(name, label string) (sum float64) {
	r.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.stats.passes, r.stats.duration, r.stats.drifted, r.stats.collected, onNode{&nodeMetrics{r.Agent}, r})
	families, err := registry.Gather()
	must(r.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if families, err := r.Registry().Gather(); err != nil || len(families) == 0 {
		t.Errorf("before the first look: %d metrics, %v", len(families), err)
	}
	r.cluster.document("groups", map[string]string{"a": group("shop-nsg", "80")})
	r.configure("cooldown: 1h") // whatever the test takes
	r.good()
	if used := r.counted("vnet_pool_addresses", "used"); used != 0 {
		t.Errorf("%v addresses are used", used)
	}
	pods := []*container{r.added("shop/a"), r.added("shop/b")}
	if _, err := r.add("shop/c", "nsg=nowhere"); err == nil {
		t.Error("a pod came with a group that is not there")
	}
	must(t, pods[1].verb("del"))
	for _, want := range []struct {
		name, label string
		value       float64
	}{
		{"vnet_pool_addresses", "used", 2}, {"vnet_pool_addresses", "cooling", 2},
		{"vnet_plugin_duration_seconds", "ADD", 3}, {"vnet_plugin_duration_seconds", "DEL", 1},
		{"vnet_plugin_errors_total", "ADD", 1}, {"vnet_plugin_errors_total", "109", 1},
		{"vnet_agent_passes_total", "ok", 1}, {"vnet_agent_passes_total", "error", 0}, {"vnet_agent_pass_duration_seconds", "", 1},
		{"vnet_rule_packets_total", "securityRules/deny-80", 0},
	} {
		if got := r.counted(want.name, want.label); got != want.value {
			t.Errorf("%s %s is %v, want %v", want.name, want.label, got, want.value)
		}
	}
	if free := r.counted("vnet_pool_addresses", "free"); free < 200 {
		t.Errorf("%v addresses are free", free)
	}
	r.denied(pods[0])
	families, err := r.Registry().Gather()
	must(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
	t.Logf("%d metrics", len(families))
}

// Groups of one name in two resource groups are one series: twice the same would
// spoil the whole answer.
func TestSameSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	elsewhere := func(text string) string { return strings.ReplaceAll(text, "resourceGroups/rg/", "resourceGroups/rg2/") }
	r.cluster.document("groups", map[string]string{"a": group("web", "80"), "b": elsewhere(group("web", "80"))})
	r.good()
	id := resources + "networkSecurityGroups/web"
	first := r.added("default/a", "nsg="+id)
	r.added("default/b", "nsg="+elsewhere(id))
	r.denied(first)
	t.Log("2 groups")
}

// denied sends packets to the pod's port 80 from another node, which are dropped, until
// they are counted: the first may have to wait until the nodes know each other's
// hardware addresses.
func (r *rig) denied(c *container) {
	r.t.Helper()
	other := r.fabric.AddNode("n2")
	_, err := other.Shell("ip", "route", "add", "10.244.1.0/24", "via", r.node.IPv4.String())
	must(r.t, err)
	address := netip.AddrPortFrom(c.addrs()[0], 80).String()
	r.eventually("a denied packet is counted", func() bool {
		must(r.t, other.Do(func() error {
			to, err := net.DialTimeout("tcp4", address, 100*time.Millisecond)
			if err == nil {
				to.Close()
				return fmt.Errorf("%s answers", address)
			}
			return nil
		}))
		return r.counted("vnet_rule_packets_total", "securityRules/deny-80") > 0
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	a := New("n1", Paths{}, nil, time.Hour, grace)
	clock := time.Now()
	a.now = func() time.Time { return clock }
	cases := []struct {
		what           string
		began, ended   time.Duration // ago; 0: never
		err            error
		healthy, ready string
	}{
		{"nothing yet", 0, 0, nil, "", "not over"},
		{"the first look goes on", time.Minute, 0, nil, "", "not over"},
		{"the first look is stuck", 3 * time.Minute, 0, nil, "3m0s", "not over"},
		{"after a look", time.Minute, 50 * time.Second, nil, "", ""},
		{"long after a look", time.Hour, time.Hour - time.Second, nil, "", ""},
		{"a look with a fault", time.Minute, 50 * time.Second, errAway, "", errAway.Error()},
		{"stuck after others", 121 * time.Second, 5 * time.Minute, nil, "2m1s", ""},
	}
	for _, c := range cases {
		a.state = state{err: c.err}
		if c.began != 0 {
			a.state.began = clock.Add(-c.began)
		}
		if c.ended != 0 {
			a.state.ended = clock.Add(-c.ended)
		}
		for _, q := range []struct {
			what, want string
			got        error
		}{{"healthy", c.healthy, a.Healthy()}, {"ready", c.ready, a.Ready()}} {
			if (q.want == "") != (q.got == nil) || q.got != nil && !strings.Contains(q.got.Error(), q.want) {
				t.Errorf("%s: %s: %v, want %q", c.what, q.what, q.got, q.want)
			}
		}
	}
	t.Logf("%d states", len(cases))
}

// Nobody who reaches the node can hold connections, or both scrapes, for ever.
func TestServerTimeouts(t *testing.T) {
	t.Parallel()
	s := New("n1", Paths{}, slog.New(slog.DiscardHandler), time.Hour, grace).server()
	for what, d := range map[string]time.Duration{"who sends no request": s.ReadHeaderTimeout, "who does not read": s.WriteTimeout, "who asks no more": s.IdleTimeout} {
		if d <= 0 {
			t.Errorf("%s keeps a connection for ever", what)
		}
	}
	t.Log("3 timeouts")
}

// The whole agent runs, while it is told of changes, asked, and pods come and go.
func TestRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", map[string]string{"a": group("shop-nsg", "80")})
	r.now = time.Now
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := r.node.Do(func() error { r.Run(ctx); return nil }); err != nil {
			t.Error(err)
		}
	})
	defer all.Wait()
	defer stop()
	address := r.serve(ctx, &all)
	r.eventually("ready", func() bool { return r.ask(address, "readyz") == "ok\n" })
	asked, changed := 0, 0
	all.Go(func() {
		for ; ctx.Err() == nil; changed++ {
			r.Changed()
			time.Sleep(time.Millisecond)
		}
	})
	all.Go(func() {
		for ; ctx.Err() == nil; asked++ {
			_, err := r.Registry().Gather()
			if err != nil || r.Healthy() != nil {
				t.Errorf("%v, %v", err, r.Healthy())
			}
			time.Sleep(time.Millisecond)
		}
	})
	const pods = 5
	for i := range pods {
		pod, err := r.add(fmt.Sprintf("shop/p%d", i))
		must(t, err)
		r.eventually("a pod is published", func() bool {
			return r.publishes(1)
		})
		must(t, pod.verb("del"))
		r.eventually("its end is published", func() bool { return r.publishes(0) })
	}
	if got := r.ask(address, "healthz"); got != "ok\n" {
		t.Errorf("healthz says %q", got)
	}
	if got := r.ask(address, "metrics"); !strings.Contains(got, "vnet_agent_passes_total") {
		t.Errorf("metrics say %q", got)
	}
	stop()
	all.Wait()
	t.Logf("%d pods, %d changes, %d scrapes", pods, changed, asked)
}

// A pass does not give reason to the next one.
func TestQuiet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", map[string]string{"a": group("shop-nsg", "80")})
	r.good()
	r.added("shop/p")
	r.good()
	before, files := r.leasesWritten(), r.written()
	for range 3 {
		began := time.Now()
		if err := r.look(false); err != nil {
			t.Fatal(err)
		}
		t.Logf("a look takes %s", time.Since(began))
	}
	defer func() {
		began := time.Now()
		r.good()
		t.Logf("a deep look takes %s", time.Since(began))
	}()
	if now := r.leasesWritten(); !now.Equal(before) || before.IsZero() {
		t.Errorf("the leases were written at %s, and again at %s", before, now)
	}
	for path, when := range r.written() {
		if files[path] != when {
			t.Errorf("%s was written in a pass without a change", path)
		}
	}
	t.Logf("%d files", len(files))
}

// An exhausted pool is told of once, and again after it was over.
func TestPoolExhausted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.nodes[0].PodCIDRs = prefixes("10.244.1.0/29")
	r.good()
	var pods []*container
	for {
		pod, err := r.add(fmt.Sprintf("default/p%d", len(pods)))
		if err != nil {
			break
		}
		pods = append(pods, pod)
	}
	for range 3 {
		r.good()
	}
	if told := r.cluster.about("PoolExhausted", "10.244.1.0/29"); len(told) != 1 || len(pods) == 0 {
		t.Errorf("%d pods, told %q", len(pods), told)
	}
	must(t, pods[0].verb("del"))
	r.good()
	r.good()
	if told := r.cluster.about("PoolExhausted"); len(told) != 1 {
		t.Errorf("over: %q", told)
	}
	r.added("default/again")
	r.good()
	if told := r.cluster.about("PoolExhausted"); len(told) != 2 {
		t.Errorf("again: %q", told)
	}
	t.Logf("%d pods", len(pods))
}

func (r *rig) publishes(pods int) bool {
	return read(r.cluster, func() bool { return r.cluster.published != nil && len(r.cluster.published) == pods })
}

// serve lets the agent answer, and returns where. The address is this process's own: on
// 127.0.0.1 another package's test could take the port before the agent does.
func (r *rig) serve(ctx context.Context, all *sync.WaitGroup) (address string) {
	r.t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.77.%d.%d:0", byte(pid>>8), byte(pid)))
	must(r.t, err)
	address = l.Addr().String()
	must(r.t, l.Close())
	all.Go(func() {
		if err := r.Serve(ctx, address); err != nil {
			r.t.Error(err)
		}
	})
	return address
}

func (r *rig) ask(address, path string) string {
	answer, err := http.Get("http://" + address + "/" + path)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must(r.t, err)
	return string(body)
}

func (r *rig) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: it never comes", what)
		}
	}
}
