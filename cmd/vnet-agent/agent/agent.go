// Package agent keeps one node of a cluster as the cluster says it should be: the
// plugins and their configuration in place, packets brought to other nodes, the
// documents of security groups in force, what dead pods left behind removed.
//
// It decides in which order things happen and what a failure of one means for the
// others. How they happen is known to the packages that it calls.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// Cluster is what the agent asks of the API server.
type Cluster interface {
	Nodes() []kube.Node
	Namespaces() map[string]kube.Choice
	Pods() map[string]kube.Pod
	Documents() []kube.Document
	Members() []kube.NodePods
	// Lost returns the resources, as "pods", of which nothing is heard now.
	Lost() []string
	Publish(ctx context.Context, pods []kube.PodEntry) error
	Unpublish(ctx context.Context) error
	Annotate(ctx context.Context, judged kube.Document, findings string) (wrote bool, err error)
	Event(about kube.Ref, warning bool, reason, message string)
}

// Runtime is what the agent asks of the container runtime.
type Runtime interface {
	// Sandboxes returns the ids of all pod sandboxes that the runtime knows.
	Sandboxes(ctx context.Context) (map[string]struct{}, error)
}

// Paths are the places on the node that the agent knows, the same in its
// container.
type Paths struct {
	Config   string // of the agent
	Source   string // folder with the binaries of the image
	Binaries string // folder of the runtime's plugins
	Conflist string // folder of the runtime's network configurations
	State    string // of the plugins
	Data     string // documents, defaults and the last good configuration, which outlive a reboot
	Sysctls  string // what shows the node's /proc/sys/net
}

// Agent keeps one node.
type Agent struct {
	Node    string // its name
	Paths   Paths
	Cluster Cluster
	Runtime Runtime
	Log     *slog.Logger
	Every   time.Duration // between two looks at what nobody tells of

	wake  chan struct{} // something watched changed
	now   func() time.Time
	stats counters

	mu    sync.Mutex
	state state

	// What one pass leaves to the next. There is one at a time.
	good      *Config  // the last configuration that could be used
	former    []string // names that the network had, whose rules are there still
	orphans   *collect.Orphans
	asked     time.Time    // when the runtime was last asked for its sandboxes
	inquiry   chan inquiry // nil: the runtime has answered
	answer    error        // and what came of it
	documents documents
	annotated map[string]annotated // by ConfigMap
	seen      firewall.Listing
	told      map[kube.Ref]told // Events by what they are about, so that each is not sent in every pass
	done      map[string]string // what was brought about, by what it is
}

// state is what the rest of the program may ask for.
type state struct {
	began time.Time // of the last pass
	ended time.Time
	err   error
	conf  *netconf.Conf // of the network, once it is known
}

// Changed tells the agent to look at once. It never waits.
func (a *Agent) Changed() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// New makes the agent of a node. Its Cluster and Runtime are set before it runs; it
// can be told of changes at once.
func New(node string, paths Paths, log *slog.Logger, every, grace time.Duration) *Agent {
	return &Agent{
		Node: node, Paths: paths, Log: log, Every: every,
		wake: make(chan struct{}, 1), now: time.Now, stats: newCounters(),
		orphans: collect.NewOrphans(grace), annotated: map[string]annotated{}, told: map[kube.Ref]told{}, done: map[string]string{},
	}
}

// settle and maxSettle are how long changes are gathered before a pass, so that a hundred
// pods that start at once are not a hundred passes.
const (
	settle    = 100 * time.Millisecond
	maxSettle = time.Second
)

// settling is how long they are gathered after a pass that took so long. In a cluster of
// thousands of pods there is always a change, and a pass may take half a second.
func settling(took time.Duration) time.Duration { return min(max(settle, 2*took), maxSettle) }

// Run keeps the node until the context ends.
func (a *Agent) Run(ctx context.Context) {
	go a.watchLeases(ctx)
	tick := time.NewTicker(a.Every)
	defer tick.Stop()
	for deep := true; ; {
		began := time.Now()
		a.look(ctx, deep)
		took := time.Since(began)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			deep = true
		case <-a.wake:
			deep = false
			select {
			case <-ctx.Done():
				return
			case <-time.After(settling(took)):
			}
		}
	}
}

