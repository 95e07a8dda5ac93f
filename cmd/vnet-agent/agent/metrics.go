package agent

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/tally"
)

// counters are what the agent counts of its own work.
type counters struct {
	passes    *prometheus.CounterVec
	duration  prometheus.Histogram
	drifted   *prometheus.CounterVec
	collected *prometheus.CounterVec
}

func newCounters() counters {
	return counters{
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vnet_agent_passes_total", Help: "Looks at the whole node, by result.",
		}, []string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vnet_agent_pass_duration_seconds", Help: "How long a look at the whole node takes.",
			Buckets: []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		drifted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vnet_agent_repaired_total", Help: "What was not as it had been made and was put right: plugins, routes, rules, configuration.",
		}, []string{"what"}),
		collected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vnet_agent_collected_total", Help: "What was removed that dead pods had left behind, by kind.",
		}, []string{"kind"}),
	}
}

func (c *counters) pass(d time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	c.passes.WithLabelValues(result).Inc()
	c.duration.Observe(d.Seconds())
}

// brought tells that something was brought about, of which n parts had to be
// changed. Where nothing else was wanted than before somebody had damaged it.
func (p *pass) brought(what, wanted string, n int, err error) (damaged bool) {
	before, known := p.done[what]
	if damaged = known && before == wanted; damaged {
		p.stats.drifted.WithLabelValues(what).Add(float64(n))
	}
	p.done[what] = wanted
	if err != nil {
		delete(p.done, what) // what is changed by the next attempt belongs to this one
	}
	return damaged && n > 0
}

// Registry returns the agent's metrics.
func (a *Agent) Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(a.stats.passes, a.stats.duration, a.stats.drifted, a.stats.collected, &nodeMetrics{a})
	return r
}

// What is read from the node when somebody asks.
var (
	poolSize = prometheus.NewDesc("vnet_pool_addresses", "Addresses of the node's pool, by what they are: used, free, cooling.", []string{"network", "subnet", "state"}, nil)
	verbTime = prometheus.NewDesc("vnet_plugin_duration_seconds", "How long the plugin's verbs took.", []string{"network", "verb"}, nil)
	verbErrs = prometheus.NewDesc("vnet_plugin_errors_total", "How the plugin's verbs failed, by CNI error code.", []string{"network", "verb", "code"}, nil)
	ruleHits = prometheus.NewDesc("vnet_rule_packets_total", "First packets of flows that a rule decided about.", []string{"network", "nsg", "level", "direction", "rule", "access"}, nil)
)

// nodeMetrics reads the plugin's own records.
type nodeMetrics struct{ *Agent }

// Describe implements prometheus.Collector.
func (m *nodeMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolSize, verbTime, verbErrs, ruleHits} {
		out <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is missing, and the
// log says why.
func (m *nodeMetrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	conf := m.state.conf
	m.mu.Unlock()
	if conf == nil {
		return
	}
	for _, collect := range []func(*netconf.Conf, chan<- prometheus.Metric) error{m.pools, m.verbs, m.rules} {
		if err := collect(conf, out); err != nil {
			m.Log.Warn("metrics are not complete", "error", err)
		}
	}
}

func (m *nodeMetrics) pools(conf *netconf.Conf, out chan<- prometheus.Metric) error {
	stats, err := attachment.Store(m.Paths.State, conf.Name).Stats(conf.IPAM.Pools)
	if err != nil {
		return err
	}
	for _, s := range stats {
		for state, n := range map[string]uint64{"used": s.Used, "free": s.Free, "cooling": s.Cooling} {
			out <- prometheus.MustNewConstMetric(poolSize, prometheus.GaugeValue, float64(n), conf.Name, s.Subnet.String(), state)
		}
	}
	return nil
}

func (m *nodeMetrics) verbs(conf *netconf.Conf, out chan<- prometheus.Metric) error {
	counts, err := tally.Read(m.Paths.State, conf.Name)
	if err != nil {
		return err
	}
	for _, v := range counts.Verbs {
		buckets, total := map[float64]uint64{}, uint64(0)
		for i, n := range v.Buckets {
			total += n
			if i < len(tally.Bounds) {
				buckets[tally.Bounds[i].Seconds()] = total
			}
		}
		out <- prometheus.MustNewConstHistogram(verbTime, v.Count, v.Sum.Seconds(), buckets, conf.Name, v.Verb.String())
		for code, n := range v.Errors {
			out <- prometheus.MustNewConstMetric(verbErrs, prometheus.CounterValue, float64(n), conf.Name, v.Verb.String(), strconv.Itoa(int(code)))
		}
	}
	return nil
}

func (m *nodeMetrics) rules(conf *netconf.Conf, out chan<- prometheus.Metric) error {
	if !policy.Exists(m.Paths.State, conf.Name) {
		return nil
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	view, err := policy.InForce(m.Paths.State, conf.Name)
	if err != nil {
		return err
	}
	now, err := node.Firewall.Counts(m.Paths.State, conf.Name)
	if err != nil {
		return err
	}
	hits, err := view.Hits(now)
	if err != nil {
		return err
	}
	// Groups of one name, and rules that are gone, may have the same labels, and a
	// series that is there twice spoils the whole answer.
	series := map[[5]string]uint64{}
	for _, h := range hits {
		series[[5]string{h.NSG, h.Level, h.Direction.String(), h.Rule, h.Access}] += h.Packets
	}
	for labels, packets := range series {
		out <- prometheus.MustNewConstMetric(ruleHits, prometheus.CounterValue, float64(packets), append([]string{conf.Name}, labels[:]...)...)
	}
	return nil
}