// look makes one pass and remembers how it went. A deep one also looks for damage
// that only a listing of all rules would show.
func (a *Agent) look(ctx context.Context, deep bool) {
	began := a.now()
	a.mu.Lock()
	a.state.began = began
	a.mu.Unlock()
	p := &pass{Agent: a, deep: deep, telling: map[kube.Ref]told{}}
	p.run(ctx)
	err := errors.Join(append([]error{p.invalid}, p.errs...)...)
	ended := a.now()
	a.mu.Lock()
	changed := fmt.Sprint(err) != fmt.Sprint(a.state.err)
	a.state.ended, a.state.err = ended, err
	if p.conf != nil {
		a.state.conf = p.conf
	}
	a.mu.Unlock()
	a.stats.pass(ended.Sub(began), err)
	if err != nil && changed {
		a.Log.Error("the node is not as it should be", "error", err)
	}
	if err == nil && changed {
		a.Log.Info("the node is as it should be")
	}
}

// pass is one look at everything. Each step reads what earlier ones found out.
type pass struct {
	*Agent
	facts
	node    *attachment.Node
	deep    bool
	errs    []error           // of steps that failed
	telling map[kube.Ref]told // what is wrong now, as told has what was before
}

// step is a part of a pass.
type step struct {
	what string
	do   func(context.Context) error
}

// run makes the steps. Without knowing the node only the pods that run keep their rules;
// any other step that fails leaves the rest to be done, except that a node is not offered
// to the runtime before it can serve. Where it is already, its configuration follows
// the rules that are in force, or each ADD would put others there. What is not told of again is over, if all was
// looked at.
func (p *pass) run(ctx context.Context) {
	defer func() { maps.Copy(p.told, p.telling) }()
	if p.try(ctx, step{"open the node's kernel", p.open}); p.node == nil {
		return
	}
	defer p.node.Close()
	if p.try(ctx, step{"identify the node", p.identify}); len(p.errs) > 0 {
		p.try(ctx, step{"keep the rules", p.keepRules})
		return
	}
	p.try(ctx,
		step{"install the plugins", p.installPlugins},
		step{"write the documents", p.writeDocuments},
		step{"reach the other nodes", p.reachNodes},
		step{"render the configuration", p.configure},
		step{"ready the node's kernel", p.readyKernel},
		step{"learn the pods of other nodes", p.learnMembers},
		step{"put the rules in force", p.enforce},
	)
	if len(p.errs) == 0 || p.enforced && p.offered() {
		p.try(ctx, step{"offer the node to the runtime", p.offer})
	}
	p.try(ctx,
		step{"leave the network of another name", p.leaveNetworks},
		step{"follow the pods' annotations", p.followChoices},
		step{"answer for the pods", p.answerForPods},
	)
	p.tellServer(ctx)
	p.try(ctx,
		step{"look at the pools", p.watchPools},
		step{"collect what is left behind", p.collect},
	)
	p.told = map[kube.Ref]told{}
}

// patience is how long all that a pass writes to the API server may take, and how long it
// waits for the runtime: while they do not answer, the node is to be repaired all the same.
const patience = 4 * time.Second

func (p *pass) tellServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.try(ctx,
		step{"publish the pods", p.publish},
		step{"tell of findings", p.tellFindings},
	)
}

func (p *pass) open(context.Context) (err error) {
	p.node, err = attachment.OpenNode()
	return err
}

// try makes steps, whether or not those before succeed. One that fails is one fault,
// whatever the words of its error, until it succeeds again.
func (p *pass) try(ctx context.Context, steps ...step) {
	for _, s := range steps {
		err := s.do(ctx)
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", s.what, err)
		p.errs = append(p.errs, err)
		if !errors.As(err, new(toldOf)) {
			p.tellFailure(s.what, err)
		}
	}
}
